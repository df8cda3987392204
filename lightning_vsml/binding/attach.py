"""The way in: a model that learns by an algorithm, in plain PyTorch.

synapses = attach(model)
loss(model(x), y).backward()
synapses.step()
synapses.zero_grad()
"""

import os
from collections.abc import Sequence

import torch
from torch import nn

from lightning_vsml.algorithms.base import Algorithm
from lightning_vsml.binding.settings import algorithm_of
from lightning_vsml.binding.synapses import Synapses


def attach(
    model: nn.Module,
    algorithm: str | os.PathLike[str] | Algorithm = "backprop",
    *,
    lr: float | None = None,
    unmapped: str = "synapse",
    forward: str = "cell",
    optimizer: Sequence[str] = (),
    scaler: torch.amp.GradScaler | None = None,
) -> Synapses:
    """Make a model learn by a learning algorithm instead of an optimizer.

    >>> model = nn.Linear(2, 1)
    >>> with attach(model, lr=0.1) as synapses:
    ...     model(torch.ones(4, 2)).mean().backward()
    ...     synapses.step()
    True

    Args:
        model: any module, on its device; wrapped in ``DistributedDataParallel`` or by Fabric, too.
        algorithm: name of a shipped algorithm, path of a ``.safetensors`` file, ``hf://user/repo/name``, or a
            :class:`~lightning_vsml.LearningAlgorithm`.
        lr: scales the feedback so that ``backprop`` follows ``torch.optim.SGD(lr=lr)``. ``None`` takes the default of
            the algorithm's card.
        unmapped: trainable parameters that no layer grid owns: ``"synapse"`` makes each of their numbers a synapse,
            ``"freeze"`` keeps them as they are, ``"optimizer"`` leaves them to the user's optimizer, ``"error"`` names
            them.
        forward: ``"cell"`` computes layers by forward ticks; ``"module"`` with the decoded weights, and keeps only
            learning in the cell.
        optimizer: patterns (as :mod:`fnmatch` has them) of modules and parameters that stay with the user's optimizer.
        scaler: what scales the loss, if anything; then step by ``scaler.step(synapses)``.

    Raises:
        CheckpointError: unknown name, or a missing, damaged, foreign or newer file.
        MappingError: the model has nothing to train, or is attached already.
        ValueError: another argument is out of range.
        TypeError: ``model`` is no ``nn.Module``.
    """
    return Synapses(
        model,
        algorithm_of(algorithm),
        lr=lr,
        unmapped=unmapped,
        forward=forward,
        optimizer=optimizer,
        scaler=scaler,
    )
