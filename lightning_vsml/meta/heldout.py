"""Held-out tasks: the best so far against SGD and Adam, each with its best learning rate for the very task."""

from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_vsml.algorithms.cellular import LearningAlgorithm
from lightning_vsml.lab.curves import ByOptimizer
from lightning_vsml.meta.tasks import Task
from lightning_vsml.meta.unroll import begin, unroll

RATES = {
    "SGD": (torch.optim.SGD, tuple(0.01 * 2.0**power for power in range(10))),
    "Adam": (torch.optim.Adam, tuple(0.0005 * 2.0**power for power in range(8))),
}


class Standing(NamedTuple):
    """How an algorithm does on held-out tasks.

    Attributes:
        accuracy: online, of each task, ``(tasks, steps)``.
        baselines: the same of each tuned optimizer.
    """

    accuracy: Tensor
    baselines: dict[str, Tensor]

    @property
    def gain(self) -> float:
        """Mean over tasks of the logarithm of (best optimizer's error / own error), early and late steps alike."""
        own, *others = (self._errors(curves) for curves in (self.accuracy, *self.baselines.values()))
        return float((torch.stack(others).amin(0) / own).log().mean())

    @staticmethod
    def _errors(accuracy: Tensor) -> Tensor:
        """In three windows, ``(tasks, 3)``; not below half a percent."""
        steps = accuracy.shape[1]
        edges = (0, max(1, steps // 12), max(2, steps // 4), steps)
        windows = [accuracy[:, first:last].mean(1) for first, last in pairwise(edges)]
        return 1.005 - torch.stack(windows, 1)


class HeldOut:
    """Tasks that meta-training doesn't see.

    Args:
        tasks: what is learned.
        steps: how long.
        seeds: networks for each task.
    """

    def __init__(self, tasks: Sequence[Task], steps: int, seeds: int = 2) -> None:
        self.tasks, self.steps, self.seeds = tasks, steps, seeds

    def judge(self, algorithm: LearningAlgorithm) -> Standing:
        """Run every task by ``algorithm``."""
        with torch.no_grad():
            curves = [
                unroll(
                    algorithm, task.network, begin(algorithm, task, self.seeds), task.batches(self.steps, self.seeds)
                ).accuracy
                for task in self.tasks
            ]
        return Standing(torch.stack([curve[:, 0].mean(1).cpu() for curve in curves]), self.baselines)

    @cached_property
    def baselines(self) -> dict[str, Tensor]:
        """Accuracy of each optimizer on each task, with the learning rate that is best there, ``(tasks, steps)``."""
        return {name: torch.stack([self._tuned(task, *RATES[name]) for task in self.tasks]) for name in RATES}

    def _tuned(self, task: Task, optimizer: type[torch.optim.Optimizer], rates: Sequence[float]) -> Tensor:
        runs = []
        for lr in rates:
            weights = task.network.initial(task.shape, range(task.seed, task.seed + self.seeds))
            learner = ByOptimizer(weights, task.network, optimizer, lr=lr)
            right = torch.zeros(self.steps)
            for step, (x, y) in enumerate(task.batches(self.steps, self.seeds)):
                right[step] = (learner.step(x, y).argmax(-1) == y).float().mean()
            runs.append(right)
        return max(runs, key=lambda run: float(run.mean()))
