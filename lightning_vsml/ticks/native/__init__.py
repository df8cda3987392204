"""The tick compiled for the CPU at hand: everything between the merged state and the sums stays in registers.

:mod:`~lightning_vsml.ticks.native.source` writes C++ from the same graph that the fused tick evaluates,
:mod:`~lightning_vsml.ticks.native.compiler` compiles it once per algorithm, whatever the shapes.
"""

import ctypes
from functools import cached_property

import torch
from torch import Tensor

from lightning_vsml.ticks.cell import State
from lightning_vsml.ticks.compiled import Compiled
from lightning_vsml.ticks.native.compiler import CompilerError, library
from lightning_vsml.ticks.native.source import source

_DTYPES = ({"torch.float32"}, {"torch.float64"})
PADDED = 64  # bytes to which rows are padded; vectors have at most as many


class _Grid(ctypes.Structure):
    _fields_ = [(name, ctypes.c_long) for name in ("members", "groups", "A", "B", "R", "parameters")] + [
        ("threads", ctypes.c_int)
    ]


class Native(Compiled):
    """C++ kernels for the CPU."""

    def _obstacle(self, tensors: tuple[Tensor, ...]) -> str | None:
        if devices := {tensor.device.type for tensor in (*tensors, *self.cell)} - {"cpu"}:
            return f"native ticks are for the CPU, and there are tensors on {', '.join(devices)}"
        if (kinds := {str(tensor.dtype) for tensor in (*tensors, *self.cell)}) not in _DTYPES:
            return f"native ticks need everything in float32, or in float64, and there is {', '.join(sorted(kinds))}"
        return self._library if isinstance(self._library, str) else None

    @cached_property
    def _library(self) -> ctypes.CDLL | str:
        try:
            return library(source(self.outputs, self.packing, self.cell.W.dtype), f"{self.cell.units} units")
        except CompilerError as error:
            return str(error)

    def _run(self, phase: str, state: State, x: Tensor, e: Tensor) -> tuple[State, Tensor]:
        h, c = (part.movedim(-1, 0).contiguous() for part in state)
        backward = self.outputs[phase].backward
        dh, dc = (torch.zeros_like(part if backward else part[:0]) for part in (h, c))
        # Lanes are synapses where a vector of rows would be mostly empty: measured, up to 6 rows for 5 units and 16 for
        # 16. That takes 3 R values for each synapse, which are to stay below what its states take.
        by_rows = 2 * self.cell.units < 3 * len(x)
        message = (self._rows if by_rows else self._synapses)(phase, h, c, x, e, dh, dc)
        return State(dh.movedim(0, -1), dc.movedim(0, -1)), message.contiguous()  # as a layer's output would be

    def _rows(self, phase: str, h: Tensor, c: Tensor, x: Tensor, e: Tensor, dh: Tensor, dc: Tensor) -> Tensor:
        (R, G, A), B, M = x.shape, e.shape[-2], len(self.outputs[phase].messages)
        lanes = PADDED // x.element_size()
        padded = -(-R // lanes) * lanes
        backward = self.outputs[phase].backward
        message = x.new_zeros((M, G, A, padded) if backward else (torch.get_num_threads(), M, G, B, padded))
        inputs = (_lanes(rows, padded) for rows in (x, e, x.new_ones(R, 1, 1)))
        self._call(f"{phase}_rows", (G, A, B, padded), h, c, *inputs, dh, dc, message)
        return (message if backward else message.sum(0))[..., :R].permute(3, 1, 2, 0)

    def _synapses(self, phase: str, h: Tensor, c: Tensor, x: Tensor, e: Tensor, dh: Tensor, dc: Tensor) -> Tensor:
        (R, G, A), B, M = x.shape, e.shape[-2], len(self.outputs[phase].messages)
        message = x.new_empty(M, R, G, A, B)
        each_x, each_e = x.unsqueeze(-1).expand(R, G, A, B), e.permute(0, 3, 1, 2).unsqueeze(-2).expand(-1, -1, G, A, B)
        inputs = (each_x.contiguous(), each_e.contiguous())
        self._call(f"{phase}_synapses", (G, A, B, R), h, c, *inputs, dh, dc, message)
        return message.sum(-1 if self.outputs[phase].backward else -2).permute(1, 2, 3, 0)

    def _call(self, name: str, sizes: tuple[int, int, int, int], *tensors: Tensor) -> None:
        parameters = self._parameters
        (members, size), (G, A, B, R) = parameters.shape, sizes
        grid = _Grid(members, G // members, A, B, R, size, torch.get_num_threads())
        pointers = (ctypes.c_void_p(tensor.data_ptr()) for tensor in (parameters, *tensors))
        getattr(self._library, name)(ctypes.byref(grid), *pointers)


def _lanes(rows: Tensor, padded: int) -> Tensor:
    """``(R, ...)`` -> ``(..., padded)``, zeros at the end."""
    out = rows.new_zeros(*rows.shape[1:], padded)
    out[..., : len(rows)] = rows.movedim(0, -1)
    return out
