"""The outer optimizer's gradient: exact within a segment, or estimated from a population."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_vsml.meta.sequences.problem import Episode, Parameters


class Stepped(NamedTuple):
    """What a segment gave.

    Attributes:
        loss: its.
        gradients: of what is trained, by name.
        state: after it.
    """

    loss: float
    gradients: dict[str, Tensor]
    state: Sequence[Tensor]


def bptt(trained: Parameters, fixed: Parameters, episode: Episode, state: Sequence[Tensor], segment: int) -> Stepped:
    """Backpropagation through a segment; what came before it is taken as given."""
    with torch.enable_grad():
        own = {name: parameter.detach().requires_grad_() for name, parameter in trained.items()}
        loss, after = episode.run({**own, **fixed}, state, segment)
        found = torch.autograd.grad(loss, list(own.values()), allow_unused=True)
    gradients = {n: torch.zeros_like(p) if g is None else g for g, (n, p) in zip(found, own.items(), strict=True)}
    return Stepped(float(loss.detach()), gradients, [part.detach() for part in after])


@torch.no_grad()
def evolution(
    trained: Parameters,
    fixed: Parameters,
    episode: Episode,
    state: Sequence[Tensor],
    segment: int,
    *,
    pairs: int,
    std: float,
    seed: int,
) -> Stepped:
    """Antithetic evolution strategies (Salimans et al. 2017): losses of parameters to both sides of these.

    Args:
        trained, fixed: where it is.
        episode, state, segment: what is learned.
        pairs: half the population.
        std: of what is added to the parameters.
        seed: of it.
    """
    generator = torch.Generator().manual_seed(seed)
    gradients = {name: torch.zeros_like(parameter) for name, parameter in trained.items()}
    for _ in range(pairs):
        noise = {name: torch.randn(p.shape, generator=generator).to(p) for name, p in trained.items()}
        sides = []
        for sign in (1, -1):
            moved = {name: p + sign * std * noise[name] for name, p in trained.items()}
            sides.append(float(episode.run({**moved, **fixed}, state, segment)[0]))
        slope = (sides[0] - sides[1]) / (2 * std * pairs)
        for name, gradient in gradients.items():
            gradient += slope * noise[name]
    loss, after = episode.run({**trained, **fixed}, state, segment)
    return Stepped(float(loss), gradients, after)
