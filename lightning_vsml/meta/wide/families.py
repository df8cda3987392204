"""Families of problems that need no data: what is to be learned, whoever learns it."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_vsml.lab.ensembles import Judge, binary, classification, regression
from lightning_vsml.meta.draw import Draw
from lightning_vsml.meta.synthetic import SYNTHETIC


class Problem(NamedTuple):
    """Examples, and how outputs are judged.

    Attributes:
        name: in words.
        x: inputs, ``(n, *shape)``.
        y: targets: labels ``(n,)``, or numbers ``(n, outputs)``.
        outputs: how many a network has to have.
        judge: loss and metric.
        blocks: whether classes come one after the other; examples are sorted then.
    """

    name: str
    x: Tensor
    y: Tensor
    outputs: int
    judge: Judge
    blocks: bool = False


class Ranges(NamedTuple):
    """What families draw from; see :class:`~lightning_vsml.meta.wide.Distribution`."""

    examples: int
    classes: int
    targets: tuple[float, float]


def labelled(draw: Draw, name: str, x: Tensor, y: Tensor) -> Problem:
    """Classification, sometimes with wrong labels, few examples, standardised inputs, or a single output."""
    classes = int(y.max()) + 1
    if draw.uniform() < 0.4:
        x = (x - x.mean(0)) / (x.std(0) + 1e-3)
    if draw.uniform() < 0.3:
        wrong = torch.rand(len(y), generator=draw.generator) < draw.uniform(0.0, 0.4)
        y, name = torch.where(wrong, torch.randint(classes, y.shape, generator=draw.generator), y), f"{name} noisy"
    if draw.uniform() < 0.3:
        few = draw.integer(100, 600)
        x, y, name = x[:few], y[:few], f"{name} few"
    if classes == 2 and draw.uniform() < 0.5:
        return Problem(f"{name} binary", x, y.unsqueeze(-1).float(), 1, binary)
    return Problem(name, x, y, classes, classification)


def numbers(draw: Draw, name: str, x: Tensor, y: Tensor, ranges: Ranges) -> Problem:
    """Regression in units of any size, sometimes far from 0."""
    size, offset = draw.log_uniform(*ranges.targets), draw.uniform(0.0, 3.0) * (draw.uniform() < 0.4)
    return Problem(f"{name} x{size:.2g}+{offset:.1g}", x, size * (y + offset), y.shape[-1], regression)


def _synthetic(kind: str) -> Callable[[Draw, Ranges], Problem]:
    return lambda draw, ranges: labelled(draw, kind, *SYNTHETIC[kind](draw, ranges.examples))


def _many(draw: Draw, ranges: Ranges) -> Problem:
    """A cluster for each of many classes."""
    inputs, classes = draw.integer(10, 100), draw.integer(2, ranges.classes + 1)
    y = torch.arange(ranges.examples) % classes
    x = (draw.normal(classes, inputs) * draw.uniform(0.3, 1.0))[y] + draw.normal(ranges.examples, inputs)
    return labelled(draw, "many", x, y)


def _categories(draw: Draw, ranges: Ranges) -> Problem:
    """One-hot inputs: a few things, each one of some kinds, unequally often; all of them speak for classes."""
    things, kinds, classes = draw.integer(2, 13), draw.integer(3, 31), draw.integer(2, min(10, ranges.classes) + 1)
    often = torch.softmax(draw.normal(things, kinds) * draw.uniform(0.0, 2.0), -1)
    which = torch.multinomial(often, ranges.examples, replacement=True, generator=draw.generator).T  # (n, things)
    speaks = draw.normal(things, kinds, classes)[torch.arange(things), which].sum(1)
    y = (speaks - speaks.mean(0) + 0.5 * draw.normal(ranges.examples, classes)).argmax(-1)
    return labelled(draw, "categories", F.one_hot(which, kinds).flatten(1).float(), y)


def _regression(draw: Draw, ranges: Ranges) -> Problem:
    """A linear function, or a network's, of inputs that hang together; noise."""
    inputs, outputs = round(draw.log_uniform(4, 60)), draw.integer(1, 4)
    mixed = torch.eye(inputs) + draw.uniform() * draw.normal(inputs, inputs) / inputs**0.5
    x = draw.normal(ranges.examples, inputs) @ mixed
    if draw.uniform() < 0.5:
        name, y = "linear", x @ draw.normal(inputs, outputs)
    else:
        hidden = torch.tanh(2 * x @ draw.normal(inputs, 16) / inputs**0.5)
        name, y = "curved", hidden @ draw.normal(16, outputs)
    return numbers(draw, name, x, y / y.std() + draw.uniform() * draw.normal(*y.shape), ranges)


def _table(draw: Draw, ranges: Ranges) -> Problem:
    """Rows of a table: measures in units of their own, far from 0 or not, some of them skewed, counts, and kinds as
    numbers; a few rows, a simple answer. Classes, or a number.
    """
    features, n = round(draw.log_uniform(4, 40)), min(ranges.examples, round(draw.log_uniform(100, 2000)))
    hidden = draw.normal(n, features) @ (torch.eye(features) + draw.uniform() * draw.normal(features, features))
    hidden = hidden / hidden.std(0)
    weights = draw.normal(features, 10) * (torch.rand(features, 1, generator=draw.generator) < 0.6)
    spoken = hidden @ weights / features**0.5 + torch.tanh(hidden) @ draw.normal(features, 10) * draw.uniform(0.0, 0.5)
    kind = torch.rand(features, generator=draw.generator)
    x = torch.where(kind < 0.2, hidden.exp(), hidden)  # skewed
    x = torch.where((kind > 0.2) & (kind < 0.35), hidden.round().clamp(-1, 2), x)
    x = torch.where((kind > 0.35) & (kind < 0.45), (hidden > 0.5).float(), x)
    size = draw.uniform(0.0, 1.0)  # how much units differ
    units, means = torch.exp(2.5 * size * draw.normal(features)), draw.uniform(0.0, 5.0) * draw.normal(features).abs()
    x, name = (x + means) * units, f"table {n}x{features} units {size:.1f}"
    if draw.uniform() < 0.4:
        x, name = (x - x.mean(0)) / x.std(0).clamp(min=1e-6), f"{name} standardised"
    if draw.uniform() < 0.4:
        y = spoken[:, :1] / spoken[:, :1].std() + draw.uniform(0.0, 1.0) * draw.normal(n, 1)
        return numbers(draw, name, x, y, ranges)
    logits = spoken[:, : draw.integer(2, 6)]
    y = (logits - logits.mean(0) + draw.uniform(0.0, 0.5) * draw.normal(*logits.shape)).argmax(-1)
    if len(y.unique()) == 2 and logits.shape[1] == 2 and draw.uniform() < 0.5:
        return Problem(f"{name} binary", x, y.unsqueeze(-1).float(), 1, binary)
    return Problem(name, x, y, logits.shape[1], classification)


def _moons(draw: Draw, ranges: Ranges) -> Problem:
    """Two half circles that reach into each other."""
    y = torch.arange(ranges.examples) % 2
    angle = torch.pi * torch.rand(ranges.examples, generator=draw.generator)
    x = torch.stack([angle.cos(), angle.sin()], -1) * (1 - 2 * y).unsqueeze(-1) + torch.stack([y, 0.5 * y], -1)
    return labelled(draw, "moons", x + draw.uniform(0.05, 0.3) * draw.normal(*x.shape), y)


def _spirals(draw: Draw, ranges: Ranges) -> Problem:
    """Arms of a spiral."""
    arms, turns = draw.integer(2, 5), draw.uniform(0.5, 1.2)
    y, radius = torch.arange(ranges.examples) % arms, torch.rand(ranges.examples, generator=draw.generator)
    angle = 2 * torch.pi * (turns * radius + y / arms)
    x = radius.unsqueeze(-1) * torch.stack([angle.cos(), angle.sin()], -1)
    return labelled(draw, "spirals", x + 0.05 * draw.normal(*x.shape), y)


def _sine(draw: Draw, ranges: Ranges) -> Problem:
    """A sine wave of one input."""
    x = 2 * torch.rand(ranges.examples, 1, generator=draw.generator) - 1
    y = torch.sin(draw.uniform(2.0, 8.0) * x + draw.uniform(0.0, 6.3)) + draw.uniform(0.0, 0.3) * draw.normal(*x.shape)
    return numbers(draw, "sine", x, y, ranges)


FAMILIES: dict[str, Callable[[Draw, Ranges], Problem]] = {
    **{kind: _synthetic(kind) for kind in SYNTHETIC},
    "many": _many,
    "categories": _categories,
    "regression": _regression,
    "table": _table,
    "moons": _moons,
    "spirals": _spirals,
    "sine": _sine,
}


def text(draw: Draw, characters: int, n: int) -> Tensor:
    """Characters ``(n,)``, each dependent on the one or two before it; or words of a language, character 0 between."""
    if draw.uniform() < 0.5:
        return _words(draw, characters, n)
    order = draw.integer(1, 3)
    often = torch.softmax(2.0 * draw.normal(characters**order, characters), -1)
    return _chain(draw, often, n, lambda before, now: (before * characters + now) % characters**order)


def _words(draw: Draw, characters: int, n: int) -> Tensor:
    """Few words are frequent (Zipf), and what kind of word comes next depends on the last one's kind."""
    words, kinds = round(draw.log_uniform(20, 1000)), draw.integer(2, 9)
    letters = torch.softmax(2.0 * draw.normal(characters - 1, characters - 1), -1)
    spelled = 1 + _chain(draw, letters, 8 * words, lambda _, now: now).view(words, 8)
    lengths = 1 + torch.randint(draw.integer(2, 8), (words,), generator=draw.generator)
    frequency = 1.0 / (1.0 + draw.permutation(words))
    kind = torch.randint(kinds, (words,), generator=draw.generator)
    follows = torch.softmax(2.0 * draw.normal(kinds, kinds), -1)[:, kind] * frequency
    spoken = _chain(draw, (follows / follows.sum(-1, keepdim=True)), n, lambda _, now: int(kind[now]))
    parts = [torch.cat([spelled[word, : lengths[word]], torch.zeros(1, dtype=torch.long)]) for word in spoken.tolist()]
    return torch.cat(parts)[:n]


def _chain(draw: Draw, often: Tensor, n: int, follow: Callable[[int, int], int]) -> Tensor:
    """Draw from the row of ``often`` that the last state chose, n times."""
    rows, chance = often.cumsum(-1).numpy(), torch.rand(n, generator=draw.generator).numpy()
    drawn, state = np.empty(n, dtype=np.int64), 0
    for place in range(n):
        drawn[place] = min(int(np.searchsorted(rows[state], chance[place])), rows.shape[1] - 1)
        state = follow(state, int(drawn[place]))
    return torch.from_numpy(drawn)
