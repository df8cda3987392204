"""The inner loop: networks learn a task from scratch by a learning algorithm, or by each of a population.

A pure function of the algorithm, the initial states and the batches, on any device.
"""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from lightning_vsml.algorithms.cellular import LearningAlgorithm
from lightning_vsml.lab.networks import Network, learn
from lightning_vsml.meta.tasks import Task


class Unrolled(NamedTuple):
    """What happened, step by step, on each batch before learning from it.

    Attributes:
        loss: cross-entropy, ``(steps, K, seeds)``.
        accuracy: from 0 to 1, same shape.
        states: at the end, of every layer.
    """

    loss: Tensor
    accuracy: Tensor
    states: list[Tensor]


def begin(algorithm: LearningAlgorithm, task: Task, seeds: int = 1) -> list[Tensor]:
    """States of fresh networks: ``seeds`` for each member of a population, the same for every member."""
    weights = task.network.initial(task.shape, range(task.seed, task.seed + seeds))
    K, like = algorithm.cell.population or 1, algorithm.cell.W
    return [algorithm.encode(layer.to(like).repeat(K, 1, 1)) for layer in weights]


def unroll(
    algorithm: LearningAlgorithm,
    network: Network,
    states: list[Tensor],
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    segment: int = 0,
) -> Unrolled:
    """Learn from ``batches``.

    Args:
        algorithm: a single one, or a population of K; gradients flow where its cell requires them.
        network: the architecture.
        states: of every layer, as :func:`begin` makes them: K x seeds groups.
        batches: x ``(S, seeds, *shape)`` and y ``(S, seeds)``, the same for every member.
        segment: with gradients, steps between kept states; what lies between is computed again on the way back
            (gradient checkpointing), which bounds memory. 0 keeps everything.
    """
    K, like = algorithm.cell.population or 1, algorithm.cell.W
    losses, accuracies = [], []

    def run(states: list[Tensor], batches: list[tuple[Tensor, Tensor]]) -> tuple[list[Tensor], Tensor, Tensor]:
        some_losses, some_accuracies = [], []
        for x, y in batches:
            y = y.to(like.device).repeat(1, K)
            x = x.to(like).repeat(1, K, *([1] * (x.dim() - 2)))
            states, logits = learn(algorithm, network, states, x, y)
            some_losses.append(cross_entropy(logits.movedim(-1, 1), y, reduction="none").mean(0))
            some_accuracies.append((logits.argmax(-1) == y).to(like).mean(0))
        return states, torch.stack(some_losses), torch.stack(some_accuracies)

    for some in _segments(batches, segment):
        if segment and torch.is_grad_enabled():
            states, loss, accuracy = checkpoint(run, states, some, use_reentrant=False)
        else:
            states, loss, accuracy = run(states, some)
        losses.append(loss)
        accuracies.append(accuracy)
    loss, accuracy = (torch.cat(parts).unflatten(1, (K, -1)) for parts in (losses, accuracies))
    return Unrolled(loss, accuracy, states)


def _segments(batches: Iterable[tuple[Tensor, Tensor]], segment: int) -> Iterable[list[tuple[Tensor, Tensor]]]:
    some: list[tuple[Tensor, Tensor]] = []
    for batch in batches:
        some.append(batch)
        if len(some) == max(1, segment):
            yield some
            some = []
    if some:
        yield some
