"""Optimizers that synapses stand in for: their ``step`` commits, their settings count."""

from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from types import MethodType
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim import Optimizer

if TYPE_CHECKING:
    from lightning_vsml.binding.synapses import Synapses


class Following:
    """From construction to :meth:`release`, ``optimizer.step()`` commits what belongs to the optimizer's parameters.

    The optimizer itself steps only for parameters that are left to it.

    Args:
        synapses: what learns.
        optimizers: whose steps commit. Parameters that none of them holds do not learn, unless none holds any.
        schedulers: of their learning rates.
        settings: whether learning rates (relative to the initial one of the first group) and weight decay count.
        initial: that rate, where the run was resumed.
    """

    def __init__(
        self,
        synapses: "Synapses",
        optimizers: Sequence[Optimizer],
        schedulers: Sequence[Any] = (),
        *,
        settings: bool = True,
        initial: float | None = None,
    ) -> None:
        self.synapses, self.optimizers, self.settings = synapses, list(optimizers), settings
        self.commits = 0
        if settings and self.optimizers:
            synapses.rates.initial = synapses.rates.initial if initial is None else initial
            synapses.rates.follow(self.optimizers, schedulers)
        self._shadowed = [vars(optimizer).get("step") for optimizer in self.optimizers]
        for optimizer in self.optimizers:
            step = self._step(optimizer.step)
            optimizer.step = MethodType(step, optimizer)  # type: ignore[method-assign]

    @property
    def held(self) -> set[int]:
        """Identities of what the optimizers hold."""
        return {id(p) for optimizer in self.optimizers for p in _parameters(optimizer)}

    def look(self) -> None:
        """Groups may have come, or been loaded."""
        if self.settings:
            self.synapses.rates.look(self.optimizers)

    def release(self) -> None:
        """Give the optimizers their own steps back."""
        for optimizer, before in zip(self.optimizers, self._shadowed, strict=True):
            if before is None:
                vars(optimizer).pop("step", None)
            else:
                optimizer.step = before  # type: ignore[method-assign]
        self.optimizers, self._shadowed = [], []
        self.synapses.rates.look([])

    def _step(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(original)  # schedulers look for the marks that they left on it
        def step(optimizer: Optimizer, closure: Callable[[], Any] | None = None, **kwargs: Any) -> Any:
            result = None
            if closure is not None:
                with torch.enable_grad():
                    result = closure()
            self.look()
            self.synapses.step(self.belonging(optimizer))
            self.commits += 1
            left = self.synapses.holding.left
            if any(id(parameter) in left for parameter in _parameters(optimizer)):
                self.synapses.average_left(optimizer)
                original(**kwargs)
            optimizer._opt_called = True  # type: ignore[attr-defined]  # else schedulers warn of their order
            return result

        return step

    def belonging(self, optimizer: Optimizer) -> list[nn.Parameter]:
        """What a step of ``optimizer`` is about."""
        own = list(_parameters(optimizer))
        if optimizer is not self.optimizers[0]:
            return own
        held = self.held
        everything = self.synapses.parameters()
        if not self.settings or not any(id(p) in held for p in everything):
            own += [p for p in everything if id(p) not in held]
        return own


def _parameters(optimizer: Optimizer) -> Iterable[nn.Parameter]:
    return (parameter for group in optimizer.param_groups for parameter in group["params"])
