"""What the learning-rate scheduler of the user's optimizer makes of its learning rate."""

from collections.abc import Sequence
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR


def scheduled_ratio(optimizer: Optimizer, schedulers: Sequence[Any]) -> float:
    """Current over initial learning rate, of the optimizer's first parameter group; 1 without a scheduler.

    Initial is the rate that the optimizer was made with. Most schedulers note it as ``initial_lr``; OneCycleLR and
    CyclicLR note there where their cycle begins, and ReduceLROnPlateau notes nothing. For these three the optimizer's
    default counts.

    Args:
        optimizer: the user's.
        schedulers: all of its schedulers.
    """
    group, default = optimizer.param_groups[0], optimizer.defaults.get("lr")
    cyclic = any(isinstance(scheduler, OneCycleLR | CyclicLR) for scheduler in schedulers)
    initial = default if cyclic else group.get("initial_lr", default)
    return float(group["lr"] / initial) if schedulers and initial else 1.0
