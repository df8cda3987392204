"""Copies of a network that learn a task by the adaptive rule's formula, each with coordinates of its own."""

from contextlib import ExitStack
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lightning_vsml.algorithms.adaptive import Coordinates
from lightning_vsml.algorithms.adaptive.formula import begin, commit
from lightning_vsml.algorithms.depths import Use, shortest_chains
from lightning_vsml.lab.ensembles import Curves, Ensemble
from lightning_vsml.meta.wide.grids import Dense, Grid, grids

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
        self.coordinates: dict[str, Coordinates] = {}
        for grid in self.grids:
            self.choose(grid.layer, coordinates)
        self.depths: dict[str, int] | None = None  # of layers; known from the first batch on
        self.memories = [begin(grid.matrix(ensemble.parameters)) for grid in self.grids]
        self.watches = {grid.layer: grid.watch for grid in self.grids if grid.watches}

    def step(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Learn from a batch; returns loss and metric from before, ``(K,)``."""
        if self.depths is None:
            self.depths = self._chains(x)
        (gradients, loss, metric), seen = self.ensemble.watched(x, y, self.watches)
        for place, grid in enumerate(self.grids):
            before = self.memories[place]
            new = grid.gathered(gradients, before.mean, seen.get(grid.layer, ()))
            depth = self.depths.get(grid.layer, max(self.depths.values(), default=1))
            after = commit(before, new, self.coordinates[grid.layer], *grid.biases(before.weight), depth=depth)
            self.memories[place] = after
            self.ensemble.parameters |= grid.parameters(after.weight, self.ensemble.parameters)
        return loss, metric

    def choose(self, layer: str, coordinates: Tensor) -> None:
        """Coordinates of a layer's own, ``(K, n)``."""
        like = next(iter(self.ensemble.parameters.values()))
        self.coordinates[layer] = Coordinates(*coordinates.to(like).T[..., None, None, None])

    def _chains(self, x: Tensor) -> dict[str, int]:
        """Of layers, as :func:`~lightning_vsml.algorithms.depths.shortest_chains` reads them off a pass."""
        module, uses = self.ensemble.module, list[Use]()
        with ExitStack() as hooks:
            for grid in self.grids:
                if grid.watches:

                    def look(layer: nn.Module, inputs: tuple, y: Tensor, grid: Grid = grid) -> None:
                        assert y.grad_fn is not None  # of parameters that learn
                        uses.append(Use(grid.layer, inputs[0].grad_fn, y.grad_fn, isinstance(grid, Dense)))

                    hooks.callback(module.get_submodule(grid.layer).register_forward_hook(look).remove)
            with torch.enable_grad():
                module(x)
        return shortest_chains(uses)


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
