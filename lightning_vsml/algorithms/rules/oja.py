"""Oja's rule: Hebb's, with a decay that keeps a neuron's weights at length 1.

E. Oja, "Simplified neuron model as a principal component analyzer", *Journal of Mathematical Biology* 15 (1982), eq. 3;
f = lr x_b (x_a - x_b w) in eq. 11 of Kirsch & Schmidhuber (2020).
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
class Oja(Rule):
    """``dw_ab = lr mean(y_b (x_a - y_b w_ab))``, whatever the loss.

    Every neuron by itself comes to the first principal component of its inputs (uncentred, the bias being an input of
    1), or to its negative. It is stable while lr times the mean of y^2 stays well below 1.
    """

    family: ClassVar[str] = "oja"
    silent: ClassVar[bool] = False  # weights decay whatever x is

    lr: float = 0.003

    def move(self, site: Site, state: Tensor, e: Tensor, samples: int) -> Sequence[Tensor]:
        """lr (x y - y^2 w)."""
        y, share = self.output(site, state), self.lr / samples
        return [site.change(site.x, 1.0, y, share) - state[0] * site.change(1.0, 1.0, y.square(), share)]
