"""A layer's call where messages are the algorithm's own: forwards from its inputs, back from what was left there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import Tensor

from lightning_vsml.binding.call import Use
from lightning_vsml.binding.carried import Carried, link_of
from lightning_vsml.binding.links import Link, operate, unchanged
from lightning_vsml.binding.parameter import GraphError, plainly

if TYPE_CHECKING:
    from lightning_vsml.binding.passes import Passes
    from lightning_vsml.ticks import Site


def call(
    passes: Passes, use: Use, begins: bool, dtype: torch.dtype, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Tensor:
    """The function that uses a grid.

    Args:
        passes: what the call is part of.
        use: what it needs to know.
        begins: whether it may be a model's first layer, which takes numbers as they are.
        dtype: of what the model sees.
        args, kwargs: of the function.

    Raises:
        GraphError: its input is neither the model's nor what another layer sent.
    """
    x, *others = args
    source = link_of(x)
    numbers = _entering(use, x, begins) if source is None else _sent(use, source)
    wide = use.state.dtype
    sites: list[Site] = []

    def at_site(x: Tensor) -> Tensor:
        def note(site: Site) -> Tensor:
            sites.append(site)
            return site.x.new_zeros(()).expand(site.output_shape)

        use.grid.call(note, x.to(wide), *others, **kwargs)
        return sites[-1].x

    if source is None:
        before, seen = None, at_site(x)
    else:
        reached, link = operate(at_site, [source])
        before = link(reached)
        seen = before.seen
    site = sites[0].at(seen)
    inputs = None if numbers is None else _rows(site, [at_site(number) for number in numbers])
    behind = Link(use.name, use.algorithm, seen)
    behind.seen, *sent = MessageCall.apply(passes._anchor, use, site, inputs, before, behind, seen)

    def as_output(y: Tensor) -> Tensor:
        return use.grid.call(lambda _: y, x, *others, **kwargs)

    shaped, link = operate(as_output, [behind])
    after = link(shaped)
    if dtype != wide:
        cast, link = operate(lambda y: y.to(dtype), [after], unchanged)
        after = link(cast)
    after.numbers = tuple(as_output(number) for number in sent) if sent else None
    return Carried.of(after)


def _sent(use: Use, source: Link) -> tuple[Tensor, ...] | None:
    """Messages of an input that another layer has sent; None where they are its values."""
    if source.numbers is not None and source.fed and source.fed != [use.name]:
        _refuse(use, f"layer {source.layer!r} feeds {source.fed[0]!r} as well")
    source.fed[:] = [use.name]
    return source.numbers


def _entering(use: Use, x: Tensor, begins: bool) -> tuple[Tensor, ...] | None:
    numbers = use.algorithm.enter(x.to(use.state.dtype))
    if numbers is not None and not begins:
        _refuse(use, "its input is not what another mapped layer sent")
    if x.requires_grad:
        _refuse(use, "its input asks for a gradient")
    return None if numbers is None else numbers.unbind(-1)


def _refuse(use: Use, why: str) -> NoReturn:
    raise GraphError(
        f"layer {use.name!r}: {why}. Of {use.algorithm.name!r}, {use.algorithm.ways()}. "
        "Choose an algorithm whose messages are gradients, such as 'backprop', for models that do anything else."
    )


class MessageCall(torch.autograd.Function):
    """A grid's own part: inputs -> outputs, in the layouts of a site, the first number and, where there are more, all
    of them; back go messages.
    """

    @staticmethod
    def forward(
        ctx: Any,
        anchor: Tensor,
        use: Use,
        site: Site,
        inputs: Tensor | None,
        before: Link | None,
        behind: Link,
        seen: Tensor,
    ) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.site, ctx.use, ctx.before, ctx.behind = site.at(None), use, before, behind
        y, *own = use.algorithm.send(use.state, site if inputs is None else inputs)
        ctx.save_for_backward(seen, inputs, *own)
        if inputs is None:
            return (y.clone() if y._is_view() else y,)
        sent = [site.rows_as_outputs(number) for number in y.unbind(-1)]
        ctx.mark_non_differentiable(*sent)
        return sent[0].clone(), *sent

    @staticmethod
    def backward(ctx: Any, g: Tensor | None, *_: None) -> tuple[None, ...]:
        seen, inputs, *own = ctx.saved_tensors
        use, before, m = ctx.use, ctx.before, ctx.behind.take()
        site = ctx.site.at(seen)
        with plainly(), torch.autocast(seen.device.type, enabled=False):
            if m is not None and g is not None:
                _refuse(use, "its output feeds another layer, and the loss as well")
            if m is not None:
                m = torch.stack([site.outputs_as_rows(number) for number in m.to(use.state.dtype).unbind(-1)], -1)
            gradient = None if g is None else site.outputs_as_rows(g.to(use.state.dtype))
            if m is None and gradient is None:
                return (None,) * 7
            sent = [seen, *own]  # of what was sent only what neurons told themselves counts
            back = use.learn_messages(use, site, inputs, sent, m, gradient, before is not None)
            if before is not None:
                before.mail.append(_to_inputs(site, back))
        return (None,) * 7


def _rows(site: Site, xs: list[Tensor]) -> Tensor:
    """Messages of a layer's inputs, and of its bias: ``(R, G, A, M)``."""
    rows = torch.stack([site.as_rows(x) for x in xs], -1)
    if not site.bias:
        return rows
    bias = torch.zeros_like(rows[:, :, :1])
    bias[..., 0] = 1
    return torch.cat([rows, bias], 2)


def _to_inputs(site: Site, back: Tensor) -> Tensor:
    """Messages ``(R, G, A, M)``, averaged where inputs have sent to several rows: ``(..., M)`` for the inputs."""
    with torch.enable_grad():
        at = site.x.detach().requires_grad_()
        rows = site.as_rows(at)
    numbers = [back[:, :, : rows.shape[2], k] for k in range(back.shape[-1])]
    if rows is at:
        return torch.stack(numbers, -1)
    *summed, times = (
        torch.autograd.grad(rows, at, number, retain_graph=True)[0] for number in (*numbers, torch.ones_like(rows))
    )
    return torch.stack(summed, -1) / times.clamp(min=1).unsqueeze(-1)
