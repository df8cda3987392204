"""What a dense cell is meta-trained on: long sequences, of which only segments are differentiated."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from lightning_vsml.algorithms.base import Algorithm
from lightning_vsml.ticks import Cell


class Episode(ABC):
    """A sequence that is learned from, in segments, by some learners at once."""

    segments: int

    @abstractmethod
    def fresh(self, cell: Cell) -> Sequence[Tensor]:
        """States at its beginning."""

    @abstractmethod
    def run(self, cell: Cell, state: Sequence[Tensor], segment: int) -> tuple[Tensor, Sequence[Tensor]]:
        """A segment's loss, a scalar that is about 1 where nothing is learned, and the states after it."""


class Problem(ABC):
    """A distribution of episodes. Whoever asks for number n, at the same progress and seed, gets the same."""

    @abstractmethod
    def cell(self, seed: int) -> Cell:
        """Where meta-training begins."""

    @abstractmethod
    def algorithm(self, cell: Cell, name: str, card: dict[str, Any]) -> Algorithm:
        """The learning algorithm that a cell is."""

    @abstractmethod
    def episode(self, number: int, progress: float, seed: int) -> Episode:
        """An episode for meta-training; ``progress`` of the run, from 0 to 1, sets how hard it is."""

    @abstractmethod
    def held_out(self, cell: Cell) -> dict[str, float]:
        """Numbers by name from sequences that meta-training doesn't see; "gain" among them: the larger the better."""
