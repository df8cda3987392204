"""Families of tasks that need no data."""

from collections.abc import Callable

import torch
from torch import Tensor

from lightning_vsml.meta.draw import Draw


def _clusters(draw: Draw, n: int) -> tuple[Tensor, Tensor]:
    """Classes of a few Gaussian clusters each, in inputs of unequal size around a mean of their own."""
    inputs, classes, clusters = draw.integer(10, 200), draw.integer(2, 11), draw.integer(1, 4)
    spread = torch.exp(draw.uniform(0.0, 1.0) * draw.normal(inputs))
    centres = draw.normal(classes, clusters, inputs) * draw.uniform(0.3, 1.0)
    y = torch.arange(n) % classes
    which = torch.randint(clusters, (n,), generator=draw.generator)
    x = centres[y, which] + draw.normal(n, inputs)
    return (x + draw.uniform(0.0, 2.0) * draw.normal(inputs)) * spread * draw.uniform(0.1, 0.5), y


def _teacher(draw: Draw, n: int) -> tuple[Tensor, Tensor]:
    """Inputs of low rank and with a mean, labelled by a random network."""
    inputs, classes, rank = draw.integer(10, 200), draw.integer(2, 6), draw.integer(5, 11)
    hidden = draw.normal(n, rank)
    x = hidden @ draw.normal(rank, inputs) / rank**0.5 + 0.2 * draw.normal(n, inputs)
    logits = torch.tanh(hidden @ draw.normal(rank, 16)) @ draw.normal(16, classes)
    return x + draw.uniform(0.0, 1.0) * draw.normal(inputs), (logits - logits.mean(0)).argmax(-1)


def _sparse(draw: Draw, n: int) -> tuple[Tensor, Tensor]:
    """Inputs that are 0 or 1, each with a frequency of its own that depends on the class, as words in texts."""
    inputs, classes = draw.integer(30, 300), draw.integer(2, 11)
    frequency = -1.0 + 1.0 * draw.normal(inputs) + draw.uniform(0.5, 1.0) * draw.normal(classes, inputs)
    y = torch.arange(n) % classes
    return (torch.rand(n, inputs, generator=draw.generator) < torch.sigmoid(frequency[y] - 1)).float(), y


SYNTHETIC: dict[str, Callable[[Draw, int], tuple[Tensor, Tensor]]] = {
    "clusters": _clusters,
    "teacher": _teacher,
    "sparse": _sparse,
}
"""How many examples -> inputs ``(n, A)`` and labels ``(n,)``."""
