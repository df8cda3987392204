"""One tick of synapses whose messages are vectors, with a way back: what emergent learning algorithms run on.

Their cells are dense, states differ between learners, and meta-training differentiates through thousands of ticks.
:func:`tick` is the readable form, and what runs wherever the compiled one (``kernel.hpp``, for the CPU) can't.
"""

import ctypes
import functools
from importlib import resources
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightning_vsml.ticks.cell import Cell
from lightning_vsml.ticks.compiled import has_memory
from lightning_vsml.ticks.native.compiler import CompilerError, library


class Ticked(NamedTuple):
    """What a tick gives.

    Attributes:
        state: the next one, ``(2N, G, A, B)``.
        forward: messages to the next neurons, ``(G, B, M)``.
        backward: messages to the previous neurons, ``(G, A, M)``.
    """

    state: Tensor
    forward: Tensor
    backward: Tensor


TICKS = ("auto", "native", "reference")


def tick(cell: Cell, state: Tensor, m_f: Tensor, m_b: Tensor, ticks: str = "auto", moves: bool = True) -> Ticked:
    """One LSTM step of every synapse (eqs. 5 and 7 of arXiv 2012.14905, in LSTM form), and its messages.

    Messages are sums over synapses, divided by the square root of their number.

    Args:
        cell: the shared parameters.
        state: h and c of each unit, ``(2N, G, A, B)``; ``(2N, 1, A, B)`` if it is the same for all G.
        m_f: forward messages of the A inputs, ``(G, A, M_f)``.
        m_b: backward messages of the B outputs, ``(G, B, M_b)``.
        ticks: of :data:`TICKS`; ``"native"``: in compiled code; ``"reference"``: by :func:`lstm`.
        moves: whether the next state is wanted; if not, it may be empty.

    Raises:
        RuntimeError: compiled code is wanted, and can't do it; says why.
    """
    A, B = state.shape[2:]
    z_f = (m_f @ cell.V).mT  # (G, 4N, A)
    z_b = m_b @ cell.U + cell.b  # (G, B, 4N)
    obstacle = "" if ticks == "reference" else _obstacle(cell.W, state, m_f, m_b)
    if obstacle and ticks == "native":
        raise RuntimeError(f"native ticks can't be run here: {obstacle}.")
    if obstacle is not None:
        state, out, back = lstm(cell.W, state, z_f, z_b)
    elif torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (cell.W, state, z_f, z_b)):
        state, out, back = Compiled.apply(cell.W, state.expand(-1, len(m_f), -1, -1), z_f, z_b)
    else:
        state, out, back = compiled(cell.W, state, z_f, z_b, moves)[0]
    return Ticked(state, out @ cell.P_f * A**-0.5, back.mT @ cell.P_b * B**-0.5)


def lstm(W: Tensor, state: Tensor, z_f: Tensor, z_b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A step of every synapse's LSTM.

    Args:
        W: own state -> gates i, f, g, o, ``(N, 4N)``.
        state: h and c of each unit, ``(2N, G, A, B)``.
        z_f: what comes from inputs, ``(G, 4N, A)``.
        z_b: what comes from outputs, and biases, ``(G, B, 4N)``.

    Returns:
        The next state; sums of h over inputs, ``(G, B, N)``, and over outputs, ``(G, N, A)``.
    """
    h, c = state.chunk(2)
    z = torch.einsum("km,kgab->mgab", W, h) + z_f.transpose(0, 1).unsqueeze(-1) + z_b.permute(2, 0, 1).unsqueeze(-2)
    i, f, g, o = z.chunk(4)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    h = torch.sigmoid(o) * torch.tanh(c)
    return torch.cat([h, c]), h.sum(2).permute(1, 2, 0), h.sum(3).transpose(0, 1)


Three = tuple[Tensor, Tensor, Tensor]


def compiled(W: Tensor, state: Tensor, z_f: Tensor, z_b: Tensor, moves: bool = True) -> tuple[Three, list[Tensor]]:
    """:func:`lstm` in C++, and what it read. Without ``moves`` the next state is empty."""
    W, z_b, at, z_f = W.contiguous(), z_b.contiguous(), laid_out(state), _padded(z_f)
    (_, B, N2, wide), A, G = at.shape, state.shape[2], len(z_f)
    next_ = at.new_empty(G if moves else 0, B, N2, wide)
    out, back = at.new_empty(G, B, N2 // 2), at.new_zeros(G, N2 // 2, wide)
    _call("tick", (G, wide, B, A, len(at) < G, moves), W, at, z_f, z_b, next_, out, back)
    return (as_planes(next_, A), out, back[..., :A]), [W, at, z_f, z_b]


class Compiled(torch.autograd.Function):
    """:func:`lstm` in C++. Gates are computed again on the way back, so that a long unroll keeps states alone."""

    @staticmethod
    def forward(ctx: Any, W: Tensor, state: Tensor, z_f: Tensor, z_b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        given, kept = compiled(W, state, z_f, z_b)
        ctx.save_for_backward(*kept)
        return given

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        W, at, z_f, z_b = ctx.saved_tensors
        (G, B, _, wide), A, N = at.shape, gradients[0].shape[2], len(W)
        g_state, g_out, g_back = laid_out(gradients[0]), gradients[1].contiguous(), _padded(gradients[2])
        d_state, dz_b, dz_f = torch.empty_like(at), torch.empty_like(z_b), at.new_zeros(G, 4 * N, wide)
        dW = at.new_zeros(torch.get_num_threads(), N, 4 * N)
        _call("back", (G, wide, B, A, False, True), W, at, z_f, z_b, g_state, g_out, g_back, d_state, dz_f, dz_b, dW)
        return dW.sum(0), as_planes(d_state, A), dz_f[..., :A], dz_b


WIDTH = 16  # numbers: inputs are padded to whole vectors of the widest kind


def laid_out(planes: Tensor) -> Tensor:
    """``(2N, G, A, B)`` as the kernel reads it: ``(G, B, 2N, A)`` with A padded; a view of what it has written."""
    turned = planes.permute(1, 3, 0, 2)
    G, B, N2, A = turned.shape
    wide = -(-A // WIDTH) * WIDTH
    strides = (B * N2 * wide, N2 * wide, wide, 1)
    if turned.stride() == strides and turned.storage_offset() == 0:
        return turned.as_strided((G, B, N2, wide), strides)
    return _padded(turned)


def as_planes(laid: Tensor, A: int) -> Tensor:
    """The inverse of :func:`laid_out`, a view."""
    return laid[..., :A].permute(2, 0, 3, 1)


def _padded(tensor: Tensor) -> Tensor:
    """Zeros to a multiple of :data:`WIDTH`."""
    A = tensor.shape[-1]
    out = tensor.new_zeros(*tensor.shape[:-1], -(-A // WIDTH) * WIDTH)
    out[..., :A] = tensor
    return out


class _Sizes(ctypes.Structure):
    _fields_ = [(name, ctypes.c_long) for name in ("G", "A", "B", "inputs", "shared", "moves")] + [
        ("threads", ctypes.c_int)
    ]


def _call(name: str, sizes: tuple[int, ...], W: Tensor, *tensors: Tensor) -> None:
    compiled = _library(len(W), W.dtype)
    assert not isinstance(compiled, str)  # what the caller has made sure of
    pointers = (ctypes.c_void_p(tensor.data_ptr()) for tensor in (W, *tensors))
    getattr(compiled, name)(ctypes.byref(_Sizes(*sizes, torch.get_num_threads())), *pointers)


def _obstacle(W: Tensor, *tensors: Tensor) -> str | None:
    """Why compiled code can't do it."""
    if len(W) % 4:
        return f"it needs units in fours, got {len(W)}"
    if {(t.device.type, t.dtype) for t in tensors} != {("cpu", W.dtype)} or W.dtype not in _NUMBERS:
        return "it needs everything on the CPU, in float32 or in float64"
    if not all(map(has_memory, tensors)):
        return "torch.func transforms it"
    compiled = _library(len(W), W.dtype)
    return compiled if isinstance(compiled, str) else None


_NUMBERS = {torch.float32: "float", torch.float64: "double"}


@functools.cache
def _library(N: int, dtype: torch.dtype) -> ctypes.CDLL | str:
    package = resources.files("lightning_vsml.ticks")
    lanes, kernel = (package.joinpath(file).read_text() for file in ("native/lanes.hpp", "dense/kernel.hpp"))
    before = f"using F = {_NUMBERS[dtype]};\nconstexpr int N = {N};\nnamespace {{\n"
    try:
        return library(f"{before}{lanes}\n}}\n{kernel}", f"{N} units")
    except CompilerError as error:
        return str(error)
