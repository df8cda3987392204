"""Meta-training as a LightningModule, by gradients through what learners do along sequences."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn

from lightning_vsml.algorithms import checkpoints
from lightning_vsml.meta.recipes import check_recipe
from lightning_vsml.meta.result import Result
from lightning_vsml.meta.sequences.outer import Stepped, bptt, evolution
from lightning_vsml.meta.sequences.problem import Episode, Problem

OUTER = ("bptt", "es")


class SequenceModule(LightningModule):
    """Improves the parameters of a learning algorithm.

    A step is a segment of an episode; states are carried to the next one. The learning rate falls to 0 along a cosine,
    by the Trainer's max_epochs. All that happened is in the checkpoint, so that a run which was stopped resumes to the
    same end. One process.

    Args:
        problem: what is learned.
        outer: ``"bptt"``, or ``"es"`` for evolution strategies.
        lr: of Adam.
        clip: largest norm of a gradient.
        every: steps of an epoch, after which held-out sequences are run and a checkpoint is saved.
        start: name or path of an algorithm to begin with; ``None``: the problem's own start.
        population: of evolution strategies, an even number.
        std: of its candidates.
        seed: of everything.

    Raises:
        ValueError: a value is out of range.
    """

    def __init__(
        self,
        problem: Problem,
        outer: str = "bptt",
        lr: float = 3e-3,
        clip: float = 1.0,
        every: int = 500,
        start: str | None = None,
        population: int = 64,
        std: float = 0.02,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if outer not in OUTER:
            raise ValueError(f"outer should be one of {', '.join(map(repr, OUTER))}, got {outer!r}.")
        for what, positive in (("lr", lr), ("clip", clip), ("every", every), ("std", std)):
            if not 0 < positive < math.inf:
                raise ValueError(f"{what} should be positive, got {positive}.")
        if population < 2 or population % 2:
            raise ValueError(f"population should be even, of pairs to both sides, got {population}.")
        self.automatic_optimization = False
        self.problem, self.outer, self.lr, self.clip, self.every = problem, outer, lr, clip, every
        self.start, self.population, self.std, self.seed = start, population, std, seed
        V = problem.start(seed)
        if start is not None:
            found = checkpoints.load(start if "." not in start else Path(start)).tensors()
            if set(found) != set(V):
                raise ValueError(
                    f"start should have the tensors {', '.join(sorted(V))}, but {start!r} has "
                    f"{', '.join(sorted(found))}."
                )
            V = found
        self._names = tuple(V)
        for name, tensor in V.items():
            if problem.is_trained(name):
                self.register_parameter(_safe("current", name), nn.Parameter(tensor.clone()))
            else:
                self.register_buffer(_safe("current", name), tensor.clone())
            self.register_buffer(_safe("best", name), tensor.clone())
        self.register_buffer("best_gain", torch.tensor(-torch.inf))
        self.best_gain: Tensor
        self.taken = self.skipped = self.number = self.segment = 0  # steps; of which skipped; episode and segment
        self._began = 0.0  # progress when the episode began
        self._episode: Episode | None = None
        self._state: Sequence[Tensor] = ()
        self._measured: dict[str, float] = {}

    @property
    def current(self) -> dict[str, Tensor]:
        """The parameters as they are now."""
        return {name: cast(Tensor, getattr(self, _safe("current", name))).detach() for name in self._names}

    @property
    def best(self) -> dict[str, Tensor]:
        """The best ones by held-out sequences."""
        return {name: cast(Tensor, getattr(self, _safe("best", name))) for name in self._names}

    @property
    def steps(self) -> int:
        """Of the whole run.

        Raises:
            MisconfigurationException: the Trainer does not say.
        """
        epochs = self.trainer.max_epochs
        if not epochs or epochs < 0:
            raise MisconfigurationException(
                f"the learning rate falls until trainer.max_epochs, which should be a positive number, got {epochs}."
            )
        return epochs * self.every

    # what the Trainer needs

    def train_dataloader(self) -> range:
        """Numbers of steps."""
        return range(self.every)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(self.parameters(), self.lr)

    def on_fit_start(self) -> None:
        """Data sets are missed before anything runs."""
        if self.trainer.world_size > 1:
            raise MisconfigurationException(
                f"expected one process, got {self.trainer.world_size}: --trainer.devices 1."
            )
        self._measured = {} if self.taken else self._judge()

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """A segment, and a step of the outer optimizer."""
        progress = self.taken / self.steps
        if self._episode is None:
            self._began = progress
            self._open()
        assert self._episode is not None
        with torch.no_grad():
            loss, gradients, self._state = self._differentiate(self._episode)
        optimizer = cast(torch.optim.Optimizer, self.optimizers())
        rate = self.lr * 0.5 * (1 + math.cos(math.pi * progress))
        norm = torch.stack([gradient.norm() for gradient in gradients.values()]).norm()
        usable = bool(torch.isfinite(norm)) and math.isfinite(loss)
        for name, gradient in gradients.items():
            scaled = gradient * min(1.0, self.clip / (float(norm) + 1e-12))
            getattr(self, _safe("current", name)).grad = scaled if usable else None
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        self.taken, self.segment, self.skipped = self.taken + 1, self.segment + 1, self.skipped + (not usable)
        if self.segment == self._episode.segments or not usable:
            self._episode, self._state, self.number, self.segment = None, (), self.number + 1, 0
        for name, value, bar in (("loss", loss, True), ("lr", rate, False), ("skipped", float(self.skipped), False)):
            self.log(name, value, prog_bar=bar, on_step=True, on_epoch=False, batch_size=1)

    def on_train_epoch_end(self) -> None:
        """Held-out sequences; the best parameters by them are kept."""
        self._measured = self._judge()
        for name, value in self._measured.items():
            self.log(f"held_out/{name}", value, prog_bar=name == "gain", batch_size=1)

    def result(self, name: str) -> Result:
        """The best algorithm, and how it was made."""
        algorithm = self.problem.algorithm({name: tensor.cpu() for name, tensor in self.best.items()}, name, {})
        made_by = {"recipe": self.recipe, "steps": self.taken, "skipped_steps": self.skipped}
        return Result(algorithm, made_by, {"data": "held-out sequences", "gain": round(float(self.best_gain), 4)})

    def _open(self) -> None:
        self._episode = self.problem.episode(self.number, self._began, self.seed)
        self._state = [part.to(self.device) for part in self._episode.fresh(self.current)]

    def _differentiate(self, episode: Episode) -> Stepped:
        trained = {name: tensor for name, tensor in self.current.items() if self.problem.is_trained(name)}
        fixed = {name: tensor for name, tensor in self.current.items() if name not in trained}
        task = (trained, fixed, episode, self._state, self.segment)
        if self.outer == "bptt":
            return bptt(*task)
        seed = self.seed + 7_919 * (self.taken + 1)
        return evolution(*task, pairs=self.population // 2, std=self.std, seed=seed)

    def _judge(self) -> dict[str, float]:
        found = self.problem.held_out(self.current)
        if found["gain"] > float(self.best_gain):
            self.best_gain.fill_(found["gain"])
            for name, best in self.best.items():
                best.copy_(self.current[name])
        return found

    # checkpoints

    @property
    def recipe(self) -> dict[str, Any]:
        """What a run is, in plain types."""
        settings = {"outer": self.outer, "lr": self.lr, "clip": self.clip, "every": self.every, "seed": self.seed}
        if self.outer == "es":
            settings |= {"population": self.population, "std": self.std}
        if self.start is not None:
            settings["start"] = Path(self.start).stem
        return {"problem": type(self.problem).__name__, **dict(_plain(vars(self.problem))), **settings}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Where the run is, in the middle of an episode as well."""
        checkpoint["run"] = {
            "recipe": self.recipe,
            "at": [self.taken, self.skipped, self.number, self.segment, self._began],
            "state": None if self._episode is None else [part.detach().cpu() for part in self._state],
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on from there.

        Raises:
            MisconfigurationException: the run had another recipe.
        """
        run = checkpoint["run"]
        check_recipe(run["recipe"], self.recipe)
        self.taken, self.skipped, self.number, self.segment, self._began = run["at"]
        if run["state"] is not None:
            self._episode = self.problem.episode(self.number, self._began, self.seed)
            self._state = run["state"]


def _safe(which: str, name: str) -> str:
    """Modules take no dots."""
    return f"{which}/{name.replace('.', '/')}"


def _plain(values: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Settings, without what was computed from them, and without places on this machine."""
    for name, value in values.items():
        if isinstance(value, int | float | str | bool):
            yield name, value
        elif isinstance(value, tuple | list) and all(isinstance(part, int | float | str) for part in value):
            yield name, list(value)
