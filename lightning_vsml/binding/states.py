"""The states of a model's grids, and the weights that they stand for."""

from typing import Any

import torch
from torch import Tensor

from lightning_vsml.algorithms.base import Algorithm
from lightning_vsml.algorithms.change import Change
from lightning_vsml.algorithms.old_states import planes_of
from lightning_vsml.binding.grids import Grid
from lightning_vsml.binding.marks import Marks
from lightning_vsml.ticks import Told
from lightning_vsml.ticks.sites import empty_grid

Saved = dict[str, dict[str, Tensor]]


class States:
    """One for each grid that is, or was, in use.

    Args:
        algorithm: how they run.
        grids: by name; the dictionary may change.
        saved: as :meth:`state_dict` gave them, to continue from; grids without are encoded from their weights.

    Raises:
        ValueError: ``saved`` does not fit the grids.
    """

    def __init__(self, algorithm: Algorithm, grids: dict[str, Grid], saved: Saved | None = None) -> None:
        self.algorithm, self.grids = algorithm, grids
        self._placed: dict[Any, Algorithm] = {}
        self._marks: dict[str, Marks] = {}
        self._states = {name: self._place(name, parts) for name, parts in (saved or {}).items()}

    def runs(self, name: str) -> Algorithm:
        """The algorithm of a grid, on its device and in the type of its states."""
        placement = self.grids[name].placement
        if placement not in self._placed:
            self._placed[placement] = self.algorithm.to(*placement)
        placed = self._placed[placement]
        return placed.of_layer(list(self.grids).index(name), len(self.grids)) if placed.chained else placed

    @torch.no_grad()
    def current(self, name: str, thorough: bool = True) -> Tensor:
        """A grid's state; it follows weights that somebody else has changed (clamping, averaging, loading).

        Args:
            name: of the grid.
            thorough: look at the weights themselves, too, which tells of changes through ``.data``.
        """
        grid, algorithm = self.grids[name], self.runs(name)
        if name in self._states and not algorithm.readable:
            self._states[name] = self._states[name].to(*grid.placement)
            return self._states[name]
        if name in self._states and name in self._marks and self._marks[name].unchanged(grid, thorough):
            return self._states[name]
        weights = grid.read(grid.placement[1])
        if name in self._states:
            self._states[name] = algorithm.overwrite(self._states[name].to(*grid.placement), weights)
        else:
            self._states[name] = algorithm.begin(weights)
        self._marks[name] = Marks.of(grid)
        return self._states[name]

    @torch.no_grad()
    def commit(self, name: str, change: Change, told: Told | None = None) -> tuple[Tensor, Tensor]:
        """Merge a change into a state and write the weights back: the new state and the new weights (or the state)."""
        grid, algorithm, old = self.grids[name], self.runs(name), self._states[name]
        new = self._states[name] = (
            algorithm.commit(old, change) if told is None else algorithm.commit(old, change, told)
        )
        if not algorithm.readable:
            return new, new
        weights = algorithm.decode(new)
        grid.write(weights, change.inputs if new is old else None)
        self._marks[name] = Marks.of(grid)
        return new, weights

    def forget(self, names: set[str]) -> None:
        """Drop the states of grids that are gone."""
        for name in names:
            self._states.pop(name, None)
            self._marks.pop(name, None)

    def items(self) -> dict[str, Tensor]:
        """By grid, in the order of the model."""
        return {name: self._states[name] for name in self.grids if name in self._states}

    def state_dict(self) -> Saved:
        """By grid, as plain tensors."""
        return {name: {"planes": state} for name, state in self.items().items()}

    def history(self) -> list[dict[str, Any]]:
        """What the next step depends on besides, see :meth:`Algorithm.history`; by placement."""
        return [algorithm.history() for algorithm in self._placed.values()]

    def go_on(self, history: list[dict[str, Any]]) -> None:
        """Continue as the run that had this history."""
        for name in self._states:
            self.runs(name)
        for algorithm, its in zip(self._placed.values(), history, strict=False):
            algorithm.go_on(its)

    def _place(self, name: str, parts: dict[str, Tensor]) -> Tensor:
        planes = planes_of(name, parts, self.runs(name).layout if name in self.grids else self.algorithm.layout)
        want = (len(self.runs(name).layout.planes), *self.grids[name].shape) if name in self.grids else "no such layer"
        if tuple(planes.shape) != want:
            raise ValueError(
                f"the states of layer {name!r} in the checkpoint have shape {tuple(planes.shape)}, but the model "
                f"has {want}. Resume with the model that the checkpoint was made with."
            )
        device, dtype = self.grids[name].placement
        return empty_grid(tuple(planes.shape), planes.to(device, dtype)).copy_(planes)
