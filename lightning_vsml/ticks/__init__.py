"""One LSTM step of every synapse of a grid, in interchangeable implementations.

``reference`` is the readable one and defines what is right; the others are tested against it, and may leave units of
the merged state unchanged that no later tick and no readout depends on. ``products`` never forms a value for a sample
and a synapse at once: a step is a few matrix products. Cells that have no such form (dense ones) are compiled:
``native`` for the CPU, ``triton`` for NVIDIA GPUs. ``fused`` runs in torch what the plan finds necessary.

States are kept as planes (:mod:`~lightning_vsml.ticks.plan.layout`), inputs and outputs in the layout of their layer
(:mod:`~lightning_vsml.ticks.sites`). An implementation offers

* ``forward(planes, site)``: run the forward ticks, give what every channel sends out;
* ``learn(planes, site, e, own, scales, message)``: run the learn ticks, give the summed changes of the planes and the
  backward message; ``own`` is what neurons tell their own synapses, where the ticks feed it.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from lightning_vsml.ticks.cell import Cell, CommitTick, State, Tick
from lightning_vsml.ticks.commit import Told
from lightning_vsml.ticks.compiled import eager
from lightning_vsml.ticks.fused import Fused
from lightning_vsml.ticks.native import Native
from lightning_vsml.ticks.plan.layout import Layout
from lightning_vsml.ticks.products import Products
from lightning_vsml.ticks.reference import Reference
from lightning_vsml.ticks.rowwise import Make, RowWise
from lightning_vsml.ticks.sites import Site
from lightning_vsml.ticks.triton import Triton, TritonFast


class Implementation(Protocol):
    """What every implementation offers; shapes as in :class:`~lightning_vsml.ticks.products.Products`."""

    def forward(self, planes: Tensor, site: Site) -> list[Tensor]: ...

    def learn(
        self,
        planes: Tensor,
        site: Site,
        e: Tensor,
        own: Sequence[Tensor],
        scales: Sequence[float],
        message: bool = True,
    ) -> tuple[Tensor, Tensor]: ...


ROWWISE: dict[str, Make] = {
    "reference": Reference,
    "fused": Fused,
    "native": Native,
    "triton": Triton,
    "triton-fast": TritonFast,
}
IMPLEMENTATIONS = ("products", *ROWWISE)


def implementation(
    name: str,
    cell: Cell,
    forward: tuple[Tick, ...],
    learn: tuple[Tick, ...],
    codec: frozenset[int],
    layout: Layout,
    *,
    tolerance: float,
    exact: torch.dtype | None,
) -> Implementation:
    """The implementation of that name; ``"auto"``: products where zeros of the cell allow them, else the compiled
    ticks.

    Args:
        name: of :data:`IMPLEMENTATIONS`, or ``"auto"``.
        cell: a single one or a population.
        forward: the forward ticks.
        learn: the learn ticks.
        codec: units whose c the codec writes or reads.
        layout: of the states.
        tolerance: relative error that products may have.
        exact: what to compute ticks in that are no products; ``None`` for the dtype of the cell.
    """

    def rowwise(make: Make) -> RowWise:
        own = cell if exact is None else Cell(*(parameter.to(exact) for parameter in cell))
        return RowWise(make(own, forward, learn, codec), layout, exact)

    compiled = {"cpu": Native, "cuda": Triton}.get(cell.W.device.type) or eager(cell)
    if name == "auto":  # the ranges of a population are those of its worst member, which may diverge
        name = "products" if eager(cell) is Fused and cell.population is None else "compiled"
    if name != "products":
        return rowwise(compiled if name == "compiled" else ROWWISE[name])
    return Products(
        cell, forward, learn, layout, codec, tolerance, lambda: rowwise(Fused if exact is not None else compiled)
    )


__all__ = [
    "IMPLEMENTATIONS",
    "Cell",
    "CommitTick",
    "Implementation",
    "Layout",
    "Site",
    "State",
    "Tick",
    "Told",
    "implementation",
]
