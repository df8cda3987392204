"""A small cell that senses more than x and e: what it keeps beside the weight is learned in learn ticks."""

import math
from dataclasses import replace

import torch
from helpers import COARSE

from lightning_vsml import Cell, Codec, LearningAlgorithm, Protocol, Reach, Tick, programs

WEIGHT, PRODUCT, MESSAGE = (0, 1), (2, 3), 4  # units, as in backprop
AGE, MEAN, N = 5, (6, 7), 8
FORWARD, LEARN, LAST = range(3)  # channels of x: in forward ticks, in learn ticks, in the last of these
FEEDBACK, ALIGNED = range(2)  # channels of the feedback; the second one of an own message
I, F, G, O = range(4)
OPEN, SLOW = 25.0, -5.0  # sigm(-5 + z) is all but e^z / 148: what is added to z multiplies
PERIOD, SHARE = 5.0, 0.1  # of the age, in learn ticks; of an input in the mean
RATE_AGE, RATE_ALIGNED = -0.5, 0.25
SUMS = 2.0**12  # an own message is asinh of a sum times this


def sensing(dtype: torch.dtype = torch.float32) -> LearningAlgorithm:
    """backprop with coarse gates, whose rates fall with the age of a synapse and rise with ``x·m``.

    =====  ======================================================================================
    units  what they hold
    =====  ======================================================================================
    5      1 - exp(-age / period)
    6, 7   m, a running mean of x; ``x·m`` over a neuron's inputs comes back as an own message
    =====  ======================================================================================

    It has what no shipped file has together: own messages, planes that learn ticks change and that hold no weight,
    scratch units, functions of several numbers in a gate, sums over positions that are partly means, a wide tolerance.
    """
    program = programs.backprop(dtype=torch.float64, **COARSE)
    scale, eps, k = (COARSE[name] for name in ("scale", "eps", "k"))
    W, V, U, b = (torch.zeros(rows, 4, N, dtype=torch.float64) for rows in (N, 3, 2, 1))
    for new, old in ((W[:5], program.cell.W), (V[:2], program.cell.V), (U[:1], program.cell.U), (b, program.cell.b)):
        new[..., :5] = old.view(-1, 4, 5)
    P_f, P_b = (torch.zeros(N, columns, dtype=torch.float64) for columns in (2, 1))
    P_f[:5, :1], P_b[:5] = program.cell.P_f, program.cell.P_b

    b[0, I, list(WEIGHT)] = SLOW - RATE_ALIGNED * math.asinh(SUMS)  # where x·m is 1, and at no age, it is backprop
    W[2:4, G, :2] *= 1 + math.exp(-SLOW)
    W[AGE, I, :2], U[ALIGNED, I, :2] = RATE_AGE, RATE_ALIGNED
    b[0, F, AGE] = math.log(PERIOD - 1)
    b[0, I, AGE], b[0, G, AGE], b[0, O, AGE] = -math.log(PERIOD - 1), OPEN, OPEN
    for unit, sign in zip(MEAN, (1.0, -1.0), strict=True):
        b[0, I, unit], b[0, F, unit] = math.log(SHARE / (1 - SHARE)), 4.0
        V[LAST, G, unit], V[FORWARD, O, unit] = 1 / k, sign * 2 / k
        P_f[unit, 1] = sign * SUMS * k**2

    learn = (Tick(), Tick(x=(LEARN,), e=(FEEDBACK,)), Tick(x=(LEARN, LAST), own=(ALIGNED,)))
    return replace(
        program,
        name="sensing",
        cell=Cell(W.flatten(1), V.flatten(1), U.flatten(1), b.flatten(), P_f, P_b),
        protocol=Protocol((Tick(x=(FORWARD,)),), learn),
        codec=Codec(*(torch.nn.functional.pad(vector, (0, N - 5)) for vector in program.codec)),
        memory=tuple(unit in WEIGHT for unit in range(N)),
        reach=Reach(x=k / 8, e=1 / (8 * eps), w=scale / 8),
        fine=False,
        positions=0.75,
        tolerance=1e-4,
    ).to(dtype=dtype)
