"""What networks that learn are meta-trained on: sequences, of which only segments are differentiated."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from lightning_vsml.algorithms.base import Algorithm

Parameters = Mapping[str, Tensor]  # V_M by name


class Episode(ABC):
    """A sequence that is learned from, in segments, by some learners at once."""

    segments: int

    @abstractmethod
    def fresh(self, V: Parameters) -> Sequence[Tensor]:
        """States at its beginning."""

    @abstractmethod
    def run(self, V: Parameters, state: Sequence[Tensor], segment: int) -> tuple[Tensor, Sequence[Tensor]]:
        """A segment's loss, a scalar that is about 1 where nothing is learned, and the states after it."""


class Problem(ABC):
    """A distribution of episodes. Whoever asks for number n, at the same progress and seed, gets the same."""

    @abstractmethod
    def start(self, seed: int) -> dict[str, Tensor]:
        """Where meta-training begins."""

    def is_trained(self, name: str) -> bool:
        """Whether meta-training changes a tensor."""
        return True

    @abstractmethod
    def algorithm(self, V: Parameters, name: str, card: dict[str, Any]) -> Algorithm:
        """The learning algorithm that has these parameters."""

    @abstractmethod
    def episode(self, number: int, progress: float, seed: int) -> Episode:
        """An episode for meta-training; ``progress`` of the run, from 0 to 1, sets how hard it is."""

    @abstractmethod
    def held_out(self, V: Parameters) -> dict[str, float]:
        """Numbers by name from sequences that meta-training doesn't see; "gain" among them: the larger the better."""
