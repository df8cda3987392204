"""The intervals that tensors lie in: measured, and out to a declared one."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

Interval = tuple[float, float]

LEAST = 2.0**-30  # of a declared range
FINE = 4  # steps of a finer one, to the next power of 2

_measured: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


def intervals(planes: Tensor, which: Sequence[bool] | None = None) -> list[Interval]:
    """The :func:`interval` of planes of a state, which nobody else has: once it is measured, it is known.

    Args:
        planes: ``(P, G, A, B)``.
        which: of them matter; of others it is [-1, 1]. All, if not given.
    """

    def measured() -> list[Interval]:
        wanted = [True] * len(planes) if which is None else which
        return [interval(plane) if matters else (-1.0, 1.0) for plane, matters in zip(planes, wanted, strict=True)]

    if planes.is_inference():
        return measured()
    known = _measured.get(planes)
    if known is None or known[0] != planes._version:
        known = _measured[planes] = (planes._version, measured())
    return known[1]


def interval(tensor: Tensor) -> Interval:
    """The least and the largest value."""
    if not tensor.numel():
        return 0.0, 0.0
    tensor = tensor.detach()
    # in one pass where torch does not copy for it
    low, high = torch.aminmax(tensor) if tensor.is_contiguous() else (tensor.amin(), tensor.amax())
    return low.item(), high.item()


class Declared(NamedTuple):
    """A range for values that were measured.

    Attributes:
        low, high: the next round numbers outwards.
        slack_low, slack_high: how much further out a range may lie and still do: plans are kept for what comes next.
    """

    low: float
    high: float
    slack_low: float
    slack_high: float

    @property
    def interval(self) -> Interval:
        """The range."""
        return self.low, self.high

    def admits(self, other: Interval, measured: Interval) -> bool:
        """Whether a range that was declared earlier holds what was measured, and is not much wider than it has to
        be."""
        return other[0] <= measured[0] and measured[1] <= other[1] and self.near(other)

    def near(self, other: Interval) -> bool:
        """Whether a range is not much wider."""
        return self.low - other[0] <= self.slack_low and other[1] - self.high <= self.slack_high

    def joined(self, other: Interval) -> Interval:
        """The range that holds both, if it is not much wider."""
        both = min(self.low, other[0]), max(self.high, other[1])
        return both if self.near(both) else self.interval


def outward(low: float, high: float, fine: bool = False) -> Declared:
    """For values in [low, high]: out to the next power of 2; or finer, with room for what comes next, where all
    have one sign."""
    size = max(abs(low), abs(high), LEAST)
    if not size < math.inf:
        return Declared(-math.inf, math.inf, 0.0, 0.0)
    power = 2.0 ** math.ceil(math.log2(size))
    if not fine or low < 0 < high:
        return Declared(math.floor(low / power) * power, math.ceil(high / power) * power, power, power)
    step = power / FINE
    below, above = math.floor(low / step - 0.5) * step, math.ceil(high / step + 0.5) * step
    below, above = max(below, 0.0) if low >= 0 else below, min(above, 0.0) if high <= 0 else above
    return Declared(below, above, 2 * step, 2 * step)


def around(low: float, high: float) -> Declared:
    """For an exponent: how far up it goes decides how many terms it takes."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return Declared(-math.inf, math.inf, 0.0, 0.0)
    return Declared(math.floor(low / 4 - 0.5) * 4.0, math.ceil(high * 2 + 0.5) / 2, 16.0, 1.0)
