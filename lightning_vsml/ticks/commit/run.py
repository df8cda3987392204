"""Commit ticks on tensors: compiled, by torch, or the readable ones."""

import ctypes
from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from lightning_vsml.ticks.cell import Cell, CommitTick, State
from lightning_vsml.ticks.commit.plan import Told, plan_commit
from lightning_vsml.ticks.commit.reference import commit_by_ticks
from lightning_vsml.ticks.commit.source import compiled
from lightning_vsml.ticks.commit.trace import LIKELY, Sum, Traced, trace
from lightning_vsml.ticks.native.pointwise import FROM, row_stride
from lightning_vsml.ticks.plan.layout import Layout
from lightning_vsml.ticks.products.horner import Arithmetic, evaluate
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
        self.compiled = cache(lambda dtype: compiled(self.traced, dtype))

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
        here = planes[0].device.type == "cpu" and not any(plane.requires_grad for plane in planes)
        if here and self.compiled(planes[0].dtype) is not None:
            return self._by_kernel(planes, told)
        return self.by_torch(planes, told)

    def by_ticks(self, planes: Tensor, told: Told) -> Tensor:
        """The same by the readable ticks, of ``(P, G, A, B)``."""
        dtype = self.exact or planes.dtype
        cell = Cell(*(parameter.to(dtype) for parameter in self.cell))
        state = State(*self.layout.expand(planes.to(dtype)))
        after = commit_by_ticks(cell, self.ticks, state, told.to(dtype))
        return self.layout.compress(*after).to(planes.dtype)

    def by_torch(self, planes: Sequence[Tensor], told: Told) -> Tensor:
        """The same by torch's operations, which autograd follows."""
        values = _Values(self.traced, planes, told)
        for message in self.traced.messages:
            values.hear(message)
        return torch.stack([values.of(terms).expand_as(planes[0]) for terms in self.traced.planes])

    def _by_kernel(self, planes: Sequence[Tensor], told: Told) -> Tensor:
        G, A, B = planes[0].shape
        run, out = self.compiled(planes[0].dtype), empty_grid((len(planes), G, A, B), planes[0])
        assert run is not None
        turned = [plane.mT for plane in planes]  # inputs lie next to each other in memory
        apart = [row_stride(plane, G * B) for plane in turned]
        turned = [plane if s is not None else plane.contiguous() for plane, s in zip(turned, apart, strict=True)]
        outside = torch.stack(told.vectors).to("cpu", torch.float64).contiguous()
        pointers, longs = ctypes.c_void_p * len(planes), ctypes.c_long * len(planes)
        run(
            pointers(*(plane.data_ptr() for plane in turned)),
            longs(*(A if s is None else s for s in apart)),
            ctypes.c_void_p(outside.data_ptr()),
            ctypes.c_void_p(out.data_ptr()),
            *map(ctypes.c_long, (out.stride(0), out.stride(3), G, B, A)),
            torch.get_num_threads() if planes[0].numel() >= FROM else 1,
        )
        return out


class _Values(Arithmetic):
    """The tensors of one commit, and operations on them."""

    def __init__(self, traced: Traced, planes: Sequence[Tensor], told: Told) -> None:
        self.atoms, self.planes = traced.algebra.atoms, planes
        self.known: list[Tensor] = [vector.view(1, -1, 1) for vector in told.vectors]
        self._computed: dict[int, Tensor] = {}

    def of(self, terms: dict) -> Tensor:
        """A polynomial; what few numbers depend on is computed in float64, and what all do in the planes' type."""
        return (self.planes[0].new_zeros(()) + evaluate(terms, self)).to(self.planes[0].dtype)

    def hear(self, message: Sum) -> None:
        """The next message."""
        total = self.of(message.terms).expand_as(self.planes[0]).sum(1 if message.output else 2, keepdim=True)
        self.known.append(torch.asinh(total.double()))  # float32's is infinite from 2e19 on

    def atom(self, place: int) -> Tensor:
        if place not in self._computed:
            kind, value, _ = self.atoms[place]
            if isinstance(value, tuple):
                found = FUNCTIONS[kind](self.planes[0].new_zeros(()) + evaluate(dict(value), self))
            else:
                assert isinstance(value, int)
                found = self.planes[value] if kind == "plane" else self.known[value]
            self._computed[place] = found
        return self._computed[place]
