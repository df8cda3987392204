"""Backpropagation through learning."""

from lightning_vsml.meta.outer.base import Problem
from lightning_vsml.meta.outer.descent import Descent


class BPTT(Descent):
    """Backpropagation through the unrolls, whose length truncates it.

    Args:
        size: n.
        lr: of Adam, in steps of the coordinates.
        clip: largest norm of a meta-gradient; one that is not finite is dropped and counted.
        seed: unused.
    """

    def __init__(self, size: int, lr: float = 0.05, clip: float = 1.0, seed: int = 0) -> None:
        super().__init__(size, lr, clip, seed)

    def step(self, problem: Problem) -> float:
        loss, gradient = problem.gradient(self.best)
        self.descend(gradient)
        return float(loss)
