"""The meta-loss: how well networks learned, early and late alike."""

from itertools import pairwise

import torch
from torch import Tensor

from lightning_vsml.meta.unroll import Unrolled

EDGES = (0, 10, 30, 100, 300, 1000, 3000, 10_000)  # of windows of steps, logarithmic
EVEN = 0.01  # added to an error rate before its logarithm


def meta_loss(unrolled: Unrolled, errors: float = 0.0, start: int = 0) -> Tensor:
    """Mean over windows of the logarithm of what a network lost in them, ``(K,)``.

    A relative gain counts the same at the start and at the end, and on hard and easy tasks. Not finite where a network
    diverged.

    Args:
        unrolled: of a population of K.
        errors: share of the error rate; the rest is cross-entropy, which has a gradient.
        start: step at which the unroll began, of a truncated one.
    """
    steps = torch.arange(start, start + len(unrolled.loss))
    terms = []
    for first, last in pairwise((*EDGES, max(EDGES[-1], len(steps) + start) + 1)):
        within = (steps >= first) & (steps < last)
        if within.any():
            lost = unrolled.loss[within].mean(0).log() * (1 - errors)
            if errors:
                lost = lost + errors * (1 - unrolled.accuracy[within].mean(0) + EVEN).log()
            terms.append(lost.mean(-1))
    return torch.stack(terms).mean(0)
