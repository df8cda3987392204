"""The dense tick in C++ (``kernel.hpp``), for the CPU."""

import ctypes
import functools

import torch
from torch import Tensor

from lightning_vsml.ticks.dense.layout import laid_out, padded
from lightning_vsml.ticks.native.compiler import NUMBERS, CompilerError, header, library, with_lanes


def obstacle(*tensors: Tensor) -> str | None:
    """Why it can't step the synapses of these tensors, of which the first is W (N, 4N)."""
    N, dtype = len(tensors[0]), tensors[0].dtype
    if N % 4:
        return f"native ticks need units in fours, got {N}"
    if {(t.device.type, t.dtype) for t in tensors} != {("cpu", dtype)} or dtype not in NUMBERS:
        return "native ticks need everything on the CPU, in float32 or in float64"
    compiled = _library(N, dtype)
    return compiled if isinstance(compiled, str) else None


def forward(W: Tensor, state: Tensor, z_f: Tensor, z_b: Tensor, A: int, moves: bool) -> tuple[Tensor, Tensor, Tensor]:
    """A step.

    Args:
        W: ``(N, 4N)``.
        state: ``(G, B, 2N, wide)``, or with 1 for G if all have the same.
        z_f: ``(G, 4N, wide)``.
        z_b: ``(G, B, 4N)``.
        A: how many of ``wide`` inputs there are.
        moves: whether the next state is wanted.

    Returns:
        The next state; h summed over inputs, ``(G, B, N)``, and over outputs, ``(G, N, wide)``.
    """
    (one, B, N2, wide), G = state.shape, len(z_f)
    after = state.new_empty(G if moves else 0, B, N2, wide)
    out, back = state.new_empty(G, B, N2 // 2), state.new_zeros(G, N2 // 2, wide)
    _call("tick", (G, wide, B, A, one < G, moves), W, state, z_f, z_b, after, out, back)
    return after, out, back


def backward(
    W: Tensor, state: Tensor, z_f: Tensor, z_b: Tensor, gradients: tuple[Tensor, Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of a step's results, ``(2N, G, A, B)``, ``(G, B, N)`` and ``(G, N, A)`` -> those of W, of the state as
    it is laid out, of z_f as it is padded, and of z_b.
    """
    (G, B, _, wide), A, N = state.shape, gradients[0].shape[2], len(W)
    given = laid_out(gradients[0]), gradients[1].contiguous(), padded(gradients[2])
    d_state, dz_b, dz_f = torch.empty_like(state), torch.empty_like(z_b), state.new_zeros(G, 4 * N, wide)
    dW = state.new_zeros(torch.get_num_threads(), N, 4 * N)
    _call("back", (G, wide, B, A, False, True), W, state, z_f, z_b, *given, d_state, dz_f, dz_b, dW)
    return dW.sum(0), d_state, dz_f, dz_b


class _Sizes(ctypes.Structure):
    _fields_ = [(name, ctypes.c_long) for name in ("G", "A", "B", "inputs", "shared", "moves")] + [
        ("threads", ctypes.c_int)
    ]


def _call(name: str, sizes: tuple[int, ...], W: Tensor, *tensors: Tensor) -> None:
    compiled = _library(len(W), W.dtype)
    assert not isinstance(compiled, str)  # what the caller has made sure of
    pointers = (ctypes.c_void_p(tensor.data_ptr()) for tensor in (W, *tensors))
    getattr(compiled, name)(ctypes.byref(_Sizes(*sizes, torch.get_num_threads())), *pointers)


@functools.cache
def _library(N: int, dtype: torch.dtype) -> ctypes.CDLL | str:
    try:
        return library(f"constexpr int N = {N};\n{with_lanes(dtype)}{header('dense/kernel.hpp')}", f"{N} units")
    except CompilerError as error:
        return str(error)
