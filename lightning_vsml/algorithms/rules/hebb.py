"""Hebb's rule: what fires together wires together.

D. O. Hebb, *The Organization of Behavior* (1949); f = lr x_a x_b in eq. 11 of Kirsch & Schmidhuber (2020).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from lightning_vsml.algorithms.base import family
from lightning_vsml.algorithms.rules.base import Rule
from lightning_vsml.ticks import Site


@family
@dataclass(frozen=True)
class Hebb(Rule):
    """``dw_ab = lr mean(x_a y_b)``, whatever the loss.

    Nothing bounds it: along the eigenvector of mean(x x^T) with eigenvalue l, a weight grows by 1 + lr l in each step.
    """

    family: ClassVar[str] = "hebb"

    lr: float = 0.001

    def move(self, site: Site, state: Tensor, e: Tensor, samples: int) -> Sequence[Tensor]:
        """lr x y."""
        return [site.change(site.x, 1.0, self.output(site, state), self.lr / samples)]
