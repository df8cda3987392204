"""What compiled implementations share: when to leave the work to torch, and the layout of what they get and give."""

import logging
from abc import ABC, abstractmethod
from functools import cache, cached_property

import torch
from torch import Tensor

from lightning_vsml.ticks.cell import Cell, State, Tick, carry
from lightning_vsml.ticks.fused import Fused
from lightning_vsml.ticks.plan.outputs import outputs
from lightning_vsml.ticks.plan.packing import packing
from lightning_vsml.ticks.plan.structure import plan_protocol
from lightning_vsml.ticks.reference import Reference
from lightning_vsml.ticks.sliced import Sliced

logger = logging.getLogger("lightning_vsml")


@cache
def inform(message: str) -> None:
    """Tell it once."""
    logger.info(message)


def eager(cell: Cell) -> type[Fused | Reference]:
    """The faster implementation in torch: fused wins by what zeros let it leave out.

    A dense cell gains nothing by it, nor one that learns, of which every entry counts. ``python benchmarks/ticks.py
    --cells backprop dense-16`` shows the two side by side.
    """
    learns = any(parameter.requires_grad for parameter in cell)
    return Fused if not learns and cell.W.count_nonzero() * 2 <= cell.W.numel() else Reference


def has_memory(tensor: Tensor) -> bool:
    """Whether a kernel can read it: within ``torch.vmap`` it can't."""
    try:
        tensor.data_ptr()
    except RuntimeError:
        return False
    return True


class Compiled(ABC):
    """Both phases of a protocol on one cell, in kernels made from their graph.

    What no later tick reads does not change. Gradients, and whatever the kernels can't do, are left to torch.
    """

    def __init__(self, cell: Cell, forward: tuple[Tick, ...], learn: tuple[Tick, ...], codec: frozenset[int]) -> None:
        self.cell, self._protocol = cell, (forward, learn, codec)
        self.outputs = outputs(cell, plan_protocol(cell, forward, learn, codec))
        self.packing = packing(cell, [out.graph for out in self.outputs.values()])

    @cached_property
    def eager(self) -> Sliced:
        """What the work is left to; planned when that happens."""
        with torch.no_grad():
            return eager(self.cell)(self.cell, *self._protocol)

    @abstractmethod
    def _obstacle(self, tensors: tuple[Tensor, ...]) -> str | None:
        """Why the kernels can't be used, if they can't."""

    @abstractmethod
    def _run(self, phase: str, state: State, x: Tensor, e: Tensor) -> tuple[State, Tensor]:
        """The change and the message of a phase, for tensors without gradient; e (R, G, B, C)."""

    def forward(self, state: State, x: Tensor) -> Tensor:
        """As :meth:`lightning_vsml.ticks.sliced.Sliced.forward`."""
        if self._leaves(*state, x):
            return self.eager.forward(state, x)
        e = carry(self.outputs["forward"].carried, x.new_zeros(*x.shape[:2], state.h.shape[-2]), None)
        return self._run("forward", state, x, e)[1]

    def learn(self, state: State, x: Tensor, e: Tensor, own: Tensor | None = None) -> tuple[State, Tensor]:
        """As :meth:`lightning_vsml.ticks.sliced.Sliced.learn`."""
        if self._leaves(*state, x, e, *(() if own is None else (own,))):
            return self.eager.learn(state, x, e, own)
        return self._run("learn", state, x, carry(self.outputs["learn"].carried, e, own))

    def _leaves(self, *tensors: Tensor) -> bool:
        if any(tensor.numel() == 0 or not has_memory(tensor) for tensor in tensors):
            return True
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (*tensors, *self.cell)):
            return True
        if obstacle := self._obstacle(tensors):
            inform(f"Ticks run in torch, several times slower than compiled: {obstacle}.")
        return obstacle is not None

    @property
    def _parameters(self) -> Tensor:
        """What kernels read; of a cell that learns, as it is now."""
        return self._pack() if self._learns else self._packed

    @cached_property
    def _packed(self) -> Tensor:
        return self._pack()

    @property
    def _learns(self) -> bool:
        return any(parameter.requires_grad for parameter in self.cell)

    def _pack(self) -> Tensor:
        return self.packing.pack(Cell(*(parameter.detach() for parameter in self.cell)))
