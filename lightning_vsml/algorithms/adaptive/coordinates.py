"""What a search may choose about the rule; none of it breaks an invariance."""

from typing import NamedTuple

PERIODS = (5.0, 50.0, 500.0)  # of clocks, in steps
FAST, SLOW, SQUARES = 5.0, 50.0, 100.0  # steps that means of updates, and of their squares and of inputs, look back
FORGET = 0.2  # pace of the leaky agreement
NOISE = 0.02  # added to the signal-to-noise ratio before its logarithm


class Coordinates(NamedTuple):
    """Of the rule in :mod:`~lightning_vsml.algorithms.adaptive.formula`.

    Attributes:
        rate: logarithm of the step.
        fast, slow: shares of the means over about 5 and 50 steps in the direction; the latest update has the rest.
        inputs: how far second moments are an input's own: 0 for an output's alone, 1 for both (Adafactor's).
        width: how much what inputs add up to counts besides what the last direction did: logarithm.
        first: how much smaller the first step is: logarithm.
        clock5, clock50, clock500: powers of 1 / (1 + t / period).
        noise: power of the signal-to-noise ratio.
        agree: how the step grows with the leaky cosine of update and last direction.
        grow, target: by how much the logarithm of the step grows for good where that cosine is above a target.
        shrink: by how much it shrinks where the cosine is negative.
        travel: logarithm of a part of the step that grows with the distance travelled.
    """

    rate: float = -0.85
    fast: float = -0.1
    slow: float = 0.65
    inputs: float = 0.95
    width: float = 3.2
    first: float = 1.5
    clock5: float = -0.5
    clock50: float = 0.95
    clock500: float = 0.45
    noise: float = 0.3
    agree: float = 1.5
    grow: float = 0.05
    target: float = 0.25
    shrink: float = 0.1
    travel: float = -3.5
