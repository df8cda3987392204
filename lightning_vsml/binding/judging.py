"""Losses that an algorithm has a rule for: the model gets the loss, and what it is about gets messages."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_vsml.binding.links import Link
from lightning_vsml.binding.parameter import GraphError, plainly

LOSSES: dict[str, Callable[..., Tensor]] = {"cross_entropy": F.cross_entropy, "mse_loss": F.mse_loss}


class Case(NamedTuple):
    """What a loss is of.

    Attributes:
        function: its name.
        link: of the outputs.
        target: as the function takes it.
        value: of the function.
    """

    function: str
    link: Link
    target: Tensor
    value: Tensor


class Judged(torch.autograd.Function):
    """Outputs -> the loss; back go the algorithm's messages, and no gradient."""

    @staticmethod
    def forward(ctx: Any, case: Case, seen: Tensor) -> Tensor:
        ctx.case = case
        ctx.save_for_backward(seen)
        return case.value

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[None, None]:
        function, link, target, _ = ctx.case
        (seen,) = ctx.saved_tensors
        with plainly(), torch.autocast(seen.device.type, enabled=False):
            wide = seen.to(torch.promote_types(seen.dtype, torch.float32))
            link.mail.append(link.algorithm.judge(function, wide, target, g.to(wide)))
        return None, None


def judge(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], link: Link) -> Tensor:
    """The loss of a layer's outputs.

    Raises:
        GraphError: it is called in a way that the rule knows nothing of.
    """
    name = func.__name__
    given = inspect.signature(LOSSES[name]).bind(*args, **kwargs)
    given.apply_defaults()
    values = given.arguments
    y, target = link.seen, values["target"]
    if others := [what for what, usual in _USUAL.items() if what in values and values[what] != usual]:
        raise GraphError(
            f"{name} of layer {link.layer!r} is called with {', '.join(f'{w}={values[w]!r}' for w in others)}, which "
            f"{link.algorithm.name!r} has no rule for. Leave that out."
        )
    if values["input"].link is not link or (name == "mse_loss" and target.shape != y.shape):
        raise GraphError(
            f"{name} of layer {link.layer!r} should be called with the layer's output and a target"
            f"{' of the same shape' if name == 'mse_loss' else ''}, got a target {tuple(target.shape)} for outputs "
            f"{tuple(y.shape)}."
        )
    value = LOSSES[name](y.detach(), target)
    return Judged.apply(Case(name, link, target, value), y) if torch.is_grad_enabled() else value


_USUAL = {"weight": None, "ignore_index": -100, "reduce": None, "size_average": None, "label_smoothing": 0.0} | {
    "reduction": "mean"
}
