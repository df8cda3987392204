"""The readable tick: eq. 5 and 7 of Kirsch & Schmidhuber (arXiv 2012.14905) in LSTM form.

It is written in the separated form: what depends on the synapse alone is computed at (A, B), what
depends on a sample and an input at (R, A), on a sample and an output at (R, B); only their sum and the gate
nonlinearities live at (R, A, B). Rows (samples and positions) are processed in slices that fit a CPU
cache, and only sums over them are kept.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from lightning_vsml.ticks.cell import Cell, State, Tick

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
    z = (state.h @ cell.W + cell.b).chunk(4, dim=-1)
    for message, weights, shared in ((m_f, cell.V, -2), (m_b, cell.U, -3)):
        if message is not None:
            z = [own + m for own, m in zip(z, (message @ weights).unsqueeze(shared).chunk(4, dim=-1), strict=True)]
    i, f, g, o = z  # Eq. (5)
    c = torch.sigmoid(f) * state.c + torch.sigmoid(i) * torch.tanh(g)  # Eq. (7)
    h = torch.sigmoid(o) * torch.tanh(c)
    return State(h, c)


def unroll(cell: Cell, ticks: tuple[Tick, ...], state: State, x: Tensor, e: Tensor) -> State:
    """Run ``ticks`` from a merged state, each row by itself.

    Args:
        cell: the shared parameters.
        ticks: which channels are fed at each step.
        state: the merged state, ``(G, A, B, N)``.
        x: the layer's input, ``(R, G, A)``.
        e: the feedback, ``(R, G, B)``.

    Returns:
        The state of every row after the last tick, ``(R, G, A, B, N)``.
    """
    for step in ticks:
        state = tick(cell, state, _feed(x, step.x, cell.V), _feed(e, step.e, cell.U))
    return state


def forward(cell: Cell, ticks: tuple[Tick, ...], state: State, x: Tensor) -> Tensor:
    """Forward message out of every output neuron.

    Args:
        cell: the shared parameters.
        ticks: the protocol's forward ticks.
        state: the merged state, ``(G, A, B, N)``.
        x: the layer's input, ``(R, G, A)``; rows R are samples times positions.

    Returns:
        ``sum_a h_ab P_f``, shape ``(R, G, B, M_f')``.
    """
    e = x.new_zeros(*x.shape[:2], state.h.shape[-2])
    finals = (unroll(cell, ticks, state, *rows) for rows in _slices(state, x, e))
    return torch.cat([final.h.sum(dim=-3) @ cell.P_f for final in finals])


def learn(cell: Cell, ticks: tuple[Tick, ...], state: State, x: Tensor, e: Tensor) -> tuple[State, Tensor]:
    """Learn ticks: how the states change, and the backward message out of every input neuron.

    Args:
        cell: the shared parameters.
        ticks: the protocol's learn ticks.
        state: the merged state, ``(G, A, B, N)``; every row starts from it.
        x: the layer's input, ``(R, G, A)``.
        e: the feedback at its outputs, ``(R, G, B)``.

    Returns:
        The change of the state summed over rows, ``(G, A, B, N)`` each for h and c; and the message
        ``sum_b h_ab P_b``, shape ``(R, G, A, M_b')``.
    """
    change = State(torch.zeros_like(state.h), torch.zeros_like(state.c))
    messages = []
    for rows in _slices(state, x, e):
        final = unroll(cell, ticks, state, *rows)
        change = State(*(total + (new - old).sum(0) for total, new, old in zip(change, final, state, strict=True)))
        messages.append(final.h.sum(dim=-2) @ cell.P_b)
    return change, torch.cat(messages)


def _feed(message: Tensor, channels: tuple[int, ...], parameters: Tensor) -> Tensor | None:
    """``message`` (R, G, D) on the given channels, 0 on the others: ``(R, G, D, M)``; ``None`` if it is on none."""
    if not channels:
        return None
    fed = message.new_zeros(parameters.shape[0])
    fed[list(channels)] = 1.0
    return message.unsqueeze(-1) * fed


def _slices(state: State, x: Tensor, e: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    rows = max(1, SLICE_ELEMENTS // max(1, state.h.numel()))
    return zip(x.split(rows), e.split(rows), strict=True)
