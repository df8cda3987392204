"""Feedback alignment: backpropagation whose way back has fixed random weights.

T. P. Lillicrap, D. Cownden, D. B. Tweed, C. J. Akerman, "Random synaptic feedback weights support error backpropagation
for deep learning", *Nature Communications* 7 (2016); f = lr x_a m_b in eq. 11 of Kirsch & Schmidhuber (2020).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lightning_vsml.algorithms.base import family
from lightning_vsml.algorithms.noise import noise
from lightning_vsml.algorithms.rules.base import Rule
from lightning_vsml.ticks import Site


@family
@dataclass(frozen=True)
class FeedbackAlignment(Rule):
    """``dw_ab = lr mean(x_a e_b)`` as SGD has it, but back goes ``sum_b e_b B_ab``.

    B is a second number of every synapse that never changes, drawn at the size (root mean square) of the layer's first
    weights; where these are 0, as 1 / sqrt(A).
    """

    family: ClassVar[str] = "feedback_alignment"
    numbers: ClassVar[tuple[str, ...]] = ("w", "B")

    lr: float = 0.1

    def begin(self, weights: Tensor) -> Tensor:
        """w and B."""
        size = weights.square().mean().sqrt()
        size = torch.where(size > 0, size, weights.shape[1] ** -0.5)
        return torch.stack([weights, noise(weights, 1)[0].to(weights) * size])

    def move(self, site: Site, state: Tensor, e: Tensor, samples: int) -> Sequence[Tensor]:
        """lr x e; B stays."""
        return [site.change(site.x, 1.0, e, self.lr / samples), torch.zeros_like(state[1])]

    def message(self, site: Site, state: Tensor, e: Tensor) -> Tensor:
        """sum_b e B."""
        return site.backward(e, state[1], 1.0)
