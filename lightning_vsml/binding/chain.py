"""Messages of several numbers: how they travel from layer to layer of a user's model, and back.

A model sees the first number of a layer's messages as the layer's output. The others travel with it: the output is a
:class:`Carried` tensor, and what the model does with its shape is done with each of the numbers. Elementwise functions
between layers are left out: the next layer gets the messages as they were sent. So nothing of the model's own is
differentiated but its loss, and what autograd takes for gradients of messages are the messages back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import Tensor

from lightning_vsml.binding.call import Use
from lightning_vsml.binding.parameter import GraphError, SynapticParameter, plainly

if TYPE_CHECKING:
    from lightning_vsml.binding.passes import Passes
    from lightning_vsml.ticks import Site

_ELEMENTWISE = (
    "alpha_dropout celu clamp clone contiguous dropout dropout1d dropout2d dropout3d elu feature_alpha_dropout float "
    "gelu hardsigmoid hardswish hardtanh leaky_relu logsigmoid mish relu relu6 rrelu selu sigmoid silu softplus "
    "softshrink softsign tanh tanhshrink threshold to type"
)
_SHAPING = (
    "__getitem__ avg_pool1d avg_pool2d avg_pool3d flatten mean movedim mT permute reshape squeeze swapaxes T transpose "
    "unflatten unsqueeze view"
)
ELEMENTWISE, SHAPING = frozenset(_ELEMENTWISE.split()), frozenset(_SHAPING.split())


class Carried(Tensor):
    """The first number of a layer's messages, with the others.

    Attributes:
        layer: which has sent them.
        numbers: all of them, M tensors of this one's shape.
        fed: layers that got them.
    """

    layer: str
    numbers: tuple[Tensor, ...]
    fed: list[str]

    @classmethod
    def of(cls, layer: str, numbers: tuple[Tensor, ...], fed: list[str], seen: Tensor) -> Carried:
        """Messages of ``layer``, of which the model sees ``seen``; which functions may change in place."""
        carried = seen.as_subclass(cls)
        carried.layer, carried.numbers, carried.fed = layer, numbers, fed
        return carried

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if any(issubclass(kind, SynapticParameter) for kind in types):
            return NotImplemented  # the parameter's business
        with plainly():
            result = func(*args, **kwargs)
            sent = args[0] if args else None
            if not isinstance(sent, Carried) or not isinstance(result, Tensor) or not vars(sent):
                return result
            name = getattr(func, "__name__", "")
            name = getattr(getattr(func, "__self__", None), "__name__", name) if name == "__get__" else name
            if name.rstrip("_") in ELEMENTWISE and result.shape == sent.shape:
                return cls.of(sent.layer, sent.numbers, sent.fed, result)
            if name in SHAPING:
                numbers = tuple(func(number, *args[1:], **kwargs) for number in sent.numbers)
                return cls.of(sent.layer, numbers, sent.fed, result)
            if result is sent:  # changed in place by what its messages do not follow
                vars(sent).clear()
            return result

    def __reduce_ex__(self, protocol: Any) -> Any:
        with plainly():
            return self.as_subclass(Tensor).__reduce_ex__(protocol)

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        with plainly():
            return self.as_subclass(Tensor).__deepcopy__(memo)


def call(
    passes: Passes, use: Use, begins: bool, dtype: torch.dtype, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Tensor:
    """The function that uses a grid, by the messages of its input.

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
    numbers = _messages(use, x) if isinstance(x, Carried) and vars(x) else _entering(use, x, begins)
    sites: list[Site] = []

    def note(site: Site) -> Tensor:
        sites.append(site)
        return site.x.new_zeros(()).expand(site.output_shape)

    for number in numbers:
        use.grid.call(note, number.to(use.state.dtype), *others, **kwargs)
    fed: list[str] = []
    outputs = MessageCall.apply(passes._anchor, use, fed, sites[0], *(site.x for site in sites))
    shaped = tuple(
        use.grid.call(lambda _, y=y: y, number, *others, **kwargs)  # type: ignore[misc]
        for y, number in zip(outputs, numbers, strict=True)
    )
    return Carried.of(use.name, shaped, fed, shaped[0].to(dtype, copy=True))


def _messages(use: Use, x: Carried) -> tuple[Tensor, ...]:
    if x.fed and x.fed != [use.name]:
        _refuse(use.name, f"layer {x.layer!r} feeds {x.fed[0]!r} as well")
    x.fed[:] = [use.name]
    return x.numbers


def _entering(use: Use, x: Tensor, begins: bool) -> tuple[Tensor, ...]:
    if not begins:
        _refuse(use.name, "its input is not what another mapped layer sent")
    if x.requires_grad:
        _refuse(use.name, "its input asks for a gradient")
    messages = use.algorithm.enter(x.to(use.state.dtype))
    return messages.unbind(-1)


def _refuse(layer: str, why: str) -> NoReturn:
    raise GraphError(
        f"layer {layer!r}: {why}. The messages of this learning algorithm go from one layer to the next, through "
        f"reshaping ({', '.join(sorted(SHAPING))}) and elementwise functions (which are left out: "
        f"{', '.join(sorted(ELEMENTWISE))}) alone. Choose an algorithm with readable weights, such as 'backprop', for "
        "models that do anything else between their layers."
    )


class MessageCall(torch.autograd.Function):
    """A grid's ticks: the numbers of its inputs' messages -> those of its outputs', in the layouts of a site."""

    @staticmethod
    def forward(ctx: Any, anchor: Tensor, use: Use, fed: list[str], site: Site, *xs: Tensor) -> tuple[Tensor, ...]:
        ctx.site, ctx.use, ctx.fed = site.at(None), use, fed
        ctx.save_for_backward(*xs)
        sent = use.algorithm.send(use.state, _rows(site, xs))[0]
        return tuple(site.rows_as_outputs(number) for number in sent.unbind(-1))

    @staticmethod
    def backward(ctx: Any, *gs: Tensor) -> tuple[Tensor | None, ...]:
        site, use, xs = ctx.site.at(ctx.saved_tensors[0]), ctx.use, ctx.saved_tensors
        with plainly(), torch.autocast(gs[0].device.type, enabled=False):
            behind = torch.stack([site.outputs_as_rows(g) for g in gs], -1)
            back = use.learn_messages(use, site, _rows(site, xs), behind, bool(ctx.fed))
            if not any(ctx.needs_input_grad[4:]):
                return (None,) * (4 + len(xs))
            A = back.shape[2] - site.bias
            return (None,) * 4 + tuple(_to_inputs(site, x, back[:, :, :A, k]) for k, x in enumerate(xs))


def _rows(site: Site, xs: tuple[Tensor, ...]) -> Tensor:
    """Messages of a layer's inputs, and of its bias: ``(R, G, A, M)``."""
    rows = torch.stack([site.as_rows(x) for x in xs], -1)
    if not site.bias:
        return rows
    bias = torch.zeros_like(rows[:, :, :1])
    bias[..., 0] = 1
    return torch.cat([rows, bias], 2)


def _to_inputs(site: Site, x: Tensor, rows: Tensor) -> Tensor:
    """``(R, G, A)`` summed to where the inputs came from: the adjoint of :meth:`Site.as_rows`."""
    with torch.enable_grad():
        at = x.detach().requires_grad_()
        return torch.autograd.grad(site.as_rows(at), at, rows)[0]
