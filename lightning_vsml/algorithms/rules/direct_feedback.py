"""Direct feedback alignment: every layer gets the error of the outputs, by fixed random weights of its own.

A. Nøkland, "Direct feedback alignment provides learning in deep neural networks", NeurIPS (2016), eq. 8;
f = lr x_a m_b in eq. 11 of Kirsch & Schmidhuber (2020).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lightning_vsml.algorithms.base import ELEMENTWISE, Across, family
from lightning_vsml.algorithms.noise import noise
from lightning_vsml.algorithms.rules.broadcast import Broadcast
from lightning_vsml.ticks import Site


@family
@dataclass(frozen=True)
class DirectFeedbackAlignment(Broadcast):
    """``dw_ab = lr mean(x_a d_b sum_c e_c B_cb)``, d the derivative of the layer's activation; in the last layer
    ``lr mean(x_a e_b)``.

    A message is (e_1, ..., e_C, d). B has the first C rows of a second number of every synapse that never changes
    (again from the first, where a layer has fewer inputs), of variance 1 / C.
    """

    family: ClassVar[str] = "direct_feedback_alignment"
    numbers: ClassVar[tuple[str, ...]] = ("w", "B")

    lr: float = 0.1

    def begin(self, weights: Tensor) -> Tensor:
        """w and B."""
        return torch.stack([weights, noise(weights, 1)[0].to(weights)])

    def across(self, function: str) -> Across:
        """The nearest activation's derivative counts, and no other's."""
        return Across.RULE if function in ELEMENTWISE else super().across(function)

    def respond(self, function: str, x: Tensor, m: Tensor, derived: Callable[[Tensor], Tensor]) -> Tensor:
        """The errors as they are, and its own derivative."""
        return torch.cat([m[..., :-1], derived(torch.ones_like(x)).to(m).unsqueeze(-1)], -1)

    def local(self, state: Tensor, m: Tensor) -> Tensor:
        """The error of the last layer's neuron; else d sum_c e_c B_cb."""
        if m.shape[-1] == 1:
            return m[..., 0]
        C, A = m.shape[-1] - 1, state.shape[2]
        B = state[1][:, torch.arange(C, device=state.device) % A]
        return torch.einsum("rgbc,gcb->rgb", m[..., :-1], B) * m[..., -1] * C**-0.5

    def onward(self, m: Tensor) -> Tensor:
        """All errors, and a derivative of 1."""
        errors = m[..., 0].flatten(1) if m.shape[-1] == 1 else m[:, 0, 0, :-1]
        return torch.cat([errors, torch.ones_like(errors[:, :1])], 1)[:, None, None]

    def move(self, site: Site, state: Tensor, e: Tensor, samples: int) -> Sequence[Tensor]:
        """lr x m; B stays."""
        return [site.change(site.x, 1.0, e, self.lr / samples), torch.zeros_like(state[1])]
