"""A module's optimizers, replaced by others for the same parameters."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

KINDS: dict[str, type[Optimizer]] = {
    "SGD": torch.optim.SGD,
    "Adam": torch.optim.AdamW,  # which is Adam where nothing decays
    "algorithm": torch.optim.SGD,  # whose settings synapses follow
}


def replace(module: LightningModule, kind: str, lr: float) -> None:
    """Let ``configure_optimizers`` give optimizers of this kind and rate: as many, for the same parameter groups, with
    their weight decay and their rates relative to the first one. Schedulers change nothing.
    """
    original = module.configure_optimizers

    def configure_optimizers() -> Any:
        given = original()
        old = optimizers_of(given)
        if not old:
            return KINDS[kind](module.parameters(), lr=lr)  # type: ignore[call-arg]
        new = [_instead(optimizer, KINDS[kind], lr, _rate(old[0].param_groups[0])) for optimizer in old]
        if module.automatic_optimization:
            return new if len(new) > 1 else new[0]
        return new, [LambdaLR(new[0], _constant) for _ in range(_schedulers(given))]  # which the module steps itself

    module.configure_optimizers = configure_optimizers  # type: ignore[method-assign]


def optimizers_of(given: Any) -> list[Optimizer]:
    """What ``configure_optimizers`` gave, in whichever form Lightning takes."""
    if given is None:
        return []
    if isinstance(given, Optimizer):
        return [given]
    if isinstance(given, dict):
        return [given["optimizer"]] if "optimizer" in given else []
    if _is_pair(given):
        return list(given[0])
    return [one["optimizer"] if isinstance(one, dict) else one for one in given]


def _schedulers(given: Any) -> int:
    if _is_pair(given):
        return len(given[1])
    each = given if isinstance(given, list | tuple) else [given]
    return sum(isinstance(one, dict) and "lr_scheduler" in one for one in each)


def _is_pair(given: Any) -> bool:
    return isinstance(given, Sequence) and len(given) == 2 and isinstance(given[0], list | tuple)


def _instead(optimizer: Optimizer, kind: Callable[..., Optimizer], lr: float, first: float) -> Optimizer:
    groups = [
        {
            "params": group["params"],
            "lr": lr * (_rate(group) / first if first else 1.0),
            "weight_decay": group.get("weight_decay", 0.0),
        }
        for group in optimizer.param_groups
    ]
    return kind(groups, lr=lr)


def _rate(group: dict[str, Any]) -> float:
    """Before a scheduler's warm-up."""
    return float(group.get("initial_lr", group.get("lr", 1.0)))


def _constant(_: int) -> float:
    return 1.0
