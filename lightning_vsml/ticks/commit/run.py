"""Commit ticks as elementwise programs."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_vsml.ticks.cell import Cell, CommitTick, State
from lightning_vsml.ticks.commit.once import Mixed
from lightning_vsml.ticks.commit.plan import Told, plan_commit
from lightning_vsml.ticks.commit.reference import commit_by_ticks
from lightning_vsml.ticks.commit.trace import LIKELY, Gathering, Stage, Traced, trace
from lightning_vsml.ticks.native import pointwise
from lightning_vsml.ticks.plan.layout import Layout
from lightning_vsml.ticks.products.horner import evaluate
from lightning_vsml.ticks.products.values import FUNCTIONS
from lightning_vsml.ticks.ranges import interval
from lightning_vsml.ticks.sites import empty_grid


class Commit:
    """The commit phase of a cell.

    Args:
        cell: a single one, of plain numbers.
        ticks: of the protocol.
        layout: of the states.
        tolerance: relative error of a number that is computed.
        exact: what ticks are computed in where planes are larger than they are likely to be.
    """

    def __init__(
        self, cell: Cell, ticks: tuple[CommitTick, ...], layout: Layout, tolerance: float, exact: torch.dtype | None
    ) -> None:
        self.cell, self.ticks, self.layout, self.exact = cell, ticks, layout, exact
        self.traced = trace(cell, plan_commit(cell, ticks, layout.kept), layout, tolerance)

    def __call__(self, planes: Sequence[Tensor], told: Told) -> Tensor:
        """The planes after the ticks.

        Args:
            planes: of the merged state, ``(G, A, B)`` each.
            told: from outside; rates are positive.

        Returns:
            ``(P, G, A, B)``.
        """
        learned = zip(planes[: self.layout.learned], self.layout.planes, strict=False)
        ends = [interval(plane) for plane, at in learned if not at.codes]
        if not all(max(-low, high) <= LIKELY for low, high in ends):
            return self.by_ticks(torch.stack(list(planes)), told)
        return self._by_programs(planes, told)

    def by_ticks(self, planes: Tensor, told: Told) -> Tensor:
        """The same by the readable ticks, of ``(P, G, A, B)``."""
        dtype = self.exact or planes.dtype
        cell = Cell(*(parameter.to(dtype) for parameter in self.cell))
        state = State(*self.layout.expand(planes.to(dtype)))
        after = commit_by_ticks(cell, self.ticks, state, told.to(dtype))
        return self.layout.compress(*after).to(planes.dtype)

    def _by_programs(self, planes: Sequence[Tensor], told: Told) -> Tensor:
        values = _Values(self.traced, [plane.mT for plane in planes], told)
        for stage in self.traced.stages[:-1]:
            computed, sums, _ = values.of(stage)
            for _, gathering in stage.gathered:
                own = sums if gathering.output else computed
                values.tell(gathering, own.pop(0) if gathering.computed else None)
        computed, _, room = values.of(self.traced.stages[-1])
        return (torch.stack([value.expand(values.shape) for value in computed]) if room is None else room).mT


class _Values:
    """The tensors of one commit, as ``(G, B, A)``: inputs lie next to each other in memory."""

    def __init__(self, traced: Traced, planes: Sequence[Tensor], told: Told) -> None:
        self.traced, self.planes, self.shape = traced, planes, planes[0].shape
        G, B, A = self.shape
        self.flat = A == 1 and B == 1
        self.known: list[Tensor] = [vector.expand(G, 1, A) for vector in told.vectors]
        self._sums: dict[tuple[int, bool], Tensor] = {}
        self._atoms: dict[int, Tensor] = {}

    def of(self, stage: Stage) -> tuple[list[Tensor], list[Tensor], Tensor | None]:
        """The stage's polynomials, its sums over inputs ``(G, B, 1)``; polynomials as one tensor, if they are."""
        like, written = self.planes[0], stage.flat if self.flat else stage.rows
        for part in stage.mixed:
            self._mix(part)
        if not (stage.terms or stage.sums):
            return [], [], None
        if written is not None and like.device.type == "cpu" and not any(plane.requires_grad for plane in self.planes):
            G, B, A = self.shape
            room = empty_grid((len(written.outputs), G, A, B), like).mT
            outputs = pointwise.run(written, [self._input(atom) for atom in written.inputs], room)
            if outputs is not None:
                return outputs[: len(stage.terms)], outputs[len(stage.terms) :], room
        values = [
            (like.new_zeros(()) + evaluate(terms, _OnTensors(self))).to(like.dtype)
            for terms in (*stage.terms, *stage.sums)
        ]
        sums = [value.expand(self.shape).sum(2, keepdim=True) for value in values[len(stage.terms) :]]
        return values[: len(stage.terms)], sums, None

    def _mix(self, part: Mixed) -> None:
        """Small atoms by one product."""
        messages = torch.stack([self.known[number].double() for number in part.messages], -1)
        weights, constants = part.weights.to(messages.device), part.constants.to(messages.device)
        for atom, kind, value in zip(
            part.atoms, part.kinds, (messages @ weights.T + constants).unbind(-1), strict=True
        ):
            self._atoms[atom] = FUNCTIONS[kind](value)

    def tell(self, gathering: Gathering, value: Tensor | None) -> None:
        """The next message, of what was computed for it: sums over inputs, or what is to be summed over outputs."""
        G, B, A = self.shape
        if gathering.same is not None:
            self.known.append(self.known[4 + gathering.same])
            return
        dim = 2 if gathering.output else 1
        if value is None:
            total = self.planes[0].new_full((1, 1, 1), gathering.constant * (A if gathering.output else B))
            for place, factor in (gathering.planes or {}).items():
                key = (place, gathering.output)
                if key not in self._sums:
                    self._sums[key] = self.planes[place].sum(dim, keepdim=True)
                total = total + self._sums[key] * factor
        else:
            total = value if gathering.output else value.expand(self.shape).sum(1, keepdim=True)
        size = (G, B, 1) if gathering.output else (G, 1, A)
        # float32's asinh is infinite from 2e19 on; and what few numbers depend on is cheap
        self.known.append(torch.asinh(total.double()).expand(size))

    def atom(self, place: int) -> Tensor:
        """An atom, of the shape that it has."""
        if place not in self._atoms:
            kind, value, _ = self.traced.algebra.atoms[place]
            if isinstance(value, tuple):
                found = FUNCTIONS[kind](self.planes[0].new_zeros(()) + evaluate(dict(value), _OnTensors(self)))
            else:
                assert isinstance(value, int)
                found = self.planes[value] if kind == "plane" else self.known[value]
            self._atoms[place] = found
        return self._atoms[place]

    def _input(self, place: int) -> Tensor:
        """An atom as a program reads it."""
        value = self.atom(place)
        value = value.to(self.planes[0].dtype)
        if self.traced.small.get(place) == "b" and not self.flat:
            return value.reshape(-1)  # one number for each row
        return value.expand(self.shape)


class _OnTensors(NamedTuple):
    """Polynomials by torch."""

    values: _Values

    def number(self, c: float) -> Tensor | float:
        return c

    def atom(self, place: int) -> Tensor | float:
        return self.values.atom(place)

    def times(self, a: Tensor | float, c: float) -> Tensor | float:
        return a * c

    def plus(self, a: Tensor | float, c: float) -> Tensor | float:
        return a + c

    def mul(self, a: Tensor | float, b: Tensor | float) -> Tensor | float:
        return a * b

    def add(self, a: Tensor | float, b: Tensor | float) -> Tensor | float:
        return a + b

    def horner(self, total: Tensor | float, variable: Tensor | float, c: float) -> Tensor | float:
        return total * variable + c
