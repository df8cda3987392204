"""The outer optimizer's gradient: exact within a segment, or estimated from a population."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_vsml.meta.sequences.problem import Episode
from lightning_vsml.ticks import Cell

Stepped = tuple[float, list[Tensor], Sequence[Tensor]]  # loss, gradients of the cell, states after the segment


def bptt(cell: Cell, episode: Episode, state: Sequence[Tensor], segment: int) -> Stepped:
    """Backpropagation through the ticks of a segment; what came before it is taken as given."""
    with torch.enable_grad():
        own = Cell(*(parameter.detach().requires_grad_() for parameter in cell))
        loss, after = episode.run(own, state, segment)
        found = torch.autograd.grad(loss, own, allow_unused=True)
    gradients = [torch.zeros_like(p) if g is None else g for g, p in zip(found, cell, strict=True)]
    return float(loss.detach()), gradients, [part.detach() for part in after]


@torch.no_grad()
def evolution(
    cell: Cell, episode: Episode, state: Sequence[Tensor], segment: int, *, pairs: int, std: float, seed: int
) -> Stepped:
    """Antithetic evolution strategies (Salimans et al. 2017): losses of cells to both sides of this one.

    Args:
        cell: where it is.
        episode, state, segment: what is learned.
        pairs: half the population.
        std: of what is added to the parameters.
        seed: of it.
    """
    generator = torch.Generator().manual_seed(seed)
    gradients = [torch.zeros_like(parameter) for parameter in cell]
    for _ in range(pairs):
        noise = [torch.randn(p.shape, generator=generator).to(p) for p in cell]
        sides = (
            float(episode.run(Cell(*(p + sign * std * n for p, n in zip(cell, noise, strict=True))), state, segment)[0])
            for sign in (1, -1)
        )
        slope = (next(sides) - next(sides)) / (2 * std * pairs)
        for gradient, n in zip(gradients, noise, strict=True):
            gradient += slope * n
    loss, after = episode.run(cell, state, segment)
    return float(loss), gradients, after
