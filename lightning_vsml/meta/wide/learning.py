"""Copies of a network that learn a task by the adaptive rule's formula, each with coordinates of its own."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lightning_vsml.algorithms.adaptive import Coordinates
from lightning_vsml.algorithms.adaptive.formula import begin, commit
from lightning_vsml.lab.ensembles import Curves, Ensemble
from lightning_vsml.meta.wide.grids import Dense, grids

if TYPE_CHECKING:
    from lightning_vsml.meta.wide.tasks import Task


class ByFormula:
    """An ensemble that learns.

    Args:
        ensemble: K copies.
        coordinates: ``(K, n)``, as they stand in :class:`~lightning_vsml.algorithms.adaptive.Coordinates`.

    Raises:
        ValueError: there are not as many sets of coordinates as copies, or a layer has no grid.
    """

    def __init__(self, ensemble: Ensemble, coordinates: Tensor) -> None:
        shape = (ensemble.copies, len(Coordinates._fields))
        if coordinates.shape != shape:
            raise ValueError(f"coordinates should be {shape}, (copies, n), got {tuple(coordinates.shape)}.")
        self.ensemble, self.grids = ensemble, list(grids(ensemble.module))
        like = next(iter(ensemble.parameters.values()))
        self.coordinates = Coordinates(*coordinates.to(like).T[..., None, None, None])
        self.depth = sum(isinstance(grid, Dense) for grid in self.grids)
        self.memories = [begin(grid.matrix(ensemble.parameters)) for grid in self.grids]
        self.watches = {grid.layer: grid.watch for grid in self.grids if grid.watches}

    def step(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Learn from a batch; returns loss and metric from before, ``(K,)``."""
        (gradients, loss, metric), seen = self.ensemble.watched(x, y, self.watches)
        for place, grid in enumerate(self.grids):
            before = self.memories[place]
            new = grid.gathered(gradients, before.mean, seen.get(grid.layer, ()))
            after = commit(before, new, self.coordinates, *grid.biases(before.weight), depth=self.depth)
            self.memories[place] = after
            self.ensemble.parameters |= grid.parameters(after.weight, self.ensemble.parameters)
        return loss, metric


@torch.no_grad()
def learn(task: "Task", coordinates: Tensor, steps: int) -> Curves:
    """Losses and metrics of K copies on each batch before learning from it, ``(steps, K)``.

    Args:
        task: what is learned.
        coordinates: of each copy, ``(K, n)``.
        steps: how long.
    """
    learner = ByFormula(Ensemble(task.module(), task.judge, len(coordinates)), coordinates)
    judged = [learner.step(x, y) for x, y in task.batches(steps)]
    return Curves(*(torch.stack(values) for values in zip(*judged, strict=True)))
