"""How far a cell is from a learning rule, on one step of a pool of grids."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_vsml.cloning.pool import rms
from lightning_vsml.cloning.structure import PROTOCOL, Clone
from lightning_vsml.cloning.targets import Target
from lightning_vsml.ticks import State
from lightning_vsml.ticks.reference import unroll


class Errors(NamedTuple):
    """Differences of cell and rule, in units in which 1 is the size of the rule's own answer.

    Attributes:
        forward: of the neurons' outputs, ``(S, G, B)``.
        backward: of the messages, ``(S, G, A)``.
        change: of every sample's changes of its memories, ``(memories, S, G, A, B)``.
        systematic: of the means of changes over samples, as if their size were that of a mean of noise: what samples
            have in common adds up over steps, ``(memories, G, A, B)``.
    """

    forward: Tensor
    backward: Tensor
    change: Tensor
    systematic: Tensor


def outputs(target: Target, memories: tuple[Tensor, ...], x: Tensor) -> Tensor:
    """What the rule gives at the outputs: ``x`` (S, G, A) -> ``(S, G, B)``."""
    return target.rule(x.unsqueeze(-1), torch.zeros_like(x[:, :, :1, None]), memories).forward.sum(-2)


def compare(clone: Clone, target: Target, state: State, x: Tensor, e: Tensor) -> tuple[Errors, State]:
    """One learning step by the cell and by the rule.

    Args:
        clone: the cell in training.
        target: the rule.
        state: merged, ``(G, A, B, N)``; the memories that it stands for are where the rule starts from.
        x: inputs, ``(S, G, A)``.
        e: feedback, ``(S, G, B)``.

    Returns:
        The errors, and the state that the cell leaves, merged by the mean over samples.
    """
    cell, memories = clone.cell(), clone.decode(state.c)
    right = target.rule(x.unsqueeze(-1), e.unsqueeze(-2), memories)
    S = x.shape[0]

    y = (unroll(cell, PROTOCOL.forward, state, x, e).h.sum(-3) @ cell.P_f).squeeze(-1)
    final = unroll(cell, PROTOCOL.learn, state, x, e)
    message = (final.h.sum(-2) @ cell.P_b).squeeze(-1)
    changes = torch.stack(clone.decode(final.c - state.c))
    wanted = torch.stack([change.expand(S, *memories[0].shape) for change in right.changes])

    def relative(got: Tensor, want: Tensor, size: Tensor) -> Tensor:
        return (got - want) / size.detach().clamp_min(1e-6)

    y_right, message_right = right.forward.sum(-2), right.backward.sum(-1)
    change_size = rms(wanted, (1, 3, 4))
    errors = Errors(
        forward=relative(y, y_right, rms(y_right, (0, 2))),
        backward=relative(message, message_right, rms(message_right, (0, 2))),
        change=relative(changes, wanted, change_size),
        systematic=relative(changes.mean(1), wanted.mean(1), change_size.squeeze(1) / math.sqrt(S)),
    )
    return errors, State(final.h.mean(0), final.c.mean(0))
