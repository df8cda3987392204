"""A parameter that is synapses: what functions do with it goes through here, and nothing of it is in copies.

While a model is attached, its parameters are of this class. They are the same objects, with the same values, in the
same places; torch asks them (``__torch_function__``) whenever a function of torch is given one. A function that their
grid stands for runs as ticks. Any other one runs as ever, and what autograd then accumulates in ``.grad`` is feedback
of the synapses one by one. Whoever looks at ``.grad`` sees what is to change, as a gradient.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_vsml.binding.grids import Grid, attention

if TYPE_CHECKING:
    from lightning_vsml.binding.synapses import Synapses

plainly = torch._C.DisableTorchFunctionSubclass
"""Within, these parameters are to torch what any others are."""


class SynapticParameter(nn.Parameter):
    """See above. Copies, pickles and what is saved are plain parameters."""

    _synapses: Synapses
    _name: str  # of its grid

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.multi_head_attention_forward:
            return _attend(args, kwargs)
        with plainly():
            if (special := _SPECIAL.get(func)) is not None:
                return special(*args, **kwargs)
            used = _use(func, args, kwargs)
            return func(*args, **kwargs) if used is None else used._synapses.call(used._name, args, kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> nn.Parameter:
        with plainly():
            copy = nn.Parameter(self.data.clone(memory_format=torch.preserve_format), self.requires_grad)
        memo[id(self)] = copy
        return copy

    def __reduce_ex__(self, protocol: Any) -> Any:
        with plainly():
            return torch._utils._rebuild_parameter, (self.data, self.requires_grad, OrderedDict())


def become(parameter: nn.Parameter, synapses: Synapses, name: str) -> None:
    """Make a plain parameter one of these."""
    parameter.__class__ = SynapticParameter
    parameter._synapses, parameter._name = synapses, name  # type: ignore[attr-defined]


def unbecome(parameter: nn.Parameter) -> None:
    """Make it plain again."""
    if type(parameter) is SynapticParameter:
        del parameter._synapses, parameter._name
        parameter.__class__ = nn.Parameter  # type: ignore[assignment]


def _use(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> SynapticParameter | None:
    """The weight of a call that a grid stands for, if it is one and ticks are to run."""
    for argument in (*args, *kwargs.values()):
        if type(argument) is SynapticParameter:
            grid = argument._synapses.grids[argument._name]
            for function, *places in grid.uses:
                if function is func:
                    weight, bias = (_argument(*named, args, kwargs) for named in zip(places, _NAMES, strict=True))
                    here = weight is grid.weight and bias is grid.bias
                    return weight if here and argument._synapses.runs(grid) else None
            return None
    return None


_NAMES = ("weight", "bias")


def _argument(place: int | None, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if place is None:
        return None
    return args[place] if place < len(args) else kwargs.get(name)


def _attend(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Attention, looked into where one of its projections runs by ticks."""
    own = [a for a in (*args, *kwargs.values()) if type(a) is SynapticParameter]
    with plainly():
        looked = any(p._synapses.runs(p._synapses.grids[p._name]) for p in own)
        if not looked:
            return F.multi_head_attention_forward(*args, **kwargs)
    return attention.forward(*args, **kwargs)


def _get_grad(parameter: SynapticParameter, *_: Any) -> Tensor | None:
    return parameter._synapses.changes.gradient(parameter)


def _set_grad(parameter: SynapticParameter, value: Tensor | None = None) -> None:
    parameter._synapses.changes.replace(parameter, value)


def _grad(*args: Any, **kwargs: Any) -> Any:
    raise GraphError(
        "torch.autograd.grad was asked for the gradient with respect to a weight that learns by its synapses, which "
        "autograd does not know. Look at .grad after loss.backward() (what is to change, as a gradient), or leave the "
        'layer to your optimizer: optimizer=("its.name",).'
    )


class GraphError(RuntimeError):
    """Autograd was asked for what is not in its graph."""


_gradient: Any = Tensor.grad
_SPECIAL: dict[Any, Callable[..., Any]] = {
    _gradient.__get__: _get_grad,
    _gradient.__set__: _set_grad,
    _gradient.__delete__: _set_grad,
    torch.autograd.grad: _grad,
}


def owner_of(grid: Grid) -> Synapses | None:
    """Whose a grid's parameters are already, if somebody's."""
    owners = [p._synapses for p in grid.parameters if type(p) is SynapticParameter]
    return owners[0] if owners else None
