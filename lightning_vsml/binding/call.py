"""A use of a grid as an operation of autograd: forward ticks on the way there, learn ticks on the way back."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightning_vsml.algorithms.base import Algorithm
from lightning_vsml.binding.grids import Grid
from lightning_vsml.binding.parameter import GraphError, plainly
from lightning_vsml.ticks import Site


class Use(NamedTuple):
    """What a call needs of the moment in which it happened.

    Attributes:
        name: of the grid.
        grid: its parameters.
        algorithm: how its synapses run.
        state: theirs, ``(P, G, A, B)``.
        trainable: which of the parameters learn.
        samples: S of the pass that it belongs to.
        learn: takes the way back: use, site, what neurons told their synapses, dLoss/dOutput, and whether the message
            is wanted; gives dLoss/dInput.
        by_ticks: whether forward ticks compute the output, or the decoded weights.
        learn_messages: as ``learn``, where messages are the algorithm's own: use, site, the inputs' messages if they
            are more than its values, what it has sent, messages and dLoss/dOutput from behind, whichever there is, as
            rows, and whether messages back are wanted; gives these.
    """

    name: str
    grid: Grid
    algorithm: Algorithm
    state: Tensor
    trainable: tuple[bool, ...]
    samples: int
    learn: Callable[["Use", Site, list[Tensor] | None, Tensor, bool], Tensor | None]
    by_ticks: bool
    learn_messages: Callable[["Use", Site, Tensor | None, list[Tensor], Tensor | None, Tensor | None, bool], Tensor]


class MappedCall(torch.autograd.Function):
    """``(x, anchor) -> y`` in the layouts of a site; the anchor makes it part of the graph whatever x is."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, anchor: Tensor, site: Site, use: Use) -> Tensor:
        used = site.at(x)
        if use.by_ticks:
            y, *own = use.algorithm.send(use.state, used)
        else:
            weights = use.algorithm.decode(used.select(use.state))
            y, own = used.forward(x, 1.0, weights, 1.0), []
        ctx.site, ctx.use = used.at(None), use  # activation checkpointing wants every large tensor to be saved
        ctx.save_for_backward(x, *own)
        return y.clone() if y._is_view() else y  # the user may work in place on it

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, None, None, None]:
        use: Use = ctx.use
        try:
            x, *own = ctx.saved_tensors
        except RuntimeError as error:
            if "inplace operation" not in str(error):
                raise
            raise GraphError(
                f"the input of layer {use.name!r} was changed in place after the layer had used it; learning needs it "
                "as it was. Use the out-of-place operation, or clone it first."
            ) from error
        if torch.is_grad_enabled():
            raise GraphError(
                f"autograd.grad(..., create_graph=True) goes through layer {use.name!r}, whose backward message is no "
                "function of its weights that autograd knows: there is no second derivative (a gradient penalty). "
                f'Leave such layers to your optimizer, optimizer=("{use.name}", ...), or do without the penalty.'
            )
        with plainly(), torch.autocast(g.device.type, enabled=False):
            told = own if use.by_ticks else None
            message = use.learn(use, ctx.site.at(x), told, g, ctx.needs_input_grad[0])
        return message, None, None, None
