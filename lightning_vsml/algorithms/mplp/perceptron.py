"""Two hidden layers for every node and sample: most of what a step of message passing costs.

Of what a synapse is fed, a message depends on sample and output, an input on sample and input, a weight on neither: so
the first layer is a sum of small parts that broadcast. Nothing as large as samples times synapses times hidden units is
kept for the way back; it is computed again, some samples at a time, so that it stays in the cache.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

CHUNK = 4096  # nodes at a time


def initial(
    prefix: str, inputs: int, hidden: Sequence[int], outputs: int, generator: torch.Generator | None
) -> dict[str, Tensor]:
    """Weights of variance 2 / fan-in, of the last layer 1 / fan-in; biases of 0."""
    sizes, V = (inputs, *hidden, outputs), {}
    for layer, gain in enumerate((2.0, 2.0, 1.0)):
        shape = sizes[layer], sizes[layer + 1]
        V[f"{prefix}.W{layer}"] = torch.randn(*shape, generator=generator) * (gain / shape[0]) ** 0.5
        V[f"{prefix}.b{layer}"] = torch.zeros(shape[1])
    return V


def linear(W: Tensor, b: Tensor, parts: Sequence[Tensor]) -> list[Tensor]:
    """A layer of the parts side by side, as terms that are still to be added."""
    terms = [part @ own for part, own in zip(parts, W.split([part.shape[-1] for part in parts]), strict=True)]
    smallest = min(range(len(terms)), key=lambda place: terms[place].numel())
    terms[smallest] = terms[smallest] + b
    return terms


def perceptron(V: Mapping[str, Tensor], prefix: str, parts: Sequence[Tensor]) -> Tensor:
    """ReLU layers of parts ``(R, ..., numbers)``, all but whose last dimension broadcast -> ``(R, ..., outputs)``."""
    W0, b0, *others = (V[f"{prefix}.{name}{layer}"] for layer in range(3) for name in "Wb")
    return _Layers.apply(*others, *linear(W0, b0, parts))


class _Layers(torch.autograd.Function):
    """``relu(relu(sum(terms)) W1 + b1) W2 + b2``, for terms ``(R, ..., hidden)``, some of the R at a time."""

    @staticmethod
    def forward(ctx: Any, W1: Tensor, b1: Tensor, W2: Tensor, b2: Tensor, *terms: Tensor) -> Tensor:
        ctx.save_for_backward(W1, b1, W2, b2, *terms)
        shape = torch.broadcast_shapes(*(term.shape for term in terms))
        out = W1.new_empty(*shape[:-1], W2.shape[1])
        for part in _slices(shape):
            z0, z1 = _hidden(W1, b1, terms, part)
            out[part] = torch.addmm(b2, z1, W2).view(*z0.shape[:-1], -1)
        return out

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, ...]:
        W1, b1, W2, _, *terms = ctx.saved_tensors
        found = [torch.zeros_like(parameter) for parameter in ctx.saved_tensors]
        for part in _slices(torch.broadcast_shapes(*(term.shape for term in terms))):
            z0, z1 = _hidden(W1, b1, terms, part)
            rows, g2 = z0.flatten(0, -2), g[part].flatten(0, -2)
            found[2].addmm_(z1.T, g2)
            found[3] += g2.sum(0)
            g1 = torch.ops.aten.threshold_backward(g2 @ W2.T, z1, 0.0)
            found[0].addmm_(rows.T, g1)
            found[1] += g1.sum(0)
            g0 = torch.ops.aten.threshold_backward(g1 @ W1.T, rows, 0.0).view(z0.shape)
            for term, total in zip(terms, found[4:], strict=True):
                own = total[_within(part, term)]
                own += g0.sum_to_size(own.shape)
        return tuple(found)


def _hidden(W1: Tensor, b1: Tensor, terms: Sequence[Tensor], part: slice) -> tuple[Tensor, Tensor]:
    """Both hidden layers, the second as rows."""
    total, *others = (term[_within(part, term)] for term in terms)
    for other in others:
        total = total + other
    z0 = total.relu()
    return z0, torch.addmm(b1, z0.flatten(0, -2), W1).relu_()


def _slices(shape: torch.Size) -> list[slice]:
    each = max(1, CHUNK // max(1, shape[1:-1].numel()))
    return [slice(at, at + each) for at in range(0, shape[0], each)]


def _within(part: slice, term: Tensor) -> slice:
    return part if len(term) > 1 else slice(None)
