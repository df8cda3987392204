"""Networks of the kinds that are in use, small ones; ordinary modules without running statistics."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU, "gelu": nn.GELU}
NORMS = ("none", "layer", "batch", "group")


def norm(kind: str, features: int, dimensions: int) -> list[nn.Module]:
    """A normalising layer, or none.

    Args:
        kind: one of :data:`NORMS`; of images, layers are normalised in a single group.
        features: B.
        dimensions: 0 for vectors, 2 for images.

    Raises:
        ValueError: the kind is unknown.
    """
    if kind not in NORMS:
        raise ValueError(f"norm should be one of {', '.join(NORMS)}, got {kind!r}.")
    if kind == "none":
        return []
    if kind == "batch":
        batch = nn.BatchNorm2d if dimensions else nn.BatchNorm1d
        return [batch(features, track_running_stats=False)]
    if kind == "layer" and not dimensions:
        return [nn.LayerNorm(features)]
    return [nn.GroupNorm(1 if kind == "layer" or features % 2 else 2, features)]


def mlp(sizes: Sequence[int], activation: str = "tanh", normed: str = "none") -> nn.Sequential:
    """Linear layers of these sizes, inputs first, outputs last."""
    layers: list[nn.Module] = [nn.Flatten()]
    for place, (inputs, outputs) in enumerate(pairwise(sizes)):
        layers.append(nn.Linear(inputs, outputs))
        if place < len(sizes) - 2:
            layers += [*norm(normed, outputs, 0), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers)


def cnn(
    shape: Sequence[int], channels: Sequence[int], outputs: int, activation: str = "relu", normed: str = "none"
) -> nn.Sequential:
    """Convolutions 3 x 3 that halve images ``shape`` = (channels, height, width), then a linear layer."""
    inputs, height, width = shape
    layers: list[nn.Module] = []
    for features in channels:
        layers += [nn.Conv2d(inputs, features, 3, 2, 1), *norm(normed, features, 2), ACTIVATIONS[activation]()]
        inputs, height, width = features, -(-height // 2), -(-width // 2)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(inputs * height * width, outputs))


class CharacterMLP(nn.Module):
    """The next character from embedded ones: ``(S, T)`` indices -> ``(S, characters)`` logits."""

    def __init__(self, characters: int, width: int, context: int, hidden: int) -> None:
        super().__init__()
        self.embedding, self.net = nn.Embedding(characters, width), mlp([width * context, hidden, characters])

    def forward(self, x: Tensor) -> Tensor:
        return self.net(self.embedding(x))


class Block(nn.Module):
    """Causal attention and a hidden layer, both after a norm and beside a residual connection."""

    mask: Tensor

    def __init__(self, width: int, heads: int, context: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.qkv, self.out = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        hidden = (nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.hidden = nn.Sequential(*hidden)
        self.register_buffer("mask", torch.full((context, context), -1e9).triu(1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        S, T, width = x.shape
        q, k, v = self.qkv(self.norm(x)).view(S, T, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        attention = torch.softmax(q @ k.mT / (width // self.heads) ** 0.5 + self.mask[:T, :T], -1)
        x = x + self.out((attention @ v).transpose(1, 2).reshape(S, T, width))
        return x + self.hidden(x)


class Transformer(nn.Module):
    """The next character at every place: ``(S, T)`` indices -> ``(S, T, characters)`` logits."""

    def __init__(self, characters: int, width: int, context: int, layers: int, heads: int = 2) -> None:
        super().__init__()
        self.embedding = nn.Embedding(characters, width)
        self.places = nn.Parameter(0.02 * torch.randn(context, width))
        self.blocks = nn.Sequential(*(Block(width, heads, context) for _ in range(layers)))
        self.out = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, characters))

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.blocks(self.embedding(x) + self.places[: x.shape[1]]))
