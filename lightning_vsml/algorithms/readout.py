"""Weights in planes: written to fresh states, read from states, and changes as they show to a loop."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from lightning_vsml.ticks import Layout
from lightning_vsml.ticks.plan.layout import Plane
from lightning_vsml.ticks.sites import empty_grid


class Readout(NamedTuple):
    """What planes of an algorithm stand for.

    Attributes:
        planes: all of a state.
        weight: the weight is the sum of the planes times these.
        gradient: where there are commit ticks, minus the gradient is the sum of a change's planes times these.
    """

    planes: tuple[Plane, ...]
    weight: tuple[float, ...]
    gradient: tuple[float, ...] | None

    @classmethod
    def of(cls, layout: Layout, decode: Tensor, gradient: Tensor | None) -> "Readout":
        """From vectors ``(N,)`` that c of every unit is multiplied by."""
        return cls(layout.planes, _factors(layout, decode), None if gradient is None else _factors(layout, gradient))

    def encode(self, weights: Tensor) -> Tensor:
        """Fresh states: ``(G, A, B)`` -> ``(P, G, A, B)``."""
        if len(self.planes) == 1:
            return weights.clone().unsqueeze(0)
        state = empty_grid((len(self.planes), *weights.shape), weights).zero_()
        for plane, at in zip(state, self.planes, strict=True):
            if at.codes:
                plane.copy_(weights)
        return state

    def decode(self, state: Tensor) -> Tensor:
        """The weights; where one plane is the weight, a view."""
        return _sum(state, self.weight)

    def overwrite(self, state: Tensor, weights: Tensor) -> Tensor:
        """A state moved to stand for ``weights``."""
        if self.weight == (1.0,) and weights.dtype == state.dtype:
            return weights.clone().unsqueeze(0)
        difference = (weights - self.decode(state).to(weights.dtype)).to(state.dtype)
        after = empty_grid(tuple(state.shape), state).copy_(state)
        for plane, at in zip(after, self.planes, strict=True):
            if at.codes:
                plane += difference
        return after

    def shown(self, change: Tensor) -> Tensor:
        """How weights will move; or where commit ticks decide that, minus the gradient."""
        return _sum(change, self.weight if self.gradient is None else self.gradient)

    def push(self, change: Tensor, rows: slice, shown: Tensor, weights: Tensor | None) -> None:
        """Add to a change, in place: ``shown`` to what it shows as, ``weights`` to the weights; in these inputs."""
        for place, (plane, at) in enumerate(zip(change, self.planes, strict=False)):
            if self.gradient is None and at.codes:
                plane[:, rows] += shown
            elif self.gradient is not None and self.gradient[place]:
                plane[:, rows] += shown / self.gradient[place]
            if at.codes and weights is not None:
                plane[:, rows] += weights


def _factors(layout: Layout, vector: Tensor) -> tuple[float, ...]:
    """What a vector makes of c, as factors of planes."""
    factors = [0.0] * len(layout.planes)
    for unit, weight in enumerate(vector.tolist()):
        if weight:
            place, factor = layout.units[1][unit] or (0, 0.0)
            factors[place] += weight * factor
    return tuple(
        1.0 if plane.codes and abs(f - 1) < 1e-6 else f for plane, f in zip(layout.planes, factors, strict=True)
    )


def _sum(planes: Tensor, factors: Sequence[float]) -> Tensor:
    """Of planes times factors, as far as there are planes."""
    if len(planes) == 1 and factors[0] == 1.0:
        return planes[0]
    return sum((plane * f for plane, f in zip(planes, factors, strict=False) if f), start=planes.new_zeros(()))
