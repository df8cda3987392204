"""Rules that one signal of the whole model reaches, whatever lies between: what they have in common."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lightning_vsml.algorithms.base import ELEMENTWISE, Across
from lightning_vsml.algorithms.change import Change
from lightning_vsml.algorithms.rules.base import Rule
from lightning_vsml.ticks import Site


@dataclass(frozen=True)
class Broadcast(Rule):
    """A local rule whose messages back are the same for all neurons of a layer. A subclass says what a neuron makes of
    them, :meth:`local`, and what goes on to the layer before, :meth:`onward`.
    """

    chained: ClassVar[bool] = True
    functions: ClassVar[frozenset[str]] = ELEMENTWISE

    @abstractmethod
    def local(self, state: Tensor, m: Tensor) -> Tensor:
        """The third factor of every neuron: ``(R, G, B, M)`` -> ``(R, G, B)``."""

    @abstractmethod
    def onward(self, m: Tensor) -> Tensor:
        """What every input gets: ``(R, G, B, M)`` -> ``(R, 1, 1, M')``."""

    def across(self, function: str) -> Across:
        """Elementwise functions do not touch it."""
        return Across.AROUND if function in ELEMENTWISE else Across.DERIVATIVE

    def feedback(self, e: Tensor) -> Tensor:
        """``(R, G, B)`` -> ``(R, G, B, 1)``."""
        return e.unsqueeze(-1)

    def learn(
        self,
        state: Tensor,
        x: Tensor | Site,
        e: Tensor,
        samples: int,
        sent: Sequence[Tensor] | None = None,
        message: bool = True,
    ) -> tuple[Change, Tensor]:
        """Messages as rows ``(R, G, B, M)`` -> the change, and messages back ``(R, G, A, M')``."""
        site = self._site(state, x)
        R, G, A = site.as_rows(site.x).shape
        back = self.onward(e).expand(R, G, A, -1)
        if not R:
            return Change(torch.zeros_like(state), 0), back
        third = site.rows_as_outputs(self.local(state, e).contiguous())
        return Change(torch.stack(list(self.move(site, state, self.gated(third, sent), samples))), site.rows), back

    def gated(self, third: Tensor, sent: Sequence[Tensor] | None) -> Tensor:
        """What moves weights, in the layout of outputs: the third factor, or that times what the layer has sent."""
        return third
