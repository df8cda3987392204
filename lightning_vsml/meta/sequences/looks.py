"""Streams of single examples that networks of fresh states learn from: MNIST in many looks.

Which digits, which labels they have and what of an image is seen is another for every learner, so that nothing but
learning helps.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_vsml.meta.draw import Draw

SIDES = (28, 14, 7)  # of an image, by averaging over squares of pixels
MEAN, STD = 0.131, {28: 0.308, 14: 0.280, 7: 0.231}  # of their pixels, over MNIST's training images


class Pool(NamedTuple):
    """Images by class.

    Attributes:
        images: of each side of :data:`SIDES`, ``(n, side * side)``, sorted by class.
        begins, sizes: where each class begins, and how many it has.
    """

    images: dict[int, Tensor]
    begins: Tensor
    sizes: Tensor

    @classmethod
    def of(cls, x: Tensor, y: Tensor) -> "Pool":
        """Images ``(n, 1, 28, 28)`` in [0, 1] with labels from 0."""
        order = y.argsort(stable=True)
        sizes = torch.bincount(y)
        images = {side: F.avg_pool2d(x[order], x.shape[-1] // side).flatten(1) for side in SIDES}
        return cls(images, sizes.cumsum(0) - sizes, sizes)


class Stream(NamedTuple):
    """Examples of several learners.

    Attributes:
        x: ``(steps, learners, A)``.
        y: labels, ``(steps, learners)``.
    """

    x: Tensor
    y: Tensor


def stream(
    pool: Pool, looks: Sequence[Draw], draw: Draw, inputs: int, classes: int, steps: int, hard: float = 0.0
) -> Stream:
    """Examples for as many learners as there are looks.

    Args:
        pool: where images come from.
        looks: draws what a learner sees of them.
        draw: draws the examples.
        inputs: A, of every learner.
        classes: of every learner.
        steps: how many examples of each.
        hard: share of learners whose images are blended with others, or have labels that are wrong.
    """
    xs, ys = [], []
    for look in looks:
        digits = look.permutation(len(pool.sizes))[:classes]
        y = torch.randint(classes, (steps,), generator=draw.generator)
        within = (torch.rand(steps, generator=draw.generator) * pool.sizes[digits[y]]).long()
        which = pool.begins[digits[y]] + within
        if hard and draw.uniform() < hard:  # so that there is something to be unsure of
            share, errors = max(0.0, draw.uniform(-0.3, 0.6)), draw.uniform(-0.2, 0.4)
            others = torch.randint(len(pool.images[SIDES[0]]), (steps,), generator=draw.generator)
            own, other = _seen(pool, torch.cat([which, others]), look, inputs).chunk(2)
            wrong = torch.rand(steps, generator=draw.generator) < errors
            y = torch.where(wrong, torch.randint(classes, (steps,), generator=draw.generator), y)
            xs.append((1 - share) * own + share * other)
        else:
            xs.append(_seen(pool, which, look, inputs))
        ys.append(y)
    return Stream(torch.stack(xs, 1), torch.stack(ys, 1))


def _seen(pool: Pool, which: Tensor, look: Draw, inputs: int) -> Tensor:
    """Images as one learner sees them: pixels of one of the sizes, or random projections; raw, or standardised, or
    with another background; at another scale.
    """
    sides = [side for side in SIDES if side * side >= inputs]
    side = look.one(sides)
    x, kind, background, scale = pool.images[side][which], look.uniform(), look.uniform(), look.uniform(-1, 1)
    if 0.3 <= kind < 0.55:
        x = (x - MEAN) / STD[side]
    elif kind >= 0.8:  # denser ones
        x = background * 0.7 + x * (1 - 2 * background * 0.7)
    if kind < 0.3:
        x = x @ (look.normal(side * side, inputs) * (2 / side))
    elif side * side > inputs:
        x = x[:, look.permutation(side * side)[:inputs]]
    return x * math.exp(scale)
