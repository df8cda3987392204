"""Where messages of an algorithm's own are left on their way back, and the functions that take them on.

Autograd says when: every function on the way is an operation of its own. A gradient goes through it as well, which is
what a loss has that no rule stands for; it ends at the layer that the loss looks at.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightning_vsml.algorithms.base import Algorithm
from lightning_vsml.binding.parameter import plainly

Derivative = Callable[[Tensor], Tensor]  # a number behind a function -> times its derivative
Rule = Callable[[Tensor, Derivative], Tensor]  # messages behind a function -> messages before it


@dataclass
class Link:
    """What is known of a tensor that layers have made.

    Attributes:
        layer: whose output it was.
        algorithm: of that layer.
        seen: what the model sees, which autograd follows.
        numbers: messages forward, M tensors of its shape, where these are more than what is seen.
        fed: layers that got it.
        mail: messages back that were left here, ``(..., M)`` each.
    """

    layer: str
    algorithm: Algorithm
    seen: Tensor
    numbers: tuple[Tensor, ...] | None = None
    fed: list[str] = field(default_factory=list)
    mail: list[Tensor] = field(default_factory=list)

    def take(self) -> Tensor | None:
        """What was left here; where several functions have used the tensor, their sum, as derivatives are summed."""
        mail, self.mail = self.mail, []
        return torch.stack(mail).sum(0) if len(mail) > 1 else mail[0] if mail else None


class Function(NamedTuple):
    """A function of a model, as it was called.

    Attributes:
        inputs: leaves in place of what it was called with.
        output: what it gave, of these.
        sources: links of what it was called with; None for what autograd follows without messages.
        link: of its output.
        rule: how messages go back; by the derivative if None.
    """

    inputs: Sequence[Tensor]
    output: Tensor
    sources: Sequence[Link | None]
    link: Link
    rule: Rule | None


class Operation(torch.autograd.Function):
    """A function between layers: its inputs -> its output; back go a gradient, if there is one, and messages."""

    @staticmethod
    def forward(ctx: Any, function: Function, *seen: Tensor) -> Tensor:
        ctx.set_materialize_grads(False)
        ctx.function = function
        return function.output.detach()

    @staticmethod
    def backward(ctx: Any, g: Tensor | None) -> tuple[Tensor | None, ...]:
        function: Function = ctx.function
        with plainly(), torch.autocast(function.output.device.type, enabled=False):
            gradients = [None] * len(function.inputs) if g is None else _derived(function, g)
            if (m := function.link.take()) is not None:
                _leave(function, m)
        return None, *gradients


def operate(
    how: Callable[..., Any],
    sources: Sequence[Link],
    rule: Rule | None = None,
    in_place: bool = False,
    others: Sequence[Tensor] = (),
) -> tuple[Any, Callable[[Tensor], Link]]:
    """Call a function so that messages come back through it.

    Args:
        how: the function, of what the sources' links see, and of the others.
        sources: links of its inputs.
        rule: how messages go back; by the derivative if None.
        in_place: it may change its inputs.
        others: what it was called with besides that autograd follows.

    Returns:
        What it gives, and what makes a link of it, or of a tensor in it.
    """
    followed = [*(source.seen for source in sources), *others]
    learning = torch.is_grad_enabled() and any(x.requires_grad for x in followed)
    inputs = [x.detach().requires_grad_(learning) for x in followed]
    output = how(*(x.clone() if in_place else x for x in inputs))

    def link(part: Tensor) -> Link:
        first = sources[0]
        behind = Link(first.layer, first.algorithm, part, fed=first.fed)
        if learning and part.requires_grad:
            function = Function(inputs, part, [*sources, *[None] * len(others)], behind, rule)
            behind.seen = Operation.apply(function, *followed)
        return behind

    return output, link


def unchanged(m: Tensor, derived: Derivative) -> Tensor:
    """The rule of what messages go around."""
    return m


def _leave(function: Function, m: Tensor) -> None:
    """Take messages ``(..., M)`` on, to what the function was called with."""
    if function.rule is not None:
        first = function.sources[0]
        assert first is not None
        first.mail.append(function.rule(m, partial(_first, function)))
        return
    numbers = [_derived(function, number.to(function.output.dtype)) for number in m.unbind(-1)]
    for source, parts in zip(function.sources, zip(*numbers, strict=True), strict=True):
        if source is not None and parts[0] is not None:
            source.mail.append(torch.stack(parts, -1).to(m.dtype))


def _first(function: Function, g: Tensor) -> Tensor:
    found = _derived(function, g)[0]
    return torch.zeros_like(function.inputs[0]) if found is None else found


def _derived(function: Function, g: Tensor) -> tuple[Tensor | None, ...]:
    return torch.autograd.grad(function.output, list(function.inputs), g, retain_graph=True, allow_unused=True)
