"""Spare units for the constructed algorithm: what a meta-learner can wire in, without breaking what is there.

At the start of the search nothing reads them, and the algorithm is backpropagation and SGD as
:func:`lightning_vsml.programs.backprop` has it. They *sense*: running means, sums over a neuron's synapses (sent as own
messages), the age of the synapse, its latest changes. What to do with that is the search's to find.
"""

import math
from dataclasses import replace

import torch

from lightning_vsml.meta.space import Coordinate, Place, Space, at
from lightning_vsml.parts import Codec, Protocol
from lightning_vsml.programs import backprop
from lightning_vsml.ticks import Cell, Tick

# Units. The first five are those of `backprop`.
WEIGHT, PRODUCT, MESSAGE = (0, 1), (2, 3), 4
RECENT = (5, 6)  # changes of the weight, forgotten after a while; a pair, so that it can be read out as the weight is
CLOCKS = (7, 8)
MEAN = (9, 10)  # of the input, as a pair
MEAN_SQUARED = (11, 12)  # its square, in the forward tick
INPUT_SQUARED = (13, 14)  # the input's, in the forward tick
ALONG = (15, 16)  # the part of an update along the mean input
N = 17

# Channels of the backward message: the feedback, then own messages.
FEEDBACK, ALIGNED, MEAN_NORM, NORM = range(4)

RATE = -5.0  # bias of the gate that writes updates; so low that sigm is exp, and what is added to z multiplies
MARGIN = 4.0  # the same for a ratio of sums, which is around 1
SUMS = 2.0**12  # own messages are asinh of sums times this: logarithms, in all but the smallest sums
TYPICAL = math.asinh(100 * SUMS)  # own message of an input with a squared norm of 100
PERIODS = (50.0, 1000.0)  # of the clocks, in learning steps


def modulated_backprop(lr: float = 0.1) -> Space:
    """The search space around ``backprop`` with 12 spare units.

    =======  ====================================================  ==================================================
    units    what they hold                                        what the search may let them do
    =======  ====================================================  ==================================================
    5, 6     latest changes of the weight, a leaky integral        be taken from the weight wherever that is read: what
                                                                   is left is a running average of the weight
    7, 8     clocks: 1 - exp(-age / period)                        scale updates, lengthen the integral
    9, 10    m: running mean of the input x; and x m, summed
             over inputs: own message 1                            scale updates
    11, 12   m^2, summed over inputs: own message 2                scale updates
    13, 14   x^2, summed over inputs: own message 3                scale updates (normalised least mean squares)
    15, 16   e m (x·m / m·m): the update along the mean input      be taken from the update
    =======  ====================================================  ==================================================

    Own messages arrive as logarithms, and gates far below 0 are exponentials: what is added to their z multiplies.
    Nothing here depends on the scale of the inputs or on their number except through what the search wires in.

    Args:
        lr: learning rate of SGD at the start.
    """
    program = backprop(lr=lr)
    constants = program.card["constants"]
    scale, eps, zeta, k = (constants[name] for name in ("scale", "eps", "zeta", "k"))
    cell = _grow(program.cell, scale, eps, k)
    codec = Codec(*(torch.nn.functional.pad(vector, (0, N - 5)) for vector in program.codec))
    start = replace(
        program,
        name="modulated_backprop",
        cell=cell,
        codec=codec,
        protocol=Protocol(
            forward=(Tick(x=(0,)),),
            learn=(
                Tick(x=(1,), e=(FEEDBACK,), own=(ALIGNED, MEAN_NORM, NORM)),
                Tick(x=(1,), own=(ALIGNED, MEAN_NORM, NORM)),
            ),
        ),
        memory=tuple(unit in WEIGHT for unit in range(N)),
        card={"kind": "constructed", "constants": constants},
    )
    return Space(start, tuple(_coordinates(scale, eps, zeta, k, rho=lr * k / (scale * eps) / _sigm(RATE))))


def _grow(program: Cell, scale: float, eps: float, k: float) -> Cell:
    """The cell of ``backprop`` with the spare units, which it doesn't read."""
    W, V, U, b, P_f, P_b = (
        torch.zeros(*shape) for shape in ((N, 4, N), (2, 4, N), (4, 4, N), (1, 4, N), (N, 4), (N, 1))
    )
    for new, old in (
        (W[:5, :, :5], program.W),
        (V[:, :, :5], program.V),
        (U[:1, :, :5], program.U),
        (b[:, :, :5], program.b),
    ):
        new.copy_(old.view(-1, 4, 5))
    P_f[:5, :1], P_b[:5] = program.P_f, program.P_b
    I, F, G, O = range(4)
    OPEN, SHUT = 25.0, -25.0

    # the gate that writes updates is lowered, and what it writes raised
    b[0, I, list(WEIGHT)] = RATE
    W[2:4, G, :2] /= _sigm(RATE)

    for unit, sign in zip(RECENT, (1.0, -1.0), strict=True):
        W[list(PRODUCT), G, unit] = W[PRODUCT[0], G, WEIGHT[0]]  # written as the weight is
        b[0, I, unit], b[0, F, unit] = RATE, 2.0
        V[0, O, unit], U[FEEDBACK, O, unit] = sign * 2 / k, sign * 2 * eps  # read out as the weight is
    for unit, period in zip(CLOCKS, PERIODS, strict=True):
        b[0, F, unit] = math.log(2 * period - 1)  # two ticks in a learning step
        b[0, I, unit], b[0, G, unit], b[0, O, unit] = -b[0, F, unit], OPEN, OPEN
    for unit, sign in zip(MEAN, (1.0, -1.0), strict=True):
        b[0, F, unit], b[0, I, unit] = 4.0, -4.0
        V[1, G, unit], V[0, O, unit] = 1 / k, sign * 2 / k
    for unit, sign in zip(MEAN_SQUARED, (1.0, -1.0), strict=True):
        W[list(MEAN), I, unit], W[list(MEAN), G, unit] = sign * 2, 1.0
        b[0, F, unit], b[0, O, unit] = SHUT, OPEN
    for unit, sign in zip(INPUT_SQUARED, (1.0, -1.0), strict=True):
        V[0, I, unit], V[0, G, unit] = sign * 2 / k, 1 / k
        b[0, F, unit], b[0, O, unit] = SHUT, OPEN
    for unit, sign in zip(ALONG, (1.0, -1.0), strict=True):
        b[0, I, unit], b[0, F, unit], b[0, O, unit] = -MARGIN, SHUT, 0.0
        U[ALIGNED, I, unit], U[MEAN_NORM, I, unit] = 1.0, -1.0
        U[FEEDBACK, G, unit] = eps
        W[list(MEAN), O, unit] = sign * 2
    for message, pair in ((ALIGNED, MEAN), (MEAN_NORM, MEAN_SQUARED), (NORM, INPUT_SQUARED)):
        P_f[list(pair), message] = torch.tensor([1.0, -1.0]) * SUMS * k**2
    return Cell(W.flatten(1), V.flatten(1), U.flatten(1), b.flatten(), P_f, P_b)


def _coordinates(scale: float, eps: float, zeta: float, k: float, rho: float) -> list[Coordinate]:
    written = (*WEIGHT, *RECENT)

    def rate(parameter: str, rows: tuple[int, ...], amount: float = 1.0) -> dict[Place, float]:
        """Entries whose z multiplies the updates."""
        return at(N, parameter, rows, "i", written, amount)

    along = rho * math.exp(MARGIN)
    taken = at(N, "W", ALONG[:1], "g", written, -along) | at(N, "W", ALONG[1:], "g", written, along)
    recent: dict[Place, float] = {}
    for unit, sign in zip(RECENT, (1.0, -1.0), strict=True):
        recent[Place("P_f", unit, 0)] = -sign * k * scale
        recent |= at(N, "W", (unit,), "g", (MESSAGE,), -sign * zeta * scale / eps)
        recent[Place("decode", unit, 0)] = -scale / 2
    return [
        Coordinate("rate", 0.5, rate("b", (0,))),
        Coordinate("rate/norm", 0.3, rate("U", (NORM,), -1.0) | rate("b", (0,), TYPICAL)),
        Coordinate("rate/mean_norm", 0.1, rate("U", (MEAN_NORM,)) | rate("b", (0,), -TYPICAL)),
        Coordinate("rate/aligned", 0.1, rate("U", (ALIGNED,)) | rate("b", (0,), -TYPICAL)),
        *(Coordinate(f"rate/clock{n}", 0.5, rate("W", (clock,))) for n, clock in enumerate(CLOCKS)),
        Coordinate("along", 0.3, taken),
        Coordinate("recent", 0.2, recent),
        Coordinate("recent/forget", 0.5, at(N, "b", (0,), "f", RECENT)),
        *(Coordinate(f"recent/clock{n}", 0.5, at(N, "W", (clock,), "f", RECENT)) for n, clock in enumerate(CLOCKS)),
        Coordinate("mean", 0.5, at(N, "b", (0,), "i", MEAN) | at(N, "b", (0,), "f", MEAN, -1.0)),
    ]


def _sigm(z: float) -> float:
    return 1 / (1 + math.exp(-z))
