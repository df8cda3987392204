"""A parameter that is synapses: what functions do with it goes through here, and nothing of it is in copies.

While a model is attached, its parameters are of this class. They are the same objects, with the same values, in the
same places; torch asks them (``__torch_function__``) whenever a function of torch is given one. A function that their
grid stands for runs as ticks. Any other one runs as ever, and what autograd then accumulates in ``.grad`` is feedback
of the synapses one by one. Whoever looks at ``.grad`` sees what is to change, as a gradient.
"""

from __future__ import annotations

import sys
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

    _synapses: Synapses | None = None  # whose it is; None between being made from another and being noticed
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
            if (used := _use(func, args, kwargs)) is None:
                return func(*args, **kwargs)
            synapses, name = used
            return synapses.call(name, args, kwargs)

    def detach(self) -> Tensor:
        """As ever; but for ``nn.Parameter(this)``, which insists on this type (weight norm does that to a weight)."""
        with plainly():
            plain = super().detach()
            if sys._getframe(1).f_code is not nn.Parameter.__new__.__code__:
                return plain
            return Tensor._make_subclass(SynapticParameter, plain)

    def __deepcopy__(self, memo: dict[int, Any]) -> nn.Parameter:
        if self._synapses is not None:
            self._synapses.copied()
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
        vars(parameter).clear()
        parameter.__class__ = nn.Parameter  # type: ignore[assignment]


def _use(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Synapses, str] | None:
    """Whose grid stands for a call, and its name, if ticks are to run."""
    for argument in (*args, *kwargs.values()):
        if type(argument) is SynapticParameter and (synapses := argument._synapses) is not None:
            grid = synapses.grids[argument._name]
            for function, *places in grid.uses if argument is grid.weight else ():
                weight, bias = (_argument(*named, args, kwargs) for named in zip(places, _NAMES, strict=True))
                if function is func and weight is grid.weight and bias is grid.bias and synapses.runs(grid):
                    return synapses, argument._name
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
        if not any(p._synapses is not None and p._synapses.runs(p._synapses.grids[p._name]) for p in own):
            return F.multi_head_attention_forward(*args, **kwargs)
    return attention.forward(*args, **kwargs)


def _get_grad(parameter: SynapticParameter, *_: Any) -> Tensor | None:
    if parameter._synapses is None:
        return parameter.grad
    return parameter._synapses.changes.gradient(parameter)


def _set_grad(parameter: SynapticParameter, value: Tensor | None = None) -> None:
    if parameter._synapses is None:
        parameter.grad = value
    else:
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
    owners = (p._synapses for p in grid.parameters if type(p) is SynapticParameter)
    return next((owner for owner in owners if owner is not None), None)
