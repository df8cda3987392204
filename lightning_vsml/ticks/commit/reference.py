"""The readable commit phase: eq. 5 and 7 of Kirsch & Schmidhuber (arXiv 2012.14905) on the merged state."""

import torch
from torch import Tensor

from lightning_vsml.ticks.cell import Cell, CommitTick, State
from lightning_vsml.ticks.commit.plan import Told
from lightning_vsml.ticks.reference import tick


def commit_by_ticks(cell: Cell, ticks: tuple[CommitTick, ...], state: State, told: Told) -> State:
    """Run commit ticks.

    Args:
        cell: a single one.
        ticks: of the protocol.
        state: merged, ``(G, A, B, N)``.
        told: from outside.

    Returns:
        The state after them.
    """
    for step in ticks:
        m_f = _channels(state.h[:, :, 0], cell.V)  # (G, A, M_f)
        m_b = _channels(state.h[:, 0], cell.U)  # (G, B, M_b)
        for channel in step.one:
            m_f[..., channel] += 1.0
        channels_of = (step.bias, step.plain, step.rate, step.annealed, step.depth)
        for channels, values in zip(channels_of, told.vectors, strict=True):
            for channel in channels:
                m_f[..., channel] += values
        for column, channel in step.outputs:
            m_b[..., channel] += torch.asinh((state.h @ cell.P_f[:, column]).sum(1))
        for column, channel in step.inputs:
            m_f[..., channel] += torch.asinh((state.h @ cell.P_b[:, column]).sum(2))
        state = tick(cell, state, m_f, m_b)
    return state


def _channels(like: Tensor, parameters: Tensor) -> Tensor:
    return like.new_zeros(*like.shape[:-1], parameters.shape[0])
