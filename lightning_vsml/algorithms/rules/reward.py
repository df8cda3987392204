"""A three-factor rule that hears of nothing but reward: neurons try, and keep what was better than expected.

I. R. Fiete, H. S. Seung, "Gradient learning in spiking neural networks by dynamic perturbation of conductances",
*Physical Review Letters* 97 (2006); f = lr m x_a x_b in eq. 11 of Kirsch & Schmidhuber (2020), m a reward.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lightning_vsml.algorithms.base import family
from lightning_vsml.algorithms.rules.broadcast import Broadcast
from lightning_vsml.ticks import Site


@family
@dataclass(frozen=True)
class Reward(Broadcast):
    """``y = sum_a w x + std xi``, xi normal noise of every neuron and row; ``dw_ab = lr mean(m x_a xi_b) / std``.

    m is one number for each sample, and the same for every neuron of every layer: the sum of what the loss tells the
    outputs. With the loss ``-(m * y.mean(-1)).mean()`` it is the m of the module's own, which should be the reward less
    what was expected. There is noise where gradients are enabled; a model that is evaluated has none.

    Args:
        lr: the rate.
        std: of what neurons try.
    """

    family: ClassVar[str] = "reward"

    lr: float = 0.01
    std: float = 0.5

    def send(self, state: Tensor, x: Tensor | Site) -> list[Tensor]:
        """y, and the noise in it."""
        (y,) = super().send(state, x)
        tried = torch.randn_like(y) * self.std
        return [y + tried, tried]

    def feedback(self, e: Tensor) -> Tensor:
        """m of each sample, for each neuron."""
        return e.sum((1, 2), keepdim=True).expand_as(e).unsqueeze(-1)

    def local(self, state: Tensor, m: Tensor) -> Tensor:
        """m."""
        return m[..., 0]

    def onward(self, m: Tensor) -> Tensor:
        """m."""
        return m[:, :1, :1]

    def gated(self, third: Tensor, sent: Sequence[Tensor] | None) -> Tensor:
        """m xi / std."""
        assert sent is not None
        return third * sent[1] / self.std**2

    def move(self, site: Site, state: Tensor, e: Tensor, samples: int) -> Sequence[Tensor]:
        """lr x m xi / std."""
        return [site.change(site.x, 1.0, e, self.lr / samples)]
