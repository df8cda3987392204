"""Meta-training as a LightningModule."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn

from lightning_vsml import checkpoints, datasets
from lightning_vsml.algorithm import LearningAlgorithm
from lightning_vsml.datasets import Images
from lightning_vsml.meta.heldout import HeldOut, Standing
from lightning_vsml.meta.objective import meta_loss
from lightning_vsml.meta.outer import CMAES, Outer
from lightning_vsml.meta.spaces import SPACES
from lightning_vsml.meta.tasks import Task, Tasks
from lightning_vsml.meta.unroll import begin, unroll
from lightning_vsml.ticks import State

HELD_OUT = 7_919  # added to the seed, for tasks of another sequence


class MetaLearningModule(LightningModule):
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
        space: str = "modulated_backprop",
        start: str | None = None,
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
        if not 0 < horizon[0] <= horizon[1]:
            raise ValueError(f"horizon should be a range from short to long, got {horizon[0]} to {horizon[1]}.")
        for what, value in {"tasks_per_step": tasks_per_step, "seeds": seeds, "every": every}.items():
            if value < 1:
                raise ValueError(f"{what} should be at least 1, got {value}.")
        for what, value in {"lengthen": lengthen, "segment": segment, "held_out": held_out}.items():
            if value < 0:
                raise ValueError(f"{what} should be 0 or more, got {value}.")
        if held_out_steps < 3:
            raise ValueError(f"held_out_steps should be at least 3, for early and late ones, got {held_out_steps}.")
        if not 0 <= errors <= 1:
            raise ValueError(f"errors should be a share from 0 to 1, got {errors}.")
        self.automatic_optimization = False
        self.tasks, self.horizon, self.lengthen, self.seeds = tasks, tuple(horizon), lengthen, seeds
        self.tasks_per_step, self.errors, self.segment, self.every = tasks_per_step, errors, segment, every
        self.held_out, self.held_out_steps = held_out, held_out_steps
        self.held_out_tasks = held_out_tasks or tasks
        self.data_dir, self.seed = Path(data_dir), seed
        self.space_name, self.space = space, SPACES[space]()
        if start is not None:
            self.space = self.space.around(checkpoints.load(start if "." not in start else Path(start)))
        self.search = outer(self.space.size)
        if getattr(self.search, "persistent", False) and every * horizon[0] < horizon[1]:
            raise ValueError(
                f"persistent unrolls live for an epoch at most: every * horizon[0] should be at least horizon[1], got "
                f"{every} * {horizon[0]} < {horizon[1]}. Raise every."
            )
        self.u = nn.Parameter(torch.zeros(self.space.size, dtype=torch.float64))  # where the search is
        for name, start in (("best", torch.zeros_like(self.u)), ("best_gain", torch.tensor(-torch.inf))):
            self.register_buffer(name, start.detach())
        self.best: Tensor
        self.best_gain: Tensor
        self._living: list[tuple[Task, int, list[State]]] = []

    # what the Trainer needs

    def prepare_data(self) -> None:
        """Data sets come, or are missed, before anything is written; once on a machine."""
        _ = self.images

    def train_dataloader(self) -> range:
        """Numbers of steps, the same on every process."""
        return range(self.every)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """One that only counts steps: the search moves ``u``."""
        return torch.optim.SGD([self.u], lr=0.0)

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """A step of the outer optimizer."""
        loss = self.search.step(self)
        with torch.no_grad():
            self.u.copy_(self.search.best)
        self.optimizers().step()
        self.log("meta_loss", loss, prog_bar=True, on_step=True, on_epoch=False, batch_size=1)
        self.log("skipped", float(self.search.skipped), on_step=True, on_epoch=False, batch_size=1)
        for coordinate, value in zip(
            self.space.coordinates[:50], (self.u.cpu() * self.space.steps).tolist(), strict=False
        ):
            self.log(f"u/{coordinate.name}", value, on_step=True, on_epoch=False, batch_size=1)

    def on_train_epoch_end(self) -> None:
        """Held-out tasks; the best algorithm by them is kept."""
        self._living = []  # particles live no longer than an epoch, so that a checkpoint needs not hold them
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

    # the problem that the outer optimizer sees

    def judge(self, candidates: Tensor) -> Tensor:
        """The meta-loss of each of K candidates on this step's tasks, ``(K,)``."""
        losses = candidates.new_zeros(len(candidates))
        own = torch.arange(self.global_rank, len(candidates), self.trainer.world_size)
        if len(own):
            population = self.algorithm(candidates[own])
            for task, steps in self._tasks():
                with torch.no_grad(), self._memory(task, len(own)):
                    losses[own] += self._finite(self._lost(population, task, steps, self.errors)).to(losses)
        return self._summed(losses) / self.tasks_per_step

    def gradient(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """The meta-loss at ``u`` and its gradient."""
        u = u.clone().requires_grad_()
        total, gradient = u.new_zeros(1), torch.zeros_like(u)
        # mirrored gates are told apart by small differences, which float32 loses on the way back
        space = replace(self.space, start=self.space.start.to(dtype=torch.float64))
        for number, (task, steps) in enumerate(self._tasks()):
            if number % self.trainer.world_size != self.global_rank:
                continue
            with torch.enable_grad(), self._memory(task, 1):
                algorithm = space.algorithm(u.cpu() * space.steps).to(self.device)
                loss = self._lost(algorithm, task, steps, errors=0.0, segment=self.segment).sum()
                (slope,) = torch.autograd.grad(loss, u)
            total, gradient = total + loss.detach().to(total), gradient + slope
        return self._summed(total)[0] / self.tasks_per_step, self._summed(gradient) / self.tasks_per_step

    def go_on(self, perturbations: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Truncated unrolls of the shortest horizon, until tasks have reached the longest one."""
        candidates, (truncation, longest) = u + perturbations, self.horizon
        fresh = not self._living
        own = torch.arange(self.global_rank, len(candidates), self.trainer.world_size)
        losses = candidates.new_zeros(len(candidates))
        population = self.algorithm(candidates[own] if len(own) else candidates[:1])  # there may be more processes
        if fresh:
            self._living = [(task, 0, []) for task, _ in self._tasks()]
        following = []
        for task, step, states in self._living:
            with torch.no_grad(), self._memory(task, len(own)):
                batches = task.batches(truncation, self.seeds, start=step)
                states = states or begin(population, task, self.seeds)
                unrolled = unroll(population, task.network, states, batches)
                judged = self._finite(meta_loss(unrolled, self.errors, start=step)).to(losses)
                losses[own] += judged[: len(own)]
                following.append((task, step + truncation, unrolled.states))
        self._living = following if following[0][1] < longest else []
        return self._summed(losses) / self.tasks_per_step, torch.full((len(candidates),), fresh)

    def algorithm(self, u: Tensor) -> LearningAlgorithm:
        """The algorithm at ``u``, or a population, on this module's device; ``u`` in steps of the coordinates."""
        return self.space.algorithm(u.cpu() * self.space.steps).to(self.device)

    def _tasks(self) -> list[tuple[Task, int]]:
        """The tasks of this step, and how long each is."""
        number, (short, longest) = self.search.steps, self.horizon
        reached = min(1.0, (number + 1) / self.lengthen) if self.lengthen else 1.0
        tasks = []
        for place in range(number * self.tasks_per_step, (number + 1) * self.tasks_per_step):
            share = reached * float(torch.rand((), generator=torch.Generator().manual_seed(self.seed + place)))
            steps = round(short * (longest / short) ** share)
            tasks.append((self.tasks.sample(place, self.images, self.seed), steps))
        return tasks

    def _lost(self, algorithm: LearningAlgorithm, task: Task, steps: int, errors: float, segment: int = 0) -> Tensor:
        states, batches = begin(algorithm, task, self.seeds), task.batches(steps, self.seeds)
        return meta_loss(unroll(algorithm, task.network, states, batches, segment=segment), errors)

    @contextmanager
    def _memory(self, task: Task, population: int) -> Iterator[None]:
        """Says what to do where memory is short."""
        try:
            yield
        except (MemoryError, RuntimeError) as error:
            short = isinstance(error, MemoryError | torch.OutOfMemoryError)
            if not short and not any(words in str(error) for words in ("out of memory", "not enough memory", "alloc")):
                raise
            raise MemoryError(
                f"out of memory on the task {task.name!r} with a population of {population}. Lower outer.population, "
                "seeds, tasks.hidden or tasks.sizes; for gradients also horizon or segment."
            ) from error

    @staticmethod
    def _finite(losses: Tensor) -> Tensor:
        return torch.where(losses.isfinite(), losses, torch.inf)

    def _summed(self, tensor: Tensor) -> Tensor:
        """Over processes."""
        if self.trainer.world_size == 1:
            return tensor
        return self.trainer.strategy.reduce(tensor.to(self.device), reduce_op="sum").to(tensor)

    # held-out tasks and what is shown of them

    @cached_property
    def images(self) -> dict[str, Images]:
        """The data sets of all tasks."""
        names = {*self.tasks.images, *(self.held_out_tasks.images if self.held_out else ())}
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
            if hasattr(logger.experiment, "add_figure"):
                from lightning_vsml.meta.figure import draw

                figure = draw(standing, [task.name for task in self.standing.tasks])
                logger.experiment.add_figure("held-out tasks", figure, self.global_step)
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
            "tasks": {name: list(v) if isinstance(v, tuple | list) else v for name, v in asdict(self.tasks).items()},
            "outer": {"name": type(self.search).__name__, **self.search.settings},
            "tasks_per_step": self.tasks_per_step,
            "horizon": list(self.horizon),
            "lengthen": self.lengthen,
            "seeds": self.seeds,
            "errors": self.errors,
            "seed": self.seed,
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The search and the recipe travel along."""
        checkpoint["search"], checkpoint["recipe"] = self.search.state(), self.recipe

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """A run resumes with the recipe it was started with.

        Raises:
            MisconfigurationException: it is another one.
        """
        theirs, ours = checkpoint.get("recipe", {}), self.recipe
        if theirs != ours:
            parts = sorted(name for name in {*theirs, *ours} if theirs.get(name) != ours.get(name))
            raise MisconfigurationException(
                f"the checkpoint's run has another recipe: {', '.join(parts)} differ. Resume with the same settings, "
                "or start a new run."
            )
        self.search.restore(checkpoint["search"])
