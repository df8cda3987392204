"""Three-factor rules: Hebb's, gated by a third signal.

N. Frémaux, W. Gerstner, "Neuromodulated spike-timing-dependent plasticity, and theory of three-factor learning rules",
*Frontiers in Neural Circuits* 9 (2016); f = lr m x_a x_b in eq. 11 of Kirsch & Schmidhuber (2020), where m may be a
reward or an error.
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
class ThreeFactor(Rule):
    """``dw_ab = lr mean(m_b x_a y_b)`` with the error as the third factor, m = e; back goes ``sum_b e_b w_ab``.

    It is gradient descent with the rate lr y_b: downhill where a neuron is active (y > 0), uphill where its output is
    negative. So it asks for layers whose outputs matter only where they are positive, as before a ReLU; a single layer
    of logits diverges.
    """

    family: ClassVar[str] = "three_factor"

    lr: float = 0.01

    def third(self, e: Tensor) -> Tensor:
        """m, in the layout of outputs."""
        return e

    def move(self, site: Site, state: Tensor, e: Tensor, samples: int) -> Sequence[Tensor]:
        """lr m x y."""
        return [site.change(site.x, 1.0, self.third(e) * self.output(site, state), self.lr / samples)]

    def message(self, site: Site, state: Tensor, e: Tensor) -> Tensor:
        """sum_b e w."""
        return site.backward(e, state[0], 1.0)
