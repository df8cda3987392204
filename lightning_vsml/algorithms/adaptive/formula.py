"""The rule as plain formulas, for reading, for tests, and for a search that runs many candidates at once.

Everything is known to a synapse, or is a sum over the synapses of its input or output neuron. Shapes are those of
states: ``(..., G, A, B)``, with size 1 where nothing depends on a dimension. Sums over A are an output neuron's, over B
an input neuron's. Coordinates may be tensors that broadcast.

* **Centring**: updates are u = e (x - mean) for weights and u = e for biases; the bias takes what weights then move:
  ``db = step_b - sum_a mean_a dw_a``. Together that is a symmetric change of metric and cannot go uphill.
* **Direction**: d = (update, its mean over 5 steps, over 50 steps) / root of second moments, these factored by output
  and input (Adafactor, arXiv 1804.04235).
* **Step**: over the root of what the last direction did to the outputs, and of what inputs add up to; falling by
  clocks; larger where updates agree with each other and with the last direction, which also moves its level for good;
  plus a share of the distance travelled (DoG, arXiv 2302.12022).
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_vsml.algorithms.adaptive.coordinates import FAST, FORGET, NOISE, PERIODS, SLOW, SQUARES, Coordinates

LEAST = 1e-24  # of sums of squares: below it there is nothing
CAP = 24 * math.log(2)  # where a step saturates: logarithm


class Memory(NamedTuple):
    """What synapses keep.

    Attributes:
        weight: ``(..., G, A, B)``, as are direction, fast, slow, squares and travelled.
        mean: of the input, ``(..., G, A, 1)``; 0 for biases.
        direction: the last one.
        fast, slow: means of updates.
        squares: mean of squared updates.
        agreement: leaky cosine of update and last direction, ``(..., G, 1, B)``.
        level: of the logarithm of the step, ``(..., G, 1, B)``.
        travelled: all steps together.
        age: steps so far.
    """

    weight: Tensor
    mean: Tensor
    direction: Tensor
    fast: Tensor
    slow: Tensor
    squares: Tensor
    agreement: Tensor
    level: Tensor
    travelled: Tensor
    age: int


class Gathered(NamedTuple):
    """What learn ticks gather.

    Attributes:
        update: sum of e (x - mean), mean over samples, ``(..., G, A, B)``.
        input: mean of x over rows, ``(..., G, A, 1)``.
        square: mean of (x - mean)^2 over rows, ``(..., G, A, 1)``.
        move: mean over rows of (sum_a direction (x - mean))^2, ``(..., G, 1, B)``.
    """

    update: Tensor
    input: Tensor
    square: Tensor
    move: Tensor


def begin(weight: Tensor) -> Memory:
    """Fresh memories of a weight ``(..., G, A, B)``."""
    zero = torch.zeros_like(weight)
    column, row = zero[..., :1], zero[..., :1, :]
    return Memory(weight, column, zero, zero, zero, zero, row, row, zero, 0)


def commit(m: Memory, new: Gathered, c: Coordinates, bias: Tensor, rate: Tensor | float = 1.0) -> Memory:
    """The memories after a step.

    Args:
        m: before it.
        new: what learn ticks gathered.
        c: the coordinates, numbers or tensors that broadcast with states.
        bias: 1 for inputs that always are 1, else 0; ``(A, 1)``.
        rate: the learning rate, over the rule's own.
    """
    t, u = m.age, new.update

    def mean(before: Tensor, value: Tensor, T: float) -> Tensor:
        """As a leaky mean that forgets after T steps, and the plain one until then."""
        return before + (value - before) / (1 + t * T / (t + T))

    fast, slow, squares = mean(m.fast, u, FAST), mean(m.slow, u, SLOW), mean(m.squares, u * u, SQUARES)
    # direction
    output = squares.mean(-2, keepdim=True) + LEAST
    moment = output * ((squares / output).mean(-1, keepdim=True) + 1e-12) ** c.inputs
    direction = ((1 - c.fast - c.slow) * u + c.fast * fast + c.slow * slow) / moment.sqrt()
    # how updates agree with the last direction, and with each other
    norms = (u * u).sum(-2, keepdim=True) * (m.direction**2).sum(-2, keepdim=True)
    now = (u * m.direction).sum(-2, keepdim=True) / (norms + LEAST * 1e-6).sqrt()
    agreement = m.agreement + FORGET * (now - m.agreement)
    level = m.level + c.grow * (now - c.target) - c.shrink * torch.sigmoid(-10 * now - 2)
    signal = (slow**2).sum(-2, keepdim=True) / (squares.sum(-2, keepdim=True) + LEAST)
    # how far
    powers = (c.clock5, c.clock50, c.clock500)
    clocks = sum(power * math.log(1 + t / T) for power, T in zip(powers, PERIODS, strict=True))
    effect = new.move + (torch.as_tensor(c.width).exp() * new.square).sum(-2, keepdim=True)
    log_step = c.rate - 0.5 * effect.log() - clocks + c.noise * (signal + NOISE).log() + c.agree * agreement + level
    if not t:
        log_step = log_step - c.first
    distance = (m.travelled**2).mean(-2, keepdim=True).sqrt()
    stride = torch.as_tensor(c.travel - clocks).exp() * distance
    step = rate * (math.exp(CAP) * torch.sigmoid(log_step - CAP) + stride)
    moved = step * direction
    back = (m.mean * moved).sum(-2, keepdim=True)
    inputs = mean(m.mean, new.input, SQUARES) * (1 - bias)
    weight = m.weight + moved - bias * back
    return Memory(weight, inputs, direction, fast, slow, squares, agreement, level, m.travelled + moved, t + 1)
