"""One LSTM step of every synapse of a grid, in interchangeable implementations.

An implementation is a class made from a cell and the protocol's ticks, with two pure methods:

* ``forward(state, x) -> y``: run the forward ticks, read the forward message out;
* ``learn(state, x, e, own) -> (change, message)``: run the learn ticks, read the summed change and the backward
  message; ``own`` is what neurons tell their own synapses, where the ticks feed it.

``reference`` is the readable one and defines what is right; the others are tested against it, and may leave units of
the merged state unchanged that no later tick and no readout depends on. ``fused`` runs in torch what the plan finds
necessary; ``native`` and ``triton`` compile it, for the CPU and for NVIDIA GPUs.

``torch.compile`` was measured in their place (``benchmarks/ticks.py --layers 784x32 --samples 64 --torch-compile``, two
CPU cores): 10 ms for a step of ``backprop``, after 5 s of compiling for that size alone, against 2 ms natively.
"""

from typing import Protocol

from torch import Tensor

from lightning_vsml.ticks.cell import Cell, State, Tick
from lightning_vsml.ticks.compiled import eager
from lightning_vsml.ticks.fused import Fused
from lightning_vsml.ticks.native import Native
from lightning_vsml.ticks.reference import Reference
from lightning_vsml.ticks.triton import Triton, TritonFast


class Implementation(Protocol):
    """What every implementation offers; shapes as in :class:`~lightning_vsml.ticks.reference.Reference`."""

    def __init__(
        self, cell: Cell, forward: tuple[Tick, ...], learn: tuple[Tick, ...], codec: frozenset[int]
    ) -> None: ...

    def forward(self, state: State, x: Tensor) -> Tensor: ...

    def learn(self, state: State, x: Tensor, e: Tensor, own: Tensor | None = None) -> tuple[State, Tensor]: ...


IMPLEMENTATIONS: dict[str, type[Implementation]] = {
    "reference": Reference,
    "fused": Fused,
    "native": Native,
    "triton": Triton,
    "triton-fast": TritonFast,
}


def fastest(cell: Cell) -> type[Implementation]:
    """The implementation to take for ``cell`` on its device; what is not installed is left to torch by itself."""
    return {"cpu": Native, "cuda": Triton}.get(cell.W.device.type) or eager(cell)


__all__ = ["IMPLEMENTATIONS", "Cell", "Implementation", "State", "Tick", "fastest"]
