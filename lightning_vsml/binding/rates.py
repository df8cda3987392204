"""Learning rates and weight decay of every parameter, as the settings of the user's optimizers have them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR

from lightning_vsml.binding.grids import Grid

FOLLOWED = {"params", "lr", "initial_lr", "weight_decay", "decoupled_weight_decay"}
IMPLEMENTATION = {"foreach", "fused", "capturable", "differentiable", "eps", "max_lr", "min_lr", "swa_lr", "base_lr"}


class Rates:
    """What scales the feedback of each parameter.

    Args:
        own: the algorithm's learning rate.
        lr: what is wanted; ``SGD(lr)`` of the untouched algorithm.

    Attributes:
        scaler: what multiplies the loss before it is differentiated, if anything.
        peaks: by grid and place of a parameter in it, the largest rate of a step so far.
    """

    def __init__(self, own: float, lr: float) -> None:
        self.own, self.lr = own, lr
        self.scaler: torch.amp.GradScaler | None = None
        self.initial: float | None = None
        self.peaks: dict[str, dict[int, float]] = {}
        self._groups: dict[int, dict[str, Any]] = {}
        self._decoupled: dict[int, bool] = {}

    @property
    def loss_scale(self) -> float:
        """What the loss was multiplied by."""
        return 1.0 if self.scaler is None else float(self.scaler.get_scale())

    def follow(self, optimizers: Sequence[Optimizer], schedulers: Sequence[Any] = ()) -> None:
        """From now on rates are relative to the initial one of the first optimizer's first group."""
        if self.initial is None:
            self.initial = _initial(optimizers[0], schedulers)
        self.look(optimizers)

    def look(self, optimizers: Sequence[Optimizer]) -> None:
        """See which parameters are in which group now."""
        self._groups, self._decoupled = {}, {}
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                decoupled = group.get("decoupled_weight_decay", isinstance(optimizer, AdamW))
                for parameter in group["params"]:
                    self._groups[id(parameter)], self._decoupled[id(parameter)] = group, decoupled

    def of(self, parameter: nn.Parameter) -> float:
        """The learning rate of a parameter now."""
        group = self._groups.get(id(parameter))
        if group is None or self.initial is None:
            return self.lr
        if not self.initial:  # a rate that nothing is relative to
            return float(group["lr"])
        return self.lr * float(group["lr"]) / self.initial

    def annealed(self, name: str, place: int, rate: float) -> float:
        """A parameter's rate in this step over the largest so far."""
        peaks = self.peaks.setdefault(name, {})
        peaks[place] = max(rate, peaks.get(place, 0.0))
        return rate / peaks[place] if peaks[place] else 1.0

    def gain(self, grid: Grid) -> float:
        """Factor on the feedback of a grid: its largest rate over the algorithm's own."""
        return max(map(self.of, grid.parameters)) / self.own

    def decay(self, parameter: nn.Parameter) -> float:
        """Which share of a weight a step takes off: coupled decay, at the learning rate; decoupled, at the
        optimizer's.
        """
        group = self._groups.get(id(parameter))
        if group is None or not group.get("weight_decay"):
            return 0.0
        rate = float(group["lr"]) if self._decoupled[id(parameter)] else self.of(parameter)
        return rate * float(group["weight_decay"])


def _initial(optimizer: Optimizer, schedulers: Sequence[Any]) -> float | None:
    """The rate that the optimizer was made with. Most schedulers note it as ``initial_lr``; OneCycleLR and CyclicLR
    note there where their cycle begins, and for these the optimizer's default counts.
    """
    if not optimizer.param_groups:  # Lightning's stand-in for none
        return None
    group, default = optimizer.param_groups[0], optimizer.defaults.get("lr")
    if "max_lr" in group or any(isinstance(scheduler, OneCycleLR | CyclicLR) for scheduler in schedulers):
        return None if default is None else float(default)
    rate = group.get("initial_lr", group.get("lr"))
    return None if rate is None else float(rate)


def without_effect(optimizer: Optimizer) -> list[str]:
    """Settings of an optimizer that mean nothing to synapses, as it has them where they are not off."""
    names: dict[str, Any] = {}
    for group in optimizer.param_groups:
        for name, value in group.items():
            if name not in FOLLOWED | IMPLEMENTATION and value not in (0, 0.0, None, False):
                names.setdefault(name, value)
    return [f"{name}={value}" for name, value in names.items()]
