"""One tick of synapses whose messages are vectors, with a way back: what emergent learning algorithms run on.

Their cells are dense, states differ between learners, and meta-training differentiates through thousands of ticks.
:func:`tick` is the readable form, and what runs wherever the compiled ones
(:mod:`~lightning_vsml.ticks.dense.native`, :mod:`~lightning_vsml.ticks.dense.gpu`) can't.
"""

from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightning_vsml.ticks.cell import Cell
from lightning_vsml.ticks.compiled import has_memory
from lightning_vsml.ticks.dense import gpu, native
from lightning_vsml.ticks.dense.layout import as_planes, laid_out, padded


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


TICKS = ("auto", "native", "triton", "reference")


def tick(cell: Cell, state: Tensor, m_f: Tensor, m_b: Tensor, ticks: str = "auto", moves: bool = True) -> Ticked:
    """One LSTM step of every synapse (eqs. 5 and 7 of arXiv 2012.14905, in LSTM form), and its messages.

    Messages are sums over synapses, divided by the square root of their number.

    Args:
        cell: the shared parameters.
        state: h and c of each unit, ``(2N, G, A, B)``; ``(2N, 1, A, B)`` if it is the same for all G.
        m_f: forward messages of the A inputs, ``(G, A, M_f)``.
        m_b: backward messages of the B outputs, ``(G, B, M_b)``.
        ticks: of :data:`TICKS`; ``"native"``: in C++; ``"triton"``: on a GPU, without a way back; ``"reference"``: by
            :func:`lstm`; ``"auto"``: what works.
        moves: whether the next state is wanted; if not, it may be empty.

    Raises:
        RuntimeError: ``ticks`` can't do it; says why.
    """
    A, B = state.shape[2:]
    z_f = (m_f @ cell.V).mT  # (G, 4N, A)
    z_b = m_b @ cell.U + cell.b  # (G, B, 4N)
    given = (cell.W, state, z_f, z_b)
    learns = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in given)
    chosen = _choose(ticks, learns, given)
    if chosen is None:
        state, out, back = lstm(*given)
    elif learns:
        state, out, back = Stepped.apply(cell.W, state.expand(-1, len(m_f), -1, -1), z_f, z_b)
    else:
        at, out, back = chosen.forward(cell.W.contiguous(), laid_out(state), padded(z_f), z_b.contiguous(), A, moves)
        state, back = as_planes(at, A), back[..., :A]
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


class Stepped(torch.autograd.Function):
    """:func:`lstm` in C++. Gates are computed again on the way back, so that a long unroll keeps states alone."""

    @staticmethod
    def forward(ctx: Any, W: Tensor, state: Tensor, z_f: Tensor, z_b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        A, read = state.shape[2], (W.contiguous(), laid_out(state), padded(z_f), z_b.contiguous())
        ctx.save_for_backward(*read)
        after, out, back = native.forward(*read, A, True)
        return as_planes(after, A), out, back[..., :A]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        (W, state, z_f, z_b), (after, out, back), A = ctx.saved_tensors, gradients, gradients[0].shape[2]
        dW, d_state, dz_f, dz_b = native.backward(W, state, z_f, z_b, (after, out, back))
        return dW, as_planes(d_state, A), dz_f[..., :A], dz_b


_COMPILED: dict[str, ModuleType] = {"native": native, "triton": gpu}


def _choose(ticks: str, learns: bool, tensors: tuple[Tensor, ...]) -> ModuleType | None:
    """What steps these tensors: compiled code, or ``None`` for :func:`lstm`."""
    if ticks == "reference":
        return None
    if not all(map(has_memory, tensors)):
        obstacle: str | None = "torch.func transforms it"
    elif learns and ticks == "triton":
        obstacle = "Triton ticks have no way back"
    else:
        name = ticks if ticks != "auto" else "triton" if tensors[0].is_cuda and not learns else "native"
        obstacle = _COMPILED[name].obstacle(*tensors)
        if obstacle is None:
            return _COMPILED[name]
    if ticks != "auto":
        raise RuntimeError(f"ticks={ticks!r} can't be run here: {obstacle}.")
    return None
