"""Spare units for the constructed algorithm: what a meta-learner can wire in, without breaking what is there.

At the start of the search nothing reads them, and the algorithm is backpropagation and SGD as
:func:`lightning_vsml.algorithms.programs.backprop` has it. They *sense*: running means, sums over a neuron's synapses
(sent as own messages), the age of the synapse, its latest changes. What to do with that is the search's to find.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace

import torch

from lightning_vsml.algorithms.parts import Codec, Protocol, Reach
from lightning_vsml.algorithms.programs import backprop
from lightning_vsml.meta.space import Coordinate, Place, Space, at
from lightning_vsml.ticks import Cell, Tick

# Units. The first five are those of `backprop`.
WEIGHT, PRODUCT, MESSAGE = (0, 1), (2, 3), 4
RECENT = (5, 6)  # changes of the weight, forgotten after a while; a pair, so that it can be read out as the weight is
CLOCKS = (7, 8, 9)
MEAN = (10, 11)  # of the input, as a pair
MEAN_SQUARED = (12, 13)  # its square, in the forward ticks
INPUT_SQUARED = (14, 15)  # the input's, in the forward ticks
ALONG = (16, 17)  # the part of an update along the mean input
PULSE = 18  # 1 in the tick that writes, else 0
ERROR = (19, 20)  # their difference: the feedback's square
SIZE = 21  # of the input: a compressed running mean of its square
PULL = (22, 23)  # their difference: does the feedback want the output where the latest changes have moved it?
TREND = 24  # a running mean of that
N = 25

# Channels of the forward message: the input in the forward ticks, in learn ticks, and in the last of these.
FORWARD, LEARN, LAST = range(3)
# Channels of the backward message: the feedback; own messages in the tick that multiplies, and in the one that writes.
FEEDBACK = 0
ALIGNED, MEAN_NORM, NORM, MOVED = 1, 2, 3, 4
RATE_ALIGNED, RATE_MEAN_NORM, RATE_NORM, RATE_MOVED = 5, 6, 7, 8

# The first ticks feed nothing: they turn what memories hold (c) into what other units hear (h).
PROTOCOL = Protocol(
    forward=(Tick(), Tick(x=(FORWARD,))),
    learn=(
        Tick(),
        Tick(x=(LEARN,), e=(FEEDBACK,), own=(ALIGNED, MEAN_NORM, NORM, MOVED)),
        Tick(x=(LEARN, LAST), own=(RATE_ALIGNED, RATE_MEAN_NORM, RATE_NORM, RATE_MOVED)),
    ),
)

I, F, G, O = range(4)
OPEN, SHUT = 25.0, -25.0
CONSTANTS = 2.0**10, 2.0**-8, 2.0**-8, 2.0**8  # scale, eps, zeta, k: coarse enough for ticks in float32
RATE = -5.0  # bias of the gate that writes updates; so low that sigm is exp, and what is added to z multiplies
MARGIN = 4.0  # the same for a ratio of sums, which is around 1
SUMS = 2.0**12  # own messages are asinh of sums times this: logarithms, in all but the smallest sums
TYPICAL = math.asinh(100 * SUMS)  # own message of an input with a squared norm of 100
SLOPE = 10.0  # how much SIZE shuts its own gate
LIKELY = 0.1  # gain of an input's square in SIZE: up to 10 it is told from larger ones
PERIODS = (2.0, 50.0, 1000.0)  # of the clocks, in learning steps


def modulated_backprop(lr: float = 0.1) -> Space:
    """The search space around ``backprop`` with 20 spare units.

    =======  ====================================================  ==================================================
    units    what they hold                                        what the search may let them do
    =======  ====================================================  ==================================================
    5, 6     latest changes of the weight, a leaky integral        be taken from the weight wherever that is read: what
                                                                   is left is a running average of the weight
    7 to 9   clocks: 1 - exp(-age / period)                        scale updates
    10, 11   m: running mean of the input x; and x m, summed
             over inputs: own message 1                            scale updates
    12, 13   m^2, summed over inputs: own message 2                scale updates
    14, 15   x^2, summed over inputs: own message 3                scale updates (normalised least mean squares)
    16, 17   e m (x·m / m·m): the update along the mean input      be taken from the update
    18       1 in the tick that writes
    19, 20   e^2                                                   weigh inputs in m
    21       s: size of the input, compressed                      scale updates
    22, 23   e times the sign of r·x, what the latest changes
             r did to the output: own message 4
    24       its running mean: do changes go on as they did?       scale updates
    =======  ====================================================  ==================================================

    Own messages arrive as logarithms, and gates far below 0 are exponentials: what is added to their z multiplies. (Up
    to saturation: an update of a weight by more than a few is clipped softly, and of a part along the mean 2 % more
    stay than asked for; where x·m < 0 it is not taken away.)

    Unit 21 is a leaky memory of tanh(x^2 / 10) whose gate shuts as it fills, so that it grows with the logarithm of
    x^2. Unit 24 rises while feedback asks for more of the latest changes, and falls where it takes them back: they
    overshot, or were noise. That is hypergradient descent on the learning rate (Baydin et al. 2018, arXiv 1703.04782),
    which so comes to depend on how many samples a change is averaged over.

    Nothing here depends on the scale of the inputs or on their number except through what the search wires in. Whatever
    it finds, decoded weights compute what the forward ticks do.

    Args:
        lr: learning rate of SGD at the start.
    """
    scale, eps, zeta, k = CONSTANTS
    program = backprop(lr=lr, scale=scale, eps=eps, zeta=zeta, k=k)
    start = replace(
        program,
        name="modulated_backprop",
        cell=_grow(program.cell, scale, eps, k),
        codec=Codec(*(torch.nn.functional.pad(vector, (0, N - 5)) for vector in program.codec)),
        protocol=PROTOCOL,
        memory=tuple(unit in WEIGHT for unit in range(N)),
        reach=Reach(x=k / 8, e=1 / (8 * eps), w=scale / 8),
        fine=False,
        tolerance=1e-4,
    )
    return Space(start, tuple(_coordinates(scale, eps, zeta, k, rho=lr * k / (scale * eps) / _sigm(RATE))))


def _grow(program: Cell, scale: float, eps: float, k: float) -> Cell:
    """The cell of ``backprop`` with the spare units, which it doesn't read."""
    W, V, U, b = (torch.zeros(rows, 4, N) for rows in (N, 3, 9, 1))
    P_f, P_b = torch.zeros(N, 5), torch.zeros(N, 1)
    for new, old in ((W[:5], program.W), (V[:2], program.V), (U[:1], program.U), (b, program.b)):
        new[..., :5] = old.view(-1, 4, 5)
    P_f[:5, :1], P_b[:5] = program.P_f, program.P_b

    # the gate that writes updates is lowered, and what it writes raised
    b[0, I, list(WEIGHT)] = RATE
    W[2:4, G, :2] /= _sigm(RATE)

    def set_by_pulse(gate: int, units: Iterable[int], otherwise: float, then: float) -> None:
        """A gate's z: another one in the tick that writes."""
        for unit in units:
            b[0, gate, unit], W[PULSE, gate, unit] = otherwise, (then - otherwise) / math.tanh(1.0)

    b[0, I, PULSE], U[NORM, I, PULSE] = -40.0, 10.0  # own messages came: the next tick writes
    b[0, G, PULSE] = OPEN
    for unit in (PULSE, *MEAN_SQUARED, *INPUT_SQUARED, *ERROR, *PULL):  # what forgets at every tick
        b[0, F, unit], b[0, O, unit] = SHUT, OPEN
    for unit, sign in pairs(RECENT):
        W[list(PRODUCT), G, unit] = W[PRODUCT[0], G, WEIGHT[0]]  # written as the weight is
        b[0, I, unit] = RATE
        V[FORWARD, O, unit], U[FEEDBACK, O, unit] = sign * 2 / k, sign * 2 * eps  # read out as the weight is
    set_by_pulse(F, RECENT, OPEN, 2.0)
    for unit, period in zip(CLOCKS, PERIODS, strict=True):
        b[0, F, unit] = math.log(len(PROTOCOL.learn) * period - 1)
        b[0, I, unit], b[0, G, unit], b[0, O, unit] = -b[0, F, unit], OPEN, OPEN
    for unit, sign in pairs(MEAN):
        b[0, I, unit] = -4.0
        V[LAST, G, unit], V[FORWARD, O, unit] = 1 / k, sign * 2 / k
    set_by_pulse(F, MEAN, OPEN, 4.0)
    for unit, sign in pairs(MEAN_SQUARED):
        W[list(MEAN), I, unit], W[list(MEAN), G, unit] = sign * 2, 1.0
    for unit, sign in pairs(INPUT_SQUARED):
        V[[FORWARD, LEARN], I, unit], V[[FORWARD, LEARN], G, unit] = sign * 2 / k, 1 / k
        W[unit, G, SIZE] = sign * LIKELY * k**2
    for unit, sign in pairs(ALONG):
        b[0, I, unit], b[0, F, unit] = -MARGIN, SHUT
        U[ALIGNED, I, unit], U[MEAN_NORM, I, unit] = 1.0, -1.0
        U[FEEDBACK, G, unit] = eps
        W[list(MEAN), O, unit] = sign * 2
    for unit, sign in pairs(ERROR):
        U[FEEDBACK, I, unit], U[FEEDBACK, G, unit] = sign * 2, 2.0
    for unit, sign in pairs(PULL):
        U[FEEDBACK, I, unit], U[MOVED, G, unit] = sign * 2, 1.0
        W[unit, G, TREND] = sign * 10.0
    set_by_pulse(I, (SIZE,), SHUT, 0.0)
    set_by_pulse(I, (TREND,), SHUT, -2.2)
    set_by_pulse(F, (SIZE, TREND), OPEN, 4.6)
    W[SIZE, I, SIZE] = -SLOPE
    b[0, O, [SIZE, TREND]] = OPEN

    own = {MEAN: SUMS * k**2, MEAN_SQUARED: SUMS * k**2, INPUT_SQUARED: SUMS * k**2, RECENT: 4 * k * scale}
    for message, (pair, gain) in enumerate(own.items(), start=1):
        P_f[list(pair), message] = torch.tensor([gain, -gain])
    return Cell(W.flatten(1), V.flatten(1), U.flatten(1), b.flatten(), P_f, P_b)


def _coordinates(scale: float, eps: float, zeta: float, k: float, rho: float) -> list[Coordinate]:
    written = (*WEIGHT, *RECENT)

    def rate(parameter: str, rows: tuple[int, ...], amount: float = 1.0) -> dict[Place, float]:
        """Entries whose z multiplies the updates."""
        return at(N, parameter, rows, "i", written, amount)

    def pace(parameter: str, row: int, amount: float = 1.0) -> dict[Place, float]:
        """Entries that weigh an input in its mean."""
        return at(N, parameter, (row,), "i", MEAN, amount) | at(N, parameter, (row,), "f", MEAN, -amount)

    along = rho * math.exp(MARGIN)
    taken = at(N, "W", ALONG[:1], "g", written, -along) | at(N, "W", ALONG[1:], "g", written, along)
    recent: dict[Place, float] = {}
    for unit, sign in pairs(RECENT):
        recent[Place("P_f", unit, 0)] = -sign * k * scale
        recent |= at(N, "W", (unit,), "g", (MESSAGE,), -sign * zeta * scale / eps)
        recent[Place("decode", unit, 0)] = -scale / 2
    return [
        Coordinate("rate", 1.0, rate("b", (0,))),
        Coordinate("rate/norm", 1.0, rate("U", (RATE_NORM,), -1.0) | rate("b", (0,), TYPICAL)),
        Coordinate("rate/mean_norm", 1.0, rate("U", (RATE_MEAN_NORM,)) | rate("b", (0,), -TYPICAL)),
        Coordinate("rate/aligned", 1.0, rate("U", (RATE_ALIGNED,)) | rate("b", (0,), -TYPICAL)),
        *(Coordinate(f"rate/clock{n}", 1.0, rate("W", (clock,))) for n, clock in enumerate(CLOCKS)),
        Coordinate("rate/size", 1.0, rate("W", (SIZE,), -SLOPE)),
        Coordinate("rate/trend", 1.0, rate("W", (TREND,))),
        Coordinate("along", 1.0, taken),
        Coordinate("recent", 1.0, recent),
        Coordinate("recent/forget", 1.0, at(N, "W", (PULSE,), "f", RECENT, -1.0 / math.tanh(1.0))),
        Coordinate("mean", 1.0, pace("b", 0)),
        Coordinate("mean/error", 1.0, pace("W", ERROR[0]) | pace("W", ERROR[1], -1.0)),
    ]


def pairs(units: tuple[int, int]) -> Iterator[tuple[int, float]]:
    """The units of a pair, each with its sign."""
    return zip(units, (1.0, -1.0), strict=True)


def _sigm(z: float) -> float:
    return 1 / (1 + math.exp(-z))
