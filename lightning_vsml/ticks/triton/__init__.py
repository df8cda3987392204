"""The tick on NVIDIA GPUs: a synapse's gates stay in registers, states are read once for many rows.

One kernel (:mod:`~lightning_vsml.ticks.triton.dense`) runs any cell, with a unit's gates as columns of a matrix
product: cells that are sparse enough for kernels of their own run as products. Without a GPU, ``TRITON_INTERPRET=1``
runs it in Python.
"""

import importlib.util
import os
from contextlib import nullcontext
from functools import cache, cached_property

import torch
from torch import Tensor

from lightning_vsml.ticks.cell import Cell, State, Tick
from lightning_vsml.ticks.compiled import Compiled
from lightning_vsml.ticks.triton.padded import Padded, power_of_two

WAVES = 4  # programs for each multiprocessor, where rows can be divided to get as many


class Triton(Compiled):
    """Triton kernels for NVIDIA GPUs, in float32."""

    fast = False

    def __init__(self, cell: Cell, forward: tuple[Tick, ...], learn: tuple[Tick, ...], codec: frozenset[int]) -> None:
        super().__init__(cell, forward, learn, codec)
        self.ticks = {"forward": forward, "learn": learn}

    def _obstacle(self, tensors: tuple[Tensor, ...]) -> str | None:
        if not _installed():
            return "Triton is not installed (pip install triton)"
        device = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"
        if others := {tensor.device.type for tensor in (*tensors, *self.cell)} - {device}:
            return f"Triton ticks need everything on {device}, and there are tensors on {', '.join(others)}"
        if others := {str(tensor.dtype) for tensor in (*tensors, *self.cell)} - {"torch.float32"}:
            return f"Triton ticks need float32, and there is {', '.join(others)}"
        return None

    def _run(self, phase: str, state: State, x: Tensor, e: Tensor) -> tuple[State, Tensor]:
        backward, M, kernels = self.outputs[phase].backward, len(self.outputs[phase].messages), self._kernels
        changes = kernels.changes(phase)
        (R, G, A), B = x.shape, e.shape[-2]
        BB = min(16, power_of_two(B))
        BA = kernels.synapses // BB
        tiles_a, tiles_b = -(-A // BA), -(-B // BB)
        few = -(-R // min(R, -(-WAVES * _multiprocessors(x.device) // (tiles_a * tiles_b * G))))
        chunks = -(-R // few)
        h, c = (part.movedim(-1, 0).contiguous() for part in state)
        sums = x.new_empty(chunks, len(changes), G, A, B)
        message = x.new_empty((tiles_b, M, R, G, A) if backward else (tiles_a, M, R, G, B))
        with torch.cuda.device(x.device) if x.is_cuda else nullcontext():
            tensors = [h, c, x.contiguous(), e.contiguous(), sums, message]
            sizes = {"A": A, "B": B, "R": R, "G": G, "few": few, "BA": BA, "BB": BB, "FAST": self.fast}
            kernels.launch(phase, (tiles_a * tiles_b, G, chunks), tensors, **sizes)
        dh, dc = (torch.zeros_like(part if backward else part[:0]) for part in (h, c))
        for (unit, of_c, is_change), total in zip(changes, sums.sum(0), strict=True):
            (dc if of_c else dh)[unit] = total if is_change else total - R * (c if of_c else h)[unit]
        message = message.sum(0).permute(1, 2, 3, 0).contiguous()
        return State(dh.movedim(0, -1), dc.movedim(0, -1)), message

    @property
    def _kernels(self) -> Padded:
        return self._prepare() if self._learns else self._prepared

    @cached_property
    def _prepared(self) -> Padded:
        return self._prepare()

    def _prepare(self) -> Padded:
        cell = Cell(*(parameter.detach() for parameter in self.cell))
        return Padded(cell, self.ticks, self.outputs)


class TritonFast(Triton):
    """The same with the hardware's approximations, up to a relative error of 2^-11 in a gate."""

    fast = True


@cache
def _installed() -> bool:
    return importlib.util.find_spec("triton") is not None


@cache
def _multiprocessors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1
