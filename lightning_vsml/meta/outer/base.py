"""What outer optimizers share: the interface, and the problem as they see it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

WORST = 1e3  # what a candidate is worth that diverges


class Problem(Protocol):
    """What an outer optimizer sees of meta-training."""

    def judge(self, candidates: Tensor) -> Tensor:
        """The meta-loss of each of K candidates ``(K, n)`` on the tasks of this step, the same for all: ``(K,)``."""

    def gradient(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """The meta-loss at ``u`` (n,) and its gradient, by backpropagation through the unrolls."""

    def go_on(self, perturbations: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Truncated unrolls, which continue from step to step, each of K particles by itself.

        Returns:
            The meta-loss of each particle at ``u + perturbation`` ``(K,)``; and for each whether it has started afresh
            with this step.
        """


class Outer(ABC):
    """An outer optimizer.

    Args:
        size: n, coordinates of the search.
        seed: of its random numbers.
        settings: all others, for the record.

    Attributes:
        steps: how many were taken.
        skipped: how many of them moved nothing, because nothing finite was found.
    """

    def __init__(self, size: int, seed: int = 0, **settings: Any) -> None:
        self.size, self.seed, self.settings = size, seed, {"seed": seed, **settings}
        self.steps = self.skipped = 0

    @abstractmethod
    def step(self, problem: Problem) -> float:
        """One step; returns the mean meta-loss of what was judged."""

    @property
    @abstractmethod
    def best(self) -> Tensor:
        """Where the search is: what to use, ``(n,)`` float64."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """All it remembers, in plain types and tensors."""

    @abstractmethod
    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state`."""

    def generator(self) -> torch.Generator:
        """For this step's random numbers."""
        return torch.Generator().manual_seed(self.seed * 1_000_003 + self.steps)
