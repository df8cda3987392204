"""What the weights and biases of a layer do with messages: they change, and pass messages back."""

import torch
from torch import Tensor

from lightning_vsml.algorithms.change import Change
from lightning_vsml.algorithms.mplp import nodes
from lightning_vsml.algorithms.mplp.nodes import Sizes
from lightning_vsml.algorithms.mplp.rules import Rules
from lightning_vsml.ticks import Site


def learn(
    rules: Rules, sizes: Sizes, state: Tensor, site: Site, e: Tensor, message: bool = True
) -> tuple[Change, Tensor]:
    """Messages from behind to the layer's change, and messages back.

    Args:
        rules: of the layer's nodes.
        sizes: of their messages and hidden states.
        state: parameters and hidden states, ``(1 + K, G, A, B)``.
        site: the layer's input.
        e: messages from behind, as rows ``(R, G, B, M)``.
        message: whether messages back are wanted; else they are 0.

    Returns:
        The change summed over rows, and messages averaged over outputs, ``(R, G, A, M)`` without the bias.
    """
    rows = site.as_rows(site.x)
    R, G, A = rows.shape
    back = e.new_zeros(R, G, A, sizes.messages)
    if not R:
        return Change(torch.zeros_like(state), 0), back
    grain = A**0.5  # parameters count in units of 1 / sqrt(fan-in)
    changes = []
    for kind, part in (("weight", state[:, :, :A]), ("bias", state[:, :, A:])):
        if not part.numel():
            continue
        parts = {"message": e.unsqueeze(2), "parameter": (part[0] * grain).unsqueeze(0).unsqueeze(-1)}
        if kind == "weight":
            parts["input"] = rows.reshape(R, G, A, 1, 1)
        carry = part[1:].movedim(0, -1).unsqueeze(0) if sizes.carry else None
        wanted = message and kind == "weight"
        told, update, after = nodes.run(rules.V, rules.key(kind), rules.fed(kind, parts), sizes.messages, carry, wanted)
        assert update is not None
        planes = [(rules.moved(kind, update) / grain).sum(0).movedim(-1, 0)]
        if carry is not None and after is not None:
            planes.append((after - carry).sum(0).movedim(-1, 0))
        changes.append(torch.cat(planes))
        if wanted:
            back = told.mean(3)
    return Change(torch.cat(changes, 2), R), back
