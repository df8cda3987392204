"""Candidates of a generation, judged on tasks that nobody has seen before."""

from typing import NamedTuple

import torch
from torch import Tensor

from lightning_vsml.algorithms.adaptive import Coordinates
from lightning_vsml.meta.ranges import check_ranges
from lightning_vsml.meta.wide.objective import judge
from lightning_vsml.meta.wide.tasks import Distribution
from lightning_vsml.meta.wide.workers import Job, Workers

STEPS = {"rate": 0.5, "first": 0.3, "noise": 0.1, "travel": 0.5, "travel_noise": 0.1}
"""Of coordinates, what outer optimizers take as 1."""
STEP = 0.2  # of all others


def moved(start: Coordinates, u: Tensor) -> Tensor:
    """Coordinates ``(..., n)`` that are ``u`` steps from a start, float64."""
    steps = torch.tensor([STEPS.get(name, STEP) for name in start._fields], dtype=torch.float64)
    return torch.tensor(start, dtype=torch.float64) + steps * u


class Settings(NamedTuple):
    """What is judged by; see :class:`~lightning_vsml.meta.wide.WideModule`."""

    tasks_per_step: int = 20
    horizon: tuple[int, int] = (100, 600)
    long: float = 0.1
    longest: int = 2000
    every: int = 10
    held_out: int = 20
    held_out_steps: int = 600
    seed: int = 0

    def validate(self) -> None:
        """Check ranges.

        Raises:
            ValueError: names what is out of range.
        """
        least = {"tasks_per_step": 1, "longest": 1, "every": 1, "held_out": 0, "held_out_steps": 1}
        check_ranges(self, least, ["long"])


class Generation:
    """The problem that an outer optimizer sees; candidates are in steps of the coordinates.

    Args:
        start: which all are judged against.
        distribution: of the tasks.
        settings: how many, how long.
        number: of the generation: which tasks they are.
        workers: who learn.

    Attributes:
        best: meta-loss of the best candidate.
    """

    def __init__(
        self, start: Coordinates, distribution: Distribution, settings: Settings, number: int, workers: Workers
    ) -> None:
        self.start, self.distribution, self.settings, self.number = start, distribution, settings, number
        self.workers, self.best = workers, torch.inf

    def judge(self, candidates: Tensor) -> Tensor:
        """The meta-loss of each of K candidates ``(K, n)``, ``(K,)``: the mean over tasks and windows."""
        first = candidates.new_zeros(1, len(self.start))
        coordinates = moved(self.start, torch.cat([first, candidates]))
        jobs = [Job(judge, self.distribution, *task, coordinates) for task in self.drawn()]
        losses = torch.stack([cells.mean(0) for cells in self.workers.run(jobs)]).mean(0)
        self.best = float(losses.min())
        return losses

    def drawn(self) -> list[tuple[int, int, int]]:
        """Number, seed and length of each task."""
        (short, longest), tasks, seed = self.settings.horizon, self.settings.tasks_per_step, self.settings.seed
        drawn = []
        for number in range(self.number * tasks, (self.number + 1) * tasks):
            kind, where = torch.rand(2, generator=torch.Generator().manual_seed(seed + number)).tolist()
            steps = self.settings.longest if kind < self.settings.long else round(short * (longest / short) ** where)
            drawn.append((number, seed, steps))
        return drawn

    def gradient(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """There is none."""
        raise NotImplementedError("outer should only judge candidates, as CMAES or ES do.")

    def go_on(self, perturbations: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """There is none."""
        raise NotImplementedError("outer should only judge whole unrolls: persistent should be false.")
