"""One LSTM step of every synapse of a grid, in interchangeable implementations.

An implementation is a class made from a cell and the protocol's ticks, with two pure methods:

* ``forward(state, x) -> y``: run the forward ticks, read the forward message out;
* ``learn(state, x, e) -> (change, message)``: run the learn ticks, read the summed change and the backward message.

``reference`` is the readable one and defines what is right; the others are tested against it. They may leave units of
the merged state unchanged that no later tick and no readout depends on.
"""

from typing import Protocol

from torch import Tensor

from lightning_vsml.ticks.cell import Cell, State, Tick
from lightning_vsml.ticks.fused import Fused
from lightning_vsml.ticks.reference import Reference


class Implementation(Protocol):
    """What every implementation offers; shapes as in :class:`~lightning_vsml.ticks.reference.Reference`."""

    def __init__(
        self, cell: Cell, forward: tuple[Tick, ...], learn: tuple[Tick, ...], codec: frozenset[int]
    ) -> None: ...

    def forward(self, state: State, x: Tensor) -> Tensor: ...

    def learn(self, state: State, x: Tensor, e: Tensor) -> tuple[State, Tensor]: ...


IMPLEMENTATIONS: dict[str, type[Implementation]] = {"reference": Reference, "fused": Fused}


def fastest(cell: Cell) -> str:
    """The implementation to take for ``cell``.

    Fused wins by what zeros let it leave out; a dense cell of 16 units runs twice as fast in the reference
    (``python benchmarks/ticks.py --dense 16``, 784 x 10 synapses, 64 samples, two CPU cores).
    """
    return "fused" if cell.W.count_nonzero() * 2 <= cell.W.numel() else "reference"


__all__ = ["IMPLEMENTATIONS", "Cell", "Implementation", "State", "Tick", "fastest"]
