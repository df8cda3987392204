"""Differentiable plasticity: a fixed weight, and a Hebbian trace beside it.

T. Miconi, J. Clune, K. O. Stanley, "Differentiable plasticity: training plastic neural networks with backpropagation",
ICML (2018), eqs. 1 and 2, with one alpha for all synapses; an instance of eq. 8 of Kirsch & Schmidhuber (2020).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lightning_vsml.algorithms.base import family
from lightning_vsml.algorithms.rules.base import Rule
from lightning_vsml.ticks import Site


@family
@dataclass(frozen=True)
class Plasticity(Rule):
    """``y = sum_a (w + alpha H) x``, ``H' = (1 - lr) H + lr mean(x y)``, whatever the loss.

    The weight that can be read is the effective one, w + alpha H; whoever writes it moves w. Back goes
    ``sum_b e (w + alpha H)``, so that what is left to an optimizer learns. The trace is a running mean over samples
    and positions alike. It stays bounded while alpha times the largest eigenvalue of mean(x x^T) is below 1.

    Args:
        lr: eta of the paper, the trace's rate.
        alpha: how much of the trace counts.
    """

    family: ClassVar[str] = "plasticity"
    numbers: ClassVar[tuple[str, ...]] = ("w", "H")
    silent: ClassVar[bool] = False  # traces fade whatever x is

    lr: float = 0.01
    alpha: float = 0.01

    def move(self, site: Site, state: Tensor, e: Tensor, samples: int) -> Sequence[Tensor]:
        """w stays; lr (x y - H)."""
        y = self.output(site, state)
        return [torch.zeros_like(state[0]), site.change(site.x, 1.0, y, self.lr / site.rows) - self.lr * state[1]]

    def message(self, site: Site, state: Tensor, e: Tensor) -> Tensor:
        """sum_b e (w + alpha H)."""
        return site.backward(e, self.decode(state), 1.0)

    def decode(self, state: Tensor) -> Tensor:
        """w + alpha H."""
        return state[0] + self.alpha * state[1]

    def overwrite(self, state: Tensor, weights: Tensor) -> Tensor:
        """w moves, the trace stays."""
        return torch.stack([state[0] + (weights.to(state) - self.decode(state)), state[1]])
