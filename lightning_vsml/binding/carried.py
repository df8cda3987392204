"""Tensors that messages come back to, and what becomes of them in the functions of a model.

What a layer gives is a :class:`Carried` tensor: to the model it is the layer's output. Every function of it is asked
for here, and the algorithm says how messages go back through it (:class:`~lightning_vsml.algorithms.base.Across`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from torch import Tensor

from lightning_vsml.algorithms.base import Across
from lightning_vsml.binding.judging import LOSSES, judge
from lightning_vsml.binding.links import Link, Rule, operate, unchanged
from lightning_vsml.binding.parameter import SynapticParameter, plainly

_PLAIN = {"backward", "detach", "detach_", "register_hook", "requires_grad_", "retain_grad"}  # about the tensor itself
_GETTERS = {"H", "T", "mH", "mT", "real", "imag"}  # functions that are written as attributes


class Carried(Tensor):
    """What a layer, or a function of its output, gives.

    Attributes:
        link: where its messages go.
    """

    link: Link

    @classmethod
    def of(cls, link: Link) -> Carried:
        """What the model sees of a link."""
        carried = link.seen.as_subclass(cls)
        carried.link = link
        return carried

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if any(issubclass(kind, SynapticParameter) for kind in types):
            return NotImplemented  # the parameter's business
        with plainly():
            return _through(func, args, kwargs or {})

    def __reduce_ex__(self, protocol: Any) -> Any:
        with plainly():
            return self.as_subclass(Tensor).__reduce_ex__(protocol)

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        with plainly():
            return self.as_subclass(Tensor).__deepcopy__(memo)


def link_of(x: Any) -> Link | None:
    """A tensor's link, if it has one."""
    return vars(x).get("link") if isinstance(x, Carried) else None


def _through(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A function of carried tensors."""
    name, found = _name(func), _carried(args, kwargs)
    if not found or name in _PLAIN or name.startswith("__"):
        return func(*args, **kwargs)
    links: list[Link] = [carried.link for carried in found]
    function, algorithm = name.rstrip("_"), links[0].algorithm
    across = algorithm.across(function)
    if across is Across.RULE and function in LOSSES:
        return judge(func, args, kwargs, links[0])
    if across is Across.NOT or (across is not Across.DERIVATIVE and len(found) > 1):
        return _not_through(func, args, kwargs, found, in_place=name.endswith("_"))
    in_place = name.endswith("_") or function in _MAY_BE_IN_PLACE
    others = [x for x in _tensors(args, kwargs) if link_of(x) is None and x.requires_grad]
    replaced, rule = [*found, *others], _rule(across, function, links[0], in_place)
    output, link = operate(lambda *own: _call(func, args, kwargs, replaced, own), links, rule, in_place, others)

    def carry(part: Any, place: int | None = None) -> Any:
        if not isinstance(part, Tensor) or not part.is_floating_point():
            return part
        behind = link(part)
        behind.numbers = links[0].numbers
        if behind.numbers is not None and across is not Across.LEFT_OUT:
            behind.numbers = tuple(_part(_call(func, args, kwargs, found, [n]), place) for n in behind.numbers)
        return Carried.of(behind)

    if isinstance(output, tuple | list):
        return type(output)([carry(part, place) for place, part in enumerate(output)])
    result = carry(output)
    if in_place and (name.endswith("_") or _is_in_place(func, args, kwargs)) and isinstance(result, Carried):
        found[0].data.copy_(result.detach())  # whoever goes on with the tensor itself goes on with this
        found[0].link = result.link
    return result


_IN_PLACE = (
    "alpha_dropout celu dropout dropout1d dropout2d dropout3d elu feature_alpha_dropout hardsigmoid hardswish hardtanh "
    "leaky_relu mish relu relu6 rrelu selu silu threshold"
)
_MAY_BE_IN_PLACE = frozenset(_IN_PLACE.split())


def _rule(across: Across, function: str, source: Link, in_place: bool) -> Rule | None:
    if across is Across.RULE:
        x = source.seen.detach()
        return partial(source.algorithm.respond, function, x.clone() if in_place else x)
    return None if across is Across.DERIVATIVE else unchanged


def _is_in_place(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether one of :data:`_MAY_BE_IN_PLACE` is told to be."""
    try:
        return bool(inspect.signature(func).bind(*args, **kwargs).arguments.get("inplace", False))
    except (TypeError, ValueError):  # of torch itself, without a signature and without the choice
        return False


def _part(output: Any, place: int | None) -> Any:
    return output if place is None else output[place]


def _not_through(
    func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], found: list[Carried], in_place: bool
) -> Any:
    """The function as it is; messages do not go back from what it gives, and the gradient of a loss does."""
    if not in_place:
        return _call(func, args, kwargs, found, [carried.link.seen for carried in found])
    result = func(*args, **kwargs)
    for carried in found:
        vars(carried).clear()
    return result


def _carried(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Carried]:
    """Those among the arguments that have links."""
    return [x for x in _tensors(args, kwargs) if isinstance(x, Carried) and link_of(x) is not None]


def _tensors(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
    """All among the arguments, each once."""
    found: dict[int, Tensor] = {}
    for argument in (*args, *kwargs.values()):
        for x in argument if isinstance(argument, tuple | list) else (argument,):
            if isinstance(x, Tensor):
                found[id(x)] = x
    return list(found.values())


def _call(
    func: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    found: Sequence[Tensor],
    others: Sequence[Tensor],
) -> Any:
    """The function, of others in place of what was found."""
    instead = {id(carried): other for carried, other in zip(found, others, strict=True)}

    def replaced(argument: Any) -> Any:
        if type(argument) in (tuple, list):
            return type(argument)(instead.get(id(x), x) for x in argument)
        return instead.get(id(argument), argument)

    return func(*map(replaced, args), **{name: replaced(argument) for name, argument in kwargs.items()})


def _name(func: Callable[..., Any]) -> str:
    """Of a function, without its module; ``__get__`` for an attribute that is none."""
    name = getattr(func, "__name__", "")
    if name == "__get__":
        attribute = getattr(getattr(func, "__self__", None), "__name__", "")
        return attribute if attribute in _GETTERS else name
    return "getitem" if name == "__getitem__" else _OPERATORS.get(name, name)


_ARITHMETIC = ("add", "sub", "mul", "truediv", "matmul", "pow")
_OPERATORS = {f"__{place}{name}__": name for name in _ARITHMETIC for place in ("", "r")}
_OPERATORS |= {f"__i{name}__": f"{name}_" for name in _ARITHMETIC} | {"__neg__": "neg"}
