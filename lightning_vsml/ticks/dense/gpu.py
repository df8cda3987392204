"""The dense tick in Triton, for NVIDIA GPUs; it has no way back."""

import importlib.util
import os
from contextlib import nullcontext
from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import pad

from lightning_vsml.ticks.triton.padded import power_of_two

SYNAPSES = 32  # of a program


def obstacle(*tensors: Tensor) -> str | None:
    """Why it can't step the synapses of these tensors."""
    if not _installed():
        return "Triton is not installed (pip install triton)"
    device = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"
    if {(t.device.type, t.dtype) for t in tensors} != {(device, torch.float32)}:
        return f"Triton ticks need everything on {device}, in float32"
    return None


def forward(W: Tensor, state: Tensor, z_f: Tensor, z_b: Tensor, A: int, moves: bool) -> tuple[Tensor, Tensor, Tensor]:
    """A step; as :func:`lightning_vsml.ticks.dense.native.forward`."""
    from lightning_vsml.ticks.triton.vector import lstm  # needs Triton

    (one, B, N2, wide), G, N = state.shape, len(z_f), len(W)
    units = max(16, power_of_two(N))  # the least that a matrix product takes
    gates = pad(W.unflatten(-1, (4, N)).transpose(0, 1), (0, units - N, 0, units - N)).contiguous()
    BB = min(16, power_of_two(B))
    BA = max(1, SYNAPSES // BB)
    tiles_a, tiles_b = -(-A // BA), -(-B // BB)
    after = state.new_zeros(G if moves else 0, B, N2, wide)
    out, back = state.new_empty(tiles_a, G, B, N), state.new_zeros(tiles_b, G, N, wide)
    with torch.cuda.device(state.device) if state.is_cuda else nullcontext():
        lstm[(tiles_a * tiles_b, G)](
            gates, state, z_f, z_b, after, out, back, G, A, B, wide,
            N=N, UNITS=units, SHARED=one < G, MOVES=moves, BA=BA, BB=BB,
        )  # fmt: skip
    return after, out.sum(0), back.sum(0)


@cache
def _installed() -> bool:
    return importlib.util.find_spec("triton") is not None
