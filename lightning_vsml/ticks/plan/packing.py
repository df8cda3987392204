"""The parameters of a cell, or of a population, as the one vector that a kernel reads."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_vsml.ticks.cell import Cell
from lightning_vsml.ticks.plan.graph import Graph, Mix, Parameter


class Packing(NamedTuple):
    """Where each parameter lies in the one vector that a kernel gets.

    Attributes:
        shapes: of the cell's parameters, without a population.
        mixes: the matrix products, whose weights follow in the layout they are read in.
    """

    shapes: tuple[tuple[int, ...], ...]
    mixes: tuple[Mix, ...]

    def pack(self, cell: Cell) -> Tensor:
        """All parameters of each member, ``(K, size)``."""
        W = cell.W.reshape(-1, *self.shapes[0])
        parts = [parameter.reshape(len(W), -1) for parameter in cell]
        for mix in self.mixes:
            weights = W[:, list(mix.units)][..., list(mix.columns)]
            parts.append(torch.nn.functional.pad(weights, (0, self.columns(mix) - len(mix.columns))).flatten(1))
        return torch.cat(parts, 1).contiguous()

    def place(self, parameter: Parameter) -> list[int]:
        """Indices of the entries that a :class:`~lightning_vsml.ticks.plan.graph.Parameter` adds up."""
        which = Cell._fields.index(parameter.name)
        start, width = self._start(which), self.shapes[which][-1]
        return [start + row * width + parameter.column for row in parameter.rows or (0,)]

    def place_mix(self, mix: Mix) -> int:
        """Index of the first weight of a matrix product."""
        before = self.mixes[: self.mixes.index(mix)]
        return self._start(len(self.shapes)) + sum(len(m.units) * self.columns(m) for m in before)

    @staticmethod
    def columns(mix: Mix) -> int:
        """How many columns the weights of a matrix product have, zeros at the end included."""
        return -(-len(mix.columns) // 8) * 8

    def _start(self, which: int) -> int:
        return sum(torch.Size(shape).numel() for shape in self.shapes[:which])


def packing(cell: Cell, graphs: Iterable[Graph]) -> Packing:
    """The vector of parameters that kernels of ``graphs`` read."""
    mixes = dict.fromkeys(node.value for graph in graphs for node in graph.nodes if isinstance(node.value, Mix))
    single = cell if cell.population is None else Cell(*(parameter[0] for parameter in cell))
    return Packing(tuple(tuple(parameter.shape) for parameter in single), tuple(mixes))
