"""How sets of coordinates are judged by what they learn: against a first one, on the same batches of the same task."""

from itertools import pairwise

import torch
from torch import Tensor

from lightning_vsml.lab.ensembles import OPTIMIZERS, tuned
from lightning_vsml.meta.wide.learning import learn
from lightning_vsml.meta.wide.tasks import Task

EDGES = (0, 50, 200, 600, 2000, 10_000)  # of windows of steps
FEWEST = 20  # steps of a window
EVEN = 0.01  # share of the loss at the start that is added to losses before their logarithm
BEST, WORST = -1.0, 2.0  # where logarithms are clipped


def windows(loss: Tensor) -> Tensor:
    """Mean loss in each window that a curve ``(steps, K)`` reaches, ``(windows, K)``; inf once it was not finite."""
    steps = len(loss)
    spans = [(first, min(last, steps)) for first, last in pairwise(EDGES) if min(last, steps) - first >= FEWEST]
    means = torch.stack([loss[first:last].mean(0) for first, last in spans or [(0, steps)]])
    return torch.where(means.isfinite().cummin(0).values, means, torch.inf)


def compared(own: Tensor, others: Tensor, at_start: Tensor) -> Tensor:
    """Logarithms of (own + even) / (others + even), clipped; the worst where own is not finite.

    Args:
        own: mean losses.
        others: the same of something else, which broadcast.
        at_start: the loss before learning, a scalar.
    """
    even = EVEN * at_start
    ratio = ((own + even) / (others + even)).log().nan_to_num(WORST, WORST, BEST).clamp(BEST, WORST)
    return torch.where(own.isfinite(), ratio, WORST)


def judge(task: Task, coordinates: Tensor, steps: int) -> Tensor:
    """Each set of coordinates against the first one, ``(windows, K - 1)``: the less the better."""
    loss = learn(task, coordinates, steps).loss
    means = windows(loss)
    return compared(means[:, 1:], means[:, :1], loss[0, 0])


def against_tuned(task: Task, coordinates: Tensor, steps: int) -> Tensor:
    """Each set of coordinates against the best of all optimizers and learning rates in the window, ``(windows, K)``."""
    loss = learn(task, coordinates, steps).loss
    with torch.no_grad():
        runs = [tuned(task.module(), task.judge, task.batches(steps), name, steps=steps).loss for name in OPTIMIZERS]
    best = windows(torch.cat(runs, -1)).amin(-1)
    return compared(windows(loss), best.unsqueeze(-1), loss[0, 0])
