"""Learning rules that a cell can be trained to imitate: what one synapse sends, and how its memories change.

A rule is a function of broadcastable tensors, the same for every synapse: of the input x, the feedback e and the
memories of a synapse, the weight first. It is all that cloning needs to know of an algorithm.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

LR = 0.1  # learning rate of the rules; a learner scales the feedback to follow any other


class Response(NamedTuple):
    """What a synapse does in one learning step, for one sample.

    Attributes:
        forward: its share of the output neuron's input; these are summed over inputs.
        changes: of each of its memories; these are averaged over samples.
        backward: its share of the backward message; these are summed over outputs.
    """

    forward: Tensor
    changes: tuple[Tensor, ...]
    backward: Tensor


class Target(NamedTuple):
    """A learning rule and what is known about it.

    Attributes:
        rule: ``(x, e, memories) -> Response``, of tensors that broadcast.
        memories: names of a synapse's memories; the first is its weight, the others start at 0.
        sizes: how large each memory becomes, beside a weight.
        blind: changes do not depend on the memories, so that a structured cell need not show them to what writes.
    """

    rule: Callable[[Tensor, Tensor, tuple[Tensor, ...]], Response]
    memories: tuple[str, ...] = ("w",)
    sizes: tuple[float, ...] = (1.0,)
    blind: bool = True


def sgd(x: Tensor, e: Tensor, memories: tuple[Tensor, ...]) -> Response:
    """Backpropagation and gradient descent on a linear layer, whose activation is the user's glue."""
    (w,) = memories
    return Response(x * w, (LR * x * e,), e * w)


def tanh_sgd(x: Tensor, e: Tensor, memories: tuple[Tensor, ...]) -> Response:
    """The same on the synapse of the paper, ``tanh(x) w``: eq. 14 and its derivatives."""
    (w,) = memories
    s = torch.tanh(x)
    return Response(s * w, (LR * s * e,), e * w * (1 - s * s))


MOMENTUM = 0.9


def momentum(x: Tensor, e: Tensor, memories: tuple[Tensor, ...]) -> Response:
    """SGD with momentum 0.9 as torch has it: the velocity m is a second memory, and the weight takes ``lr m``.

    The rate is a tenth of :data:`LR`, as a velocity sums up ten steps.
    """
    w, m = memories
    dm = (MOMENTUM - 1) * m + x * e
    return Response(x * w, (LR / 10 * (m + dm), dm), e * w)


def oja(x: Tensor, e: Tensor, memories: tuple[Tensor, ...]) -> Response:
    """Oja's rule (1982), local and without supervision: ``dw = lr e (x - e w)`` where the feedback is the output.

    It is its own output that a neuron gets back under the loss ``-y^2 / 2``. The weights then become the direction of
    largest variance, of length 1.
    """
    (w,) = memories
    return Response(x * w, (LR * e * (x - e * w),), e * w)


TARGETS: dict[str, Target] = {
    "sgd": Target(sgd),
    "tanh-sgd": Target(tanh_sgd),
    "momentum": Target(momentum, memories=("w", "m"), sizes=(1.0, 10.0), blind=False),
    "oja": Target(oja, blind=False),
}
