"""Random choices from one generator."""

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


class Draw:
    """What is drawn depends on the generator's seed and on the order of the draws."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        return low + (high - low) * float(torch.rand((), generator=self.generator))

    def log_uniform(self, low: float, high: float) -> float:
        return low * (high / low) ** self.uniform()

    def integer(self, low: int, end: int) -> int:
        return int(torch.randint(low, end, (), generator=self.generator))

    def one(self, options: Sequence[T]) -> T:
        return options[self.integer(0, len(options))]

    def permutation(self, n: int) -> Tensor:
        return torch.randperm(n, generator=self.generator)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator)
