"""How candidates are judged: networks learn the tasks of a step by them, on this process's share of the work."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_vsml.algorithms.cellular import LearningAlgorithm
from lightning_vsml.lab.datasets import Images
from lightning_vsml.meta.objective import meta_loss
from lightning_vsml.meta.ranges import check_ranges
from lightning_vsml.meta.space import Space
from lightning_vsml.meta.tasks import Task, Tasks
from lightning_vsml.meta.unroll import begin, unroll


class Settings(NamedTuple):
    """What a step judges by; see :class:`~lightning_vsml.meta.MetaLearningModule`."""

    tasks_per_step: int = 4
    horizon: tuple[int, int] = (20, 200)
    lengthen: int = 0
    seeds: int = 1
    errors: float = 0.5
    segment: int = 10
    seed: int = 0

    def validate(self) -> None:
        """Check ranges.

        Raises:
            ValueError: names what is out of range.
        """
        least = {"tasks_per_step": 1, "seeds": 1, "lengthen": 0, "segment": 0}
        check_ranges(self, least, ["errors"])


class Crew(NamedTuple):
    """The processes that share the work.

    Attributes:
        rank: which one this is.
        size: how many there are.
        device: where this one runs.
        total: sums a tensor over all of them.
    """

    rank: int = 0
    size: int = 1
    device: torch.device | str = "cpu"
    total: Callable[[Tensor], Tensor] = lambda tensor: tensor

    def share(self, n: int) -> Tensor:
        """Which of n pieces of work are this one's."""
        return torch.arange(self.rank, n, self.size)


class Trials:
    """The problem that an outer optimizer sees; candidates are in steps of the coordinates.

    Args:
        space: where they are.
        tasks: their distribution.
        settings: how many, how long.

    Attributes:
        step: which tasks they are.
        images: the data sets of the tasks.
        crew: who shares the work.
        living: of truncated unrolls: the tasks, how far they are, and the states of this process's particles.
    """

    def __init__(self, space: Space, tasks: Tasks, settings: Settings) -> None:
        settings.validate()
        self.space, self.tasks, self.settings = space, tasks, settings
        self.step, self.crew = 0, Crew()
        self.images: dict[str, Images] = {}
        self.living: list[tuple[Task, int, list[Tensor]]] = []

    def judge(self, candidates: Tensor) -> Tensor:
        """The meta-loss of each of K candidates on this step's tasks, ``(K,)``; infinite where it diverged."""
        losses, own = candidates.new_zeros(len(candidates)), self.crew.share(len(candidates))
        if len(own):
            population = self.algorithm(candidates[own])
            for task, steps in self.drawn():
                with torch.no_grad(), _memory(task, len(own)):
                    losses[own] += _finite(self._lost(population, task, steps, self.settings.errors)).to(losses)
        return self.crew.total(losses) / self.settings.tasks_per_step

    def gradient(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """The meta-loss at ``u`` (cross-entropy alone), and its gradient."""
        u = u.clone().requires_grad_()
        total, gradient = u.new_zeros(1), torch.zeros_like(u)
        drawn = self.drawn()
        for place in self.crew.share(len(drawn)).tolist():
            task, steps = drawn[place]
            with torch.enable_grad(), _memory(task, 1):
                # mirrored gates are told apart by small differences, which float32 loses on the way back
                algorithm = self.algorithm(u, torch.float64)
                loss = self._lost(algorithm, task, steps, 0.0, self.settings.segment).sum()
                (slope,) = torch.autograd.grad(loss, u)
            total, gradient = total + loss.detach().to(total), gradient + slope
        return self.crew.total(total) / len(drawn), self.crew.total(gradient) / len(drawn)

    def go_on(self, perturbations: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Truncated unrolls of the shortest horizon, until tasks have reached the longest one."""
        candidates, (truncation, longest) = u + perturbations, self.settings.horizon
        losses, own = candidates.new_zeros(len(candidates)), self.crew.share(len(candidates))
        population = self.algorithm(candidates[own] if len(own) else candidates[:1])  # there may be more processes
        fresh = not self.living
        if fresh:
            self.living = [(task, 0, []) for task, _ in self.drawn()]
        following = []
        for task, step, states in self.living:
            with torch.no_grad(), _memory(task, len(own)):
                states = states or begin(population, task, self.settings.seeds)
                batches = task.batches(truncation, self.settings.seeds, start=step)
                unrolled = unroll(population, task.network, states, batches)
                judged = _finite(meta_loss(unrolled, self.settings.errors, start=step)).to(losses)
                losses[own] += judged[: len(own)]
                following.append((task, step + truncation, unrolled.states))
        self.living = following if following[0][1] < longest else []
        return self.crew.total(losses) / len(following), torch.full((len(candidates),), fresh)

    def algorithm(self, u: Tensor, dtype: torch.dtype | None = None) -> LearningAlgorithm:
        """The algorithm at ``u``, or a population, on this process's device."""
        space = replace(self.space, start=self.space.start.to(dtype=dtype)) if dtype else self.space
        return space.algorithm(u.cpu() * space.steps).to(self.crew.device)

    def drawn(self) -> list[tuple[Task, int]]:
        """The tasks of this step, and how long each is."""
        short, longest = self.settings.horizon
        reached = min(1.0, (self.step + 1) / self.settings.lengthen) if self.settings.lengthen else 1.0
        drawn = []
        for place in range(self.settings.tasks_per_step):
            number = self.step * self.settings.tasks_per_step + place
            draw = torch.Generator().manual_seed(self.settings.seed + number)
            steps = round(short * (longest / short) ** (reached * float(torch.rand((), generator=draw))))
            drawn.append((self.tasks.sample(number, self.images, self.settings.seed), steps))
        return drawn

    def _lost(self, algorithm: LearningAlgorithm, task: Task, steps: int, errors: float, segment: int = 0) -> Tensor:
        states, batches = begin(algorithm, task, self.settings.seeds), task.batches(steps, self.settings.seeds)
        return meta_loss(unroll(algorithm, task.network, states, batches, segment=segment), errors)


def _finite(losses: Tensor) -> Tensor:
    return torch.where(losses.isfinite(), losses, torch.inf)


@contextmanager
def _memory(task: Task, population: int) -> Iterator[None]:
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
