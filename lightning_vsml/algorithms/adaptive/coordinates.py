"""What a search may choose about the rule; none of it breaks an invariance."""

from typing import NamedTuple

PERIODS = (5.0, 50.0, 500.0)  # of clocks, in steps
SLOW, SQUARES = 50.0, 100.0  # steps that means of updates, and of their squares and of inputs, look back
NOISE = 0.02  # added to the signal-to-noise ratio before its logarithm


class Coordinates(NamedTuple):
    """Of the rule in :mod:`~lightning_vsml.algorithms.adaptive.formula`.

    Attributes:
        rate: logarithm of the first kind of step, which looks at the inputs.
        fall5, fall50, fall500: powers of 1 / (1 + t / period) in it.
        noise: its power of the signal-to-noise ratio.
        depth: its power of 1 / the layers of the shortest chain through it.
        first: how much smaller it is at the very first step: logarithm.
        travel: logarithm of the second kind, which is a share of the distance travelled.
        travel5, travel50, travel500, travel_noise, travel_depth: its powers.
        slow: share of the mean over about 50 steps in the direction; the latest update has the rest.
    """

    rate: float = -1.2
    fall5: float = 0.05
    fall50: float = 1.0
    fall500: float = 1.19
    noise: float = 0.4
    depth: float = 1.39
    first: float = 1.13
    travel: float = -1.2
    travel5: float = -0.04
    travel50: float = 1.0
    travel500: float = -0.31
    travel_noise: float = 0.13
    travel_depth: float = 0.17
    slow: float = 0.36
