"""The readable tick: eq. 5 and 7 of Kirsch & Schmidhuber (arXiv 2012.14905) in LSTM form.

It is written in the separated form: what depends on the synapse alone is computed at (A, B), what
depends on a sample and an input at (R, A), on a sample and an output at (R, B); only their sum and the gate
nonlinearities live at (R, A, B). Rows (samples and positions) are processed in slices that fit a CPU
cache, and only sums over them are kept.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_vsml.ticks.cell import Cell, State, Tick, carried, carry
from lightning_vsml.ticks.sliced import Sliced

# Elements of one gate of one slice; 2 MB in float32. Measured best on two CPU cores for 784 x 32 synapses.
SLICE_ELEMENTS = 2**19


def tick(cell: Cell, state: State, m_f: Tensor | None, m_b: Tensor | None) -> State:
    """One LSTM step of every synapse; leading dimensions broadcast.

    Args:
        cell: the shared parameters.
        state: h and c, ``(..., A, B, N)``.
        m_f: forward message, ``(..., A, M_f)``, the same for all B synapses leaving an input.
        m_b: backward message, ``(..., B, M_b)``, the same for all A synapses reaching an output. ``None`` is 0.

    Returns:
        The next state, ``(..., A, B, N)``.
    """
    z: Sequence[Tensor] = (state.h @ cell.W + cell.b).chunk(4, dim=-1)
    for message, weights, shared in ((m_f, cell.V, -2), (m_b, cell.U, -3)):
        if message is not None:
            z = [own + m for own, m in zip(z, (message @ weights).unsqueeze(shared).chunk(4, dim=-1), strict=True)]
    i, f, g, o = z  # Eq. (5)
    c = torch.sigmoid(f) * state.c + torch.sigmoid(i) * torch.tanh(g)  # Eq. (7)
    h = torch.sigmoid(o) * torch.tanh(c)
    return State(h, c)


def unroll(cell: Cell, ticks: tuple[Tick, ...], state: State, x: Tensor, e: Tensor, own: Tensor | None = None) -> State:
    """Run ``ticks`` from a merged state, each row by itself.

    Args:
        cell: the shared parameters.
        ticks: which channels are fed at each step.
        state: the merged state, ``(G, A, B, N)``.
        x: the layer's input, ``(R, G, A)``.
        e: the feedback, ``(R, G, B)``.
        own: the neurons' own messages, ``(R, G, B, O)``.

    Returns:
        The state of every row after the last tick, ``(R, G, A, B, N)``.
    """
    told = carry(carried(ticks), e, own).unbind(-1)
    for step in ticks:
        state = tick(cell, state, _feed((x,), (step.x,), cell.V), _feed(told, step.backward, cell.U))
    return State(*(part.expand(x.shape[0], -1, -1, -1, -1) for part in state))  # rows, even if nothing was fed


class Reference(Sliced):
    """Both phases of a protocol on one cell.

    Args:
        cell: the shared parameters.
        forward: the protocol's forward ticks.
        learn: the protocol's learn ticks.
        codec: units whose c the codec writes or reads; not needed here, where every unit is computed.
    """

    def __init__(self, cell: Cell, forward: tuple[Tick, ...], learn: tuple[Tick, ...], codec: frozenset[int]) -> None:
        self.cell, self.forward_ticks, self.learn_ticks = cell, forward, learn

    def _forward(self, cell: Cell, state: State, x: Tensor, e: Tensor) -> tuple[Tensor]:
        return (unroll(cell, self.forward_ticks, state, x, e[..., 0]).h.sum(dim=-3) @ cell.P_f,)

    def _learn(self, cell: Cell, state: State, x: Tensor, e: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        final = unroll(cell, self.learn_ticks, state, x, e[..., 0], e[..., 1:])
        change_h, change_c = ((new - old).sum(0) for new, old in zip(final, state, strict=True))
        return change_h, change_c, final.h.sum(dim=-2) @ cell.P_b

    def _rows(self, phase: str, state: State) -> int:
        return SLICE_ELEMENTS // max(1, state.h.numel())


def _feed(messages: tuple[Tensor, ...], channels: tuple[tuple[int, ...], ...], parameters: Tensor) -> Tensor | None:
    """Each of ``messages`` (R, G, D) on its channels, 0 on the others: ``(R, G, D, M)``; ``None`` if on none."""
    total = None
    for message, on in zip(messages, channels, strict=False):  # a tick may feed fewer than another
        if on:
            fed = message.new_zeros(parameters.shape[0])
            fed[list(on)] = 1.0
            total = message.unsqueeze(-1) * fed if total is None else total + message.unsqueeze(-1) * fed
    return total
