"""Random data for cloning: synapse grids that live on, each in a world of its own.

A grid keeps the states that its own cell has left there, so that a cell meets what it does to them in the long run
(as the pools of growing neural cellular automata do); now and then it is born again, in another world.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from lightning_vsml.cloning.structure import Clone
from lightning_vsml.ticks import State


@dataclass(frozen=True)
class Worlds:
    """The distribution that worlds are drawn from; ranges are log-uniform.

    Attributes:
        grids, inputs, outputs, samples: G, A, B, S; together one batch of synapses.
        x_std, e_std, w_std: standard deviations of input, feedback and initial weights.
        background: largest mean of the inputs, in their standard deviations.
        silence: largest fraction of inputs that are 0.
        lifetime: steps that a grid lives on average; 1 takes new data every time, as the paper does.
    """

    grids: int = 16
    inputs: int = 5
    outputs: int = 5
    samples: int = 12
    x_std: tuple[float, float] = (0.2, 2.0)
    e_std: tuple[float, float] = (0.02, 1.5)
    w_std: tuple[float, float] = (0.03, 1.0)
    background: float = 1.0
    silence: float = 0.7
    lifetime: float = 100.0


class Pool(NamedTuple):
    """Living grids.

    Attributes:
        h, c: their states, ``(G, A, B, N)``.
        teacher: weights that the driven ones of them are led to, ``(G, A, B)``.
        x_std, x_mean, silence, e_std: of their worlds, ``(G, 1)``.
        driven: 1 where the feedback is what a linear task gives, 0 where it is noise, ``(G, 1)``.
    """

    h: Tensor
    c: Tensor
    teacher: Tensor
    x_std: Tensor
    x_mean: Tensor
    silence: Tensor
    e_std: Tensor
    driven: Tensor

    @property
    def state(self) -> State:
        """The grids' states."""
        return State(self.h, self.c)


def born(worlds: Worlds, clone: Clone, memories: int, generator: Generator) -> Pool:
    """A pool of newborn grids: random weights, other memories 0."""
    device, (G, A, B) = generator.device, (worlds.grids, worlds.inputs, worlds.outputs)

    def uniform(low: float = 0.0, high: float = 1.0) -> Tensor:
        return low + (high - low) * torch.rand(G, 1, generator=generator, device=device)

    def scale(limits: tuple[float, float]) -> Tensor:
        return uniform(*map(math.log, limits)).exp()

    def normal() -> Tensor:
        return torch.randn(G, A, B, generator=generator, device=device)

    w_std, x_std = scale(worlds.w_std).unsqueeze(-1), scale(worlds.x_std)
    weights = w_std * normal()
    with torch.no_grad():
        state = clone.encode((weights, *[torch.zeros_like(weights)] * (memories - 1)))
    return Pool(
        *state,
        teacher=w_std * normal(),
        x_std=x_std,
        x_mean=x_std * uniform(-worlds.background, worlds.background),
        silence=uniform(high=worlds.silence),
        e_std=scale(worlds.e_std),
        driven=(uniform() < 0.5).to(weights.dtype),
    )


def renew(pool: Pool, newborn: Pool, dead: Tensor) -> Pool:
    """``newborn`` where ``dead`` (G,), else ``pool``."""
    return Pool(
        *(torch.where(dead.view(-1, *[1] * (old.dim() - 1)), new, old) for old, new in zip(pool, newborn, strict=True))
    )


def inputs(pool: Pool, worlds: Worlds, generator: Generator) -> Tensor:
    """Inputs of one step: ``(S, G, A)``."""
    shape, device = (worlds.samples, worlds.grids, worlds.inputs), generator.device
    x = pool.x_std * torch.randn(shape, generator=generator, device=device) + pool.x_mean
    return x * (torch.rand(shape, generator=generator, device=device) >= pool.silence)


def feedback(pool: Pool, x: Tensor, y: Tensor, generator: Generator) -> Tensor:
    """Feedback of one step: noise, or the error of a linear task, of the world's size; ``(S, G, B)``.

    Args:
        pool: the grids.
        x: their inputs, ``(S, G, A)``.
        y: their outputs, ``(S, G, B)``.
        generator: of the noise.
    """
    noise = torch.randn(y.shape, generator=generator, device=y.device)
    error = torch.einsum("sga,gab->sgb", x, pool.teacher) - y
    error = error / (rms(error, (0, 2)) + 1e-6)
    return pool.e_std * torch.where(pool.driven > 0, error, noise)


def rms(values: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Root mean square over ``dims``, which are kept."""
    return values.square().mean(dims, keepdim=True).sqrt()
