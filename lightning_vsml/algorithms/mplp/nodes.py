"""The rules of nodes: what a node of each kind is fed, and what comes out of its networks (MPLP, eqs. 5 to 12)."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_vsml.algorithms.mplp.perceptron import initial, linear, perceptron

PARAMETERS = {"weight": ("message", "input", "parameter"), "bias": ("message", "parameter")}
ACTIVATIONS = ("relu", "sigmoid", "tanh")
LOSSES = ("cross_entropy", "mse_loss")


class Sizes(NamedTuple):
    """Of the networks of every node.

    Attributes:
        messages: M, numbers of a message.
        carry: K, numbers of a parameter's hidden state; 0 for stateless rules.
        hidden: units of the hidden layers.
    """

    messages: int
    carry: int
    hidden: tuple[int, int]


class Sent(NamedTuple):
    """What a node gives.

    Attributes:
        message: ``(..., M)``.
        update: of its parameter, in (-1, 1), ``(..., 1)``; None if it has none.
        carry: its next hidden state, ``(..., K)``; None if it has none.
    """

    message: Tensor
    update: Tensor | None = None
    carry: Tensor | None = None


def inputs(kind: str) -> tuple[str, ...]:
    """What a node is fed."""
    if kind in LOSSES:
        return "loss", "output", "error"
    return PARAMETERS.get(kind, ("message", "input"))


def width(name: str, sizes: Sizes) -> int:
    """How many numbers that is."""
    return sizes.messages if name == "message" else 1


def fresh(kind: str, prefix: str, sizes: Sizes, generator: torch.Generator | None) -> dict[str, Tensor]:
    """Networks of a node where meta-training begins."""
    M, K, hidden = sizes
    fed = sum(width(name, sizes) for name in inputs(kind))
    if kind not in PARAMETERS or not K:
        V = initial(f"{prefix}.g", fed, hidden, M, generator)
        return V | initial(f"{prefix}.f", fed, hidden, 1, generator) if kind in PARAMETERS else V
    V = initial(f"{prefix}.x", fed, hidden, K, generator) | initial(f"{prefix}.c", K, hidden, K, generator)
    for gate in "ur":
        V[f"{prefix}.{gate}.W"] = torch.randn(fed + K, K, generator=generator) * (fed + K) ** -0.5
        V[f"{prefix}.{gate}.b"] = torch.zeros(K)
    return V


def run(
    V: Mapping[str, Tensor], prefix: str, parts: Sequence[Tensor], M: int, carry: Tensor | None, message: bool = True
) -> Sent:
    """A parameter's node.

    Args:
        V: networks by name.
        prefix: of this one's.
        parts: what it is fed, standardised, ``(R, ..., numbers)``.
        M: numbers of a message.
        carry: its hidden state, ``(1, ..., K)``, if its rules are stateful (eqs. 10 to 12); else f and g are networks
            of their own.
        message: whether anybody wants it.
    """
    if carry is None:
        update = torch.tanh(perceptron(V, f"{prefix}.f", parts))
        return Sent(respond(V, prefix, parts) if message else update[..., :0], update)
    u, r = (_gate(V, f"{prefix}.{gate}", [*parts, carry]) for gate in "ur")
    candidate = torch.tanh(perceptron(V, f"{prefix}.x", parts) + perceptron(V, f"{prefix}.c", [carry * r]))
    after = u * carry + (1 - u) * candidate
    return Sent(after[..., :M], after[..., M : M + 1], after)


def _gate(V: Mapping[str, Tensor], prefix: str, parts: Sequence[Tensor]) -> Tensor:
    first, *others = linear(V[f"{prefix}.W"], V[f"{prefix}.b"], parts)
    for other in others:
        first = first + other
    return torch.sigmoid(first)


def respond(V: Mapping[str, Tensor], prefix: str, parts: Sequence[Tensor]) -> Tensor:
    """The message of a node without parameters, or of a stateless one (eq. 5)."""
    return torch.tanh(perceptron(V, f"{prefix}.g", parts))
