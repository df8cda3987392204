"""The search as a LightningModule: what the adaptive rule's coordinates should be, on a wide distribution of tasks."""

import json
from collections.abc import Callable
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn

from lightning_vsml.algorithms.adaptive import Coordinates, adaptive
from lightning_vsml.lab import datasets
from lightning_vsml.lab.datasets import Images
from lightning_vsml.lab.ensembles import OPTIMIZERS
from lightning_vsml.meta.outer import CMAES, Outer
from lightning_vsml.meta.recipes import Search, plain
from lightning_vsml.meta.result import Result
from lightning_vsml.meta.wide.generation import Generation, Settings, moved
from lightning_vsml.meta.wide.objective import against_tuned, judge
from lightning_vsml.meta.wide.standing import standing
from lightning_vsml.meta.wide.tasks import Distribution, Task
from lightning_vsml.meta.wide.workers import Job, Workers

HELD_OUT = 7_919  # added to the seed, for tasks of another sequence
KEPT_OUT = Distribution(datasets=("digits",), shares={"images": 0.4, "moons": 0.2, "spirals": 0.2, "sine": 0.2})


class WideModule(Search):
    """Searches coordinates of the adaptive rule.

    Every step is a generation: candidates learn the same few new tasks, each judged against the coordinates where the
    search began. This process searches, others learn. All that happened is in the checkpoint, so that a run which was
    stopped resumes to the same end, whatever the number of processes.

    Args:
        distribution: the tasks.
        outer: makes the outer optimizer, one that only judges candidates, from the number of coordinates.
        begin: values of coordinates where the search begins, by name; the others are the rule's own.
        tasks_per_step: how many tasks a candidate is judged by.
        horizon: range of their length in learning steps, log-uniform.
        long: share of tasks that are longer.
        longest: so long.
        every: steps of an epoch, after which held-out tasks are learned and a checkpoint may be saved.
        held_out: how many held-out tasks of another sequence of ``distribution``, and as many of ``kept_out``.
        held_out_steps: how long they are.
        kept_out: tasks of families that the search does not see.
        processes: how many learn; 1: this one.
        data_dir: where image data sets lie.
        seed: of tasks; outer optimizers have their own.

    Raises:
        ValueError: a value is out of range.
    """

    def __init__(
        self,
        distribution: Distribution,
        outer: Callable[[int], Outer] = CMAES,
        begin: dict[str, float] | None = None,
        tasks_per_step: int = 20,
        horizon: tuple[int, int] = (100, 600),
        long: float = 0.1,
        longest: int = 2000,
        every: int = 10,
        held_out: int = 20,
        held_out_steps: int = 600,
        kept_out: Distribution = KEPT_OUT,
        processes: int = 2,
        data_dir: Path = Path("data"),
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.settings = Settings(tasks_per_step, horizon, long, longest, every, held_out, held_out_steps, seed)
        self.settings.validate()
        if processes < 1:
            raise ValueError(f"processes should be at least 1, got {processes}.")
        if unknown := sorted(set(begin or {}) - set(Coordinates._fields)):
            known = ", ".join(Coordinates._fields)
            raise ValueError(f"begin should name coordinates out of {known}, got {', '.join(unknown)}.")
        self.distribution, self.kept_out = distribution, kept_out
        self.processes, self.data_dir = processes, Path(data_dir)
        self.start = Coordinates(**(begin or {}))
        self.search = outer(len(self.start))
        self.u = nn.Parameter(torch.zeros(len(self.start), dtype=torch.float64))  # where the search is
        self.workers: Workers | None = None
        self._measured: dict[str, Any] | None = None

    @property
    def coordinates(self) -> Coordinates:
        """Where the search is."""
        return Coordinates(*moved(self.start, self.u.detach()).tolist())

    # what the Trainer needs

    def prepare_data(self) -> None:
        """Data sets come, or are missed, before anything is written."""
        _ = self.images

    def on_fit_start(self) -> None:
        """What the run is, and what it will be measured by, is written down before it begins."""
        if self.trainer.world_size > 1:
            raise MisconfigurationException(
                f"expected one process, got {self.trainer.world_size}: --trainer.devices 1, and --model.processes."
            )
        for logger in self.loggers:
            experiment: Any = getattr(logger, "experiment", None)  # not every logger has one
            if hasattr(experiment, "add_text"):
                experiment.add_text("recipe", f"```\n{json.dumps(self.recipe, indent=2)}\n```", self.global_step)
        self.workers = Workers(self.processes, self.images, self.data_dir)

    def train_dataloader(self) -> range:
        """Numbers of steps."""
        return range(self.settings.every)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """One that only counts steps: the search moves ``u``."""
        return torch.optim.SGD([self.u], lr=0.0)

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """A generation."""
        assert self.workers is not None  # since the fit started
        generation = Generation(self.start, self.distribution, self.settings, self.search.steps, self.workers)
        loss = self.search.step(generation)
        with torch.no_grad():
            self.u.copy_(self.search.best)
        counter = self.optimizers()
        assert not isinstance(counter, list)  # it is the one of configure_optimizers
        counter.step()
        values = {"meta_loss": loss, "best": generation.best, "skipped": float(self.search.skipped)}
        values |= {f"coordinates/{name}": value for name, value in self.coordinates._asdict().items()}
        for name, value in values.items():
            self.log(name, value, prog_bar=name in ("meta_loss", "best"), on_step=True, on_epoch=False, batch_size=1)

    def on_train_epoch_end(self) -> None:
        """Held-out tasks, against where the search began."""
        for which, cells in self.learned(judge).items():
            mean = float(torch.stack([cell.mean() for cell in cells]).mean())
            self.log(f"held_out/{which}", mean, prog_bar=True, batch_size=1)

    def on_fit_end(self) -> None:
        """Held-out tasks, against tuned optimizers."""
        tuned = {
            which: {name: standing([cell[:, place] for cell in cells]) for place, name in enumerate(("start", "found"))}
            for which, cells in self.learned(against_tuned).items()
        }
        self._measured = {"data": "held-out tasks", "against": list(OPTIMIZERS), **tuned} if tuned else None
        if self.workers is not None:
            self.workers.close()

    def learned(self, run: Callable[[Task, Tensor, int], Tensor]) -> dict[str, list[Tensor]]:
        """What is to be known of how held-out tasks are learned from the start and from where the search is."""
        assert self.workers is not None
        both = moved(self.start, torch.stack([torch.zeros_like(self.u), self.u.detach()]))
        seed, number = self.settings.seed + HELD_OUT, self.settings.held_out
        which = {"other_seeds": self.distribution, "kept_out": self.kept_out} if number else {}
        jobs = [Job(run, d, n, seed, self.settings.held_out_steps, both) for d in which.values() for n in range(number)]
        cells = self.workers.run(jobs)
        return {name: cells[place * number : (place + 1) * number] for place, name in enumerate(which)}

    def result(self, name: str) -> Result:
        """The rule where the search has come to, and how it came there."""
        algorithm = adaptive(self.coordinates)
        algorithm.card["start"] = "adaptive"
        made_by = {
            "recipe": self.recipe,
            "coordinates": {name: round(value, 4) for name, value in self.coordinates._asdict().items()},
            "steps": self.search.steps,
            "skipped_steps": self.search.skipped,
        }
        return Result(algorithm, made_by, self._measured)

    @cached_property
    def images(self) -> dict[str, Images]:
        """The data sets of all tasks."""
        names = {*self.distribution.images, *(self.kept_out.images if self.settings.held_out else ())}
        return {name: datasets.load(name, self.data_dir) for name in sorted(names)}

    # checkpoints

    @property
    def recipe(self) -> dict[str, Any]:
        """What a run is, in plain types."""
        return {
            "begin": self.start._asdict(),
            "distribution": plain(asdict(self.distribution)),
            "kept_out": plain(asdict(self.kept_out)),
            "outer": {"name": type(self.search).__name__, **self.search.settings},
            **plain(self.settings._asdict()),
        }
