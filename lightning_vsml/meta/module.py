"""Meta-training as a LightningModule."""

from collections.abc import Callable
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lightning_vsml.algorithms import checkpoints
from lightning_vsml.algorithms.cellular import LearningAlgorithm
from lightning_vsml.lab import datasets
from lightning_vsml.lab.datasets import Images
from lightning_vsml.meta.heldout import HeldOut, Standing
from lightning_vsml.meta.outer import CMAES, Outer
from lightning_vsml.meta.recipes import Search, plain
from lightning_vsml.meta.result import Result
from lightning_vsml.meta.spaces import SPACES
from lightning_vsml.meta.tasks import Tasks
from lightning_vsml.meta.trials import Crew, Settings, Trials

HELD_OUT = 7_919  # added to the seed, for tasks of another sequence


class MetaLearningModule(Search):
    """Improves a learning algorithm by an outer optimizer.

    Every step, candidates learn a few tasks from scratch and are judged by how well they did. With several processes,
    each judges its share of the candidates (or of the tasks, for gradients) on the same tasks, so that results do not
    depend on their number. All that happened is in the checkpoint, so that a run which was stopped resumes to the same
    end.

    Args:
        tasks: the distribution of tasks.
        outer: makes the outer optimizer, from the number of coordinates.
        space: where the search goes, see :data:`~lightning_vsml.meta.spaces.SPACES`.
        start: name or path of an algorithm that an earlier search in this space has found; ``None``: the space's own.
        begin: values of coordinates where the search begins, by name; the others begin at 0.
        tasks_per_step: how many tasks a candidate is judged by.
        horizon: range of the length of an unroll in learning steps, log-uniform.
        lengthen: steps until the longest horizon is reached, from the shortest; 0: it is there from the start.
        seeds: networks for each task.
        errors: share of error rates in the meta-loss, see :func:`~lightning_vsml.meta.objective.meta_loss`; gradients
            are those of the cross-entropy.
        segment: learning steps between checkpoints of a gradient, see :func:`~lightning_vsml.meta.unroll.unroll`.
        every: steps of an epoch, after which held-out tasks are run and a checkpoint may be saved.
        held_out: how many held-out tasks; 0: none.
        held_out_tasks: their distribution, if it is another.
        held_out_steps: how long they are.
        data_dir: where image data sets lie.
        seed: of everything.

    Raises:
        ValueError: a value is out of range.
    """

    def __init__(
        self,
        tasks: Tasks = Tasks(),  # noqa: B008
        outer: Callable[[int], Outer] = CMAES,
        space: str = "cloned_backprop",
        start: str | None = None,
        begin: dict[str, float] | None = None,
        tasks_per_step: int = 4,
        horizon: tuple[int, int] = (20, 200),
        lengthen: int = 0,
        seeds: int = 1,
        errors: float = 0.5,
        segment: int = 10,
        every: int = 10,
        held_out: int = 8,
        held_out_tasks: Tasks | None = None,
        held_out_steps: int = 300,
        data_dir: Path = Path("data"),
        seed: int = 0,
    ) -> None:
        super().__init__()
        if space not in SPACES:
            raise ValueError(f"space should be one of {', '.join(map(repr, SPACES))}, got {space!r}.")
        for what, value, least in (
            ("every", every, 1),
            ("held_out", held_out, 0),
            ("held_out_steps", held_out_steps, 3),  # early and late ones
        ):
            if value < least:
                raise ValueError(f"{what} should be at least {least}, got {value}.")
        self.automatic_optimization = False
        self.every, self.held_out, self.held_out_steps = every, held_out, held_out_steps
        self.held_out_tasks = held_out_tasks or tasks
        self.data_dir, self.seed = Path(data_dir), seed
        self.space_name, self.space = space, SPACES[space]()
        if start is not None:
            found = checkpoints.load(start if "." not in start else Path(start), kind=LearningAlgorithm)
            self.space = self.space.around(found)
        self.space = self.space.moved(begin or {})
        self.search = outer(self.space.size)
        shortest, longest = horizon
        if getattr(self.search, "persistent", False) and every * shortest < longest:
            raise ValueError(
                "persistent unrolls live for an epoch at most: every * horizon[0] should be at least horizon[1], got "
                f"{every} * {shortest} < {longest}. Raise every."
            )
        settings = Settings(tasks_per_step, (shortest, longest), lengthen, seeds, errors, segment, seed)
        self.trials = Trials(self.space, tasks, settings)
        self.u = nn.Parameter(torch.zeros(self.space.size, dtype=torch.float64))  # where the search is
        for name, initial in (("best", torch.zeros_like(self.u)), ("best_gain", torch.tensor(-torch.inf))):
            self.register_buffer(name, initial.detach())
        self.best: Tensor
        self.best_gain: Tensor

    # what the Trainer needs

    def prepare_data(self) -> None:
        """Data sets come, or are missed, before anything is written; once on a machine."""
        _ = self.images

    def on_fit_start(self) -> None:
        """Who takes part."""
        self.trials.images = self.images
        self.trials.crew = Crew(self.global_rank, self.trainer.world_size, self.device, self._summed)

    def train_dataloader(self) -> range:
        """Numbers of steps, the same on every process."""
        return range(self.every)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """One that only counts steps: the search moves ``u``."""
        return torch.optim.SGD([self.u], lr=0.0)

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """A step of the outer optimizer."""
        self.trials.step = self.search.steps
        loss = self.search.step(self.trials)
        with torch.no_grad():
            self.u.copy_(self.search.best)
        counter = self.optimizers()
        assert not isinstance(counter, list)  # it is the one of configure_optimizers
        counter.step()
        self.log("meta_loss", loss, prog_bar=True, on_step=True, on_epoch=False, batch_size=1)
        self.log("skipped", float(self.search.skipped), on_step=True, on_epoch=False, batch_size=1)
        for coordinate, value in zip(
            self.space.coordinates[:50], (self.u.cpu() * self.space.steps).tolist(), strict=False
        ):
            self.log(f"u/{coordinate.name}", value, on_step=True, on_epoch=False, batch_size=1)

    def on_train_epoch_end(self) -> None:
        """Held-out tasks; the best algorithm by them is kept."""
        self.trials.living = []  # particles live no longer than an epoch, so that a checkpoint needs not hold them
        if not self.held_out:
            self.best.copy_(self.u.detach())
            return
        if self.global_rank == 0:
            standing = self.standing.judge(self.algorithm(self.u.detach()))
            if standing.gain > float(self.best_gain):
                self.best_gain.fill_(standing.gain)
                self.best.copy_(self.u.detach())
            self._show(standing)
        gain, best = (self.trainer.strategy.broadcast(tensor) for tensor in (self.best_gain, self.best))
        self.best_gain.copy_(gain)
        self.best.copy_(best)
        self.log("held_out_gain", self.best_gain, prog_bar=True, batch_size=1)

    def algorithm(self, u: Tensor) -> LearningAlgorithm:
        """The algorithm at ``u``, in steps of the coordinates, on this module's device."""
        return self.trials.algorithm(u)

    def result(self, name: str) -> Result:
        """The best algorithm, and how it was made."""
        algorithm, start = self.algorithm(self.best), self.space.start
        algorithm.card["start"] = start.name
        earlier = start.card.get("made_by", {})  # of a search that this one has gone on from
        made_by = {
            "recipe": self.recipe,
            "coordinates": {
                coordinate.name: round(float(value) + earlier.get("coordinates", {}).get(coordinate.name, 0.0), 4)
                for coordinate, value in zip(self.space.coordinates, self.best * self.space.steps, strict=True)
            },
            "steps": self.search.steps,
            "skipped_steps": self.search.skipped,
        }
        if "command" in earlier:
            made_by["earlier"] = earlier
        if not self.held_out:
            return Result(algorithm, made_by, None)
        gain = round(float(self.best_gain), 4)
        return Result(
            algorithm, made_by, {"data": "held-out tasks", "log(error of the best optimizer / own error)": gain}
        )

    def _summed(self, tensor: Tensor) -> Tensor:
        """Over processes."""
        return self.trainer.strategy.reduce(tensor.to(self.device), reduce_op="sum").to(tensor)

    # held-out tasks and what is shown of them

    @cached_property
    def images(self) -> dict[str, Images]:
        """The data sets of all tasks."""
        names = {*self.trials.tasks.images, *(self.held_out_tasks.images if self.held_out else ())}
        return {name: datasets.load(name, self.data_dir) for name in sorted(names)}

    @cached_property
    def standing(self) -> HeldOut:
        """The held-out tasks."""
        tasks = [
            self.held_out_tasks.sample(number, self.images, self.seed + HELD_OUT) for number in range(self.held_out)
        ]
        return HeldOut(tasks, self.held_out_steps)

    def _show(self, standing: Standing) -> None:
        for logger in self.loggers:
            experiment: Any = getattr(logger, "experiment", None)  # not every logger has one
            if hasattr(experiment, "add_figure"):
                from lightning_vsml.meta.figure import draw

                figure = draw(standing, [task.name for task in self.standing.tasks])
                experiment.add_figure("held-out tasks", figure, self.global_step)
            curves = {"meta-learned": standing.accuracy, **standing.baselines}
            logger.log_metrics(
                {f"held_out/{name}": float(curve.mean()) for name, curve in curves.items()}
                | {"held_out/gain": standing.gain},
                self.global_step,
            )

    # checkpoints

    @property
    def recipe(self) -> dict[str, Any]:
        """What a run is, in plain types."""
        return {
            "space": self.space_name,
            "start": self.space.start.name,
            "begin": self.space.start.card.get("made_by", {}).get("coordinates", {}),
            "tasks": plain(asdict(self.trials.tasks)),
            "outer": {"name": type(self.search).__name__, **self.search.settings},
            **plain(self.trials.settings._asdict()),
        }
