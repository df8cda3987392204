"""The rule as plain formulas, for reading, for tests, and for a search that runs many candidates at once.

Everything is known to a synapse, or is a sum over the synapses of its input or output neuron. Shapes are those of
states: ``(..., G, A, B)``, with size 1 where nothing depends on a dimension. Sums over A are an output neuron's, over B
an input neuron's. Coordinates may be tensors that broadcast.

* **Centring**: updates are u = e (x - mean) for weights and u = e for biases; the bias takes what weights then move:
  ``db = step_b - sum_a mean_a dw_a``. Together that is a symmetric change of metric and cannot go uphill.
* **Direction**: d = (update and its mean over 50 steps) / root of second moments, these factored by output and input
  (Adafactor, arXiv 1804.04235).
* **Step**: of two kinds. The first is over an input's norm, falls by clocks, is smaller in deep networks and larger
  where updates agree: so learning begins. The second is a share of the distance travelled since then (DoG, arXiv
  2302.12022): it grows while there is a way to go, and falls by clocks. A learning rate scales the first, and so
  the distance; the second it scales by how far it has fallen.
* **Biases** have a distance and a signal-to-noise ratio of their own: where outputs are far from their targets these
  have a way to go, and weights, whose inputs have no mean, have none.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_vsml.algorithms.adaptive.coordinates import NOISE, PERIODS, SLOW, SQUARES, Coordinates
from lightning_vsml.ticks.commit.plan import DEEPEST

LEAST = 1e-24  # of sums of squares: below it there is nothing
CAP = 12 * math.log(2)  # where a step saturates: logarithm


class Memory(NamedTuple):
    """What synapses keep.

    Attributes:
        weight: ``(..., G, A, B)``, as are slow, squares and travelled.
        mean: of the input, ``(..., G, A, 1)``; 0 for biases.
        slow: mean of updates.
        squares: mean of squared updates.
        travelled: all steps together.
        age: steps so far.
    """

    weight: Tensor
    mean: Tensor
    slow: Tensor
    squares: Tensor
    travelled: Tensor
    age: int


class Gathered(NamedTuple):
    """What learn ticks gather.

    Attributes:
        update: sum of e (x - mean), mean over samples, ``(..., G, A, B)``.
        input: mean of x over rows, ``(..., G, A, 1)``.
        square: mean of (x - mean)^2 over rows, ``(..., G, A, 1)``.
    """

    update: Tensor
    input: Tensor
    square: Tensor


def begin(weight: Tensor) -> Memory:
    """Fresh memories of a weight ``(..., G, A, B)``."""
    zero = torch.zeros_like(weight)
    return Memory(weight, zero[..., :1], zero, zero, zero, 0)


def commit(
    m: Memory,
    new: Gathered,
    c: Coordinates,
    bias: Tensor,
    plain: Tensor | float = 0.0,
    rate: Tensor | float = 1.0,
    annealed: Tensor | float = 1.0,
    depth: int = 1,
) -> Memory:
    """The memories after a step.

    Args:
        m: before it.
        new: what learn ticks gathered.
        c: the coordinates, numbers or tensors that broadcast with states.
        bias: 1 for a bias beside weights, else 0; ``(A, 1)``.
        plain: 1 where no mean is taken off, else 0; ``(A, 1)``.
        rate: the learning rate, over the rule's own.
        annealed: the learning rate, over the largest that there was.
        depth: layers in the shortest chain through this one.
    """
    t, u = m.age, new.update

    def mean(before: Tensor, value: Tensor, T: float) -> Tensor:
        """As a leaky mean that forgets after T steps, and the plain one until then."""
        return before + (value - before) / (1 + t * T / (t + T))

    def falls(*powers: Tensor | float) -> Tensor | float:
        return sum(power * math.log(1 + t / T) for power, T in zip(powers, PERIODS, strict=True))

    weights = 1 - bias
    count, square = weights.sum(-2, keepdim=True), (weights * new.square).sum(-2, keepdim=True)
    size = square / count  # of an input, squared

    slow, squares = mean(m.slow, u, SLOW), mean(m.squares, u * u, SQUARES)
    output = squares.mean(-2, keepdim=True) + LEAST
    moment = output * ((squares / output).mean(-1, keepdim=True) + 1e-12)
    direction = ((1 - c.slow) * u + c.slow * slow) / moment.sqrt()

    def together(values: Tensor) -> Tensor:
        """Of an output's weights; of biases their own."""
        return weights * (weights * values).sum(-2, keepdim=True) + bias * values

    signal = (together(slow**2) / (together(squares) + LEAST) + NOISE).log()
    distance = (together(m.travelled**2) / (weights * count + bias * size)).sqrt()
    layers = math.log(max(1, min(depth, DEEPEST)))
    log_step = c.rate - falls(c.fall5, c.fall50, c.fall500) + c.noise * signal - c.depth * layers - 0.5 * square.log()
    if not t:
        log_step = log_step - c.first
    log_share = c.travel - falls(c.travel5, c.travel50, c.travel500) + c.travel_noise * signal
    log_share = log_share - c.travel_depth * layers
    step = rate * math.exp(CAP) * torch.sigmoid(log_step - CAP) + annealed * log_share.exp() * distance

    # a bias moves as if its input were as large as others are
    moved = step * direction * (weights + bias * size.sqrt())
    weight = m.weight + moved - bias * (m.mean * moved).sum(-2, keepdim=True)
    inputs = mean(m.mean, new.input, SQUARES) * (1 - bias) * (1 - plain)
    return Memory(weight, inputs, slow, squares, m.travelled + moved, t + 1)
