"""Tick implementations that work on rows and whole states, for those who keep planes."""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad

from lightning_vsml.ticks.cell import Cell, State, Tick
from lightning_vsml.ticks.compiled import has_memory
from lightning_vsml.ticks.plan.layout import Layout
from lightning_vsml.ticks.sites import Site, empty_grid


class Ticks(Protocol):
    """An implementation on rows; shapes as in :class:`~lightning_vsml.ticks.reference.Reference`."""

    def forward(self, state: State, x: Tensor) -> Tensor: ...

    def learn(self, state: State, x: Tensor, e: Tensor, own: Tensor | None = None) -> tuple[State, Tensor]: ...


Make = Callable[[Cell, tuple[Tick, ...], tuple[Tick, ...], frozenset[int]], Ticks]


class RowWise:
    """Both phases of a protocol on one cell, every sample by itself.

    Args:
        ticks: the implementation.
        layout: of the states.
        dtype: what to compute in, whatever the states are; ``None`` for theirs.
    """

    def __init__(self, ticks: Ticks, layout: Layout, dtype: torch.dtype | None = None) -> None:
        self.ticks, self.layout, self.dtype = ticks, layout, dtype

    def forward(self, planes: Tensor, site: Site) -> list[Tensor]:
        """What every channel sends out, as ``rb``."""
        sent = self.ticks.forward(self._state(planes), self._rows(site))
        return [site.rows_as_outputs(channel.to(planes.dtype)) for channel in sent.unbind(-1)]

    def learn(
        self,
        planes: Tensor,
        site: Site,
        e: Tensor,
        own: Sequence[Tensor],
        scales: Sequence[float],
        message: bool = True,
    ) -> tuple[Tensor, Tensor]:
        """As :meth:`lightning_vsml.ticks.products.Products.learn`."""
        state, x = self._state(planes), self._rows(site)
        told = torch.stack([site.outputs_as_rows(message) for message in own], -1).to(x) if own else None
        change, sent = self.ticks.learn(state, x, site.outputs_as_rows(e).to(x), told)
        factors = planes.new_tensor(scales).view(-1, 1, 1, 1)
        changes = self.layout.compress_change(*change).to(planes.dtype) * factors
        if not changes.requires_grad and has_memory(changes):  # as products leave them: resumed runs round alike
            changes = empty_grid(tuple(changes.shape), changes).copy_(changes)
        if not message:
            return changes, site.x.new_empty(0)
        return changes, _adjoint(site, sent[..., : x.shape[-1] - site.bias, 0].to(planes.dtype))

    def _state(self, planes: Tensor) -> State:
        return State(*self.layout.expand(planes if self.dtype is None else planes.to(self.dtype)))

    def _rows(self, site: Site) -> Tensor:
        rows = site.as_rows(site.x if self.dtype is None else site.x.to(self.dtype))
        return pad(rows, (0, 1), value=1.0) if site.bias else rows


def _adjoint(site: Site, rows: Tensor) -> Tensor:
    """Messages to rows ``(R, G, A)``, added up where they came from one place of ``ra``."""
    if rows.shape == site.x.shape:
        return rows
    with torch.enable_grad():
        x = site.x.detach().requires_grad_()
        (message,) = torch.autograd.grad(site.as_rows(x), x, rows, create_graph=rows.requires_grad)
    return message
