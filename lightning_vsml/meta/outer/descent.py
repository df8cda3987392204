"""What outer optimizers share that follow a gradient, or an estimate of it."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lightning_vsml.meta.outer.base import Outer


class Descent(Outer):
    """Gradient descent with Adam, on whatever estimate of the gradient.

    Args:
        size: n.
        lr: step size, in steps of the coordinates.
        clip: largest norm of a gradient.
        seed: of the random numbers.
    """

    def __init__(self, size: int, lr: float, clip: float = 1.0, seed: int = 0, **settings: Any) -> None:
        super().__init__(size, seed, lr=lr, clip=clip, **settings)
        self.u = torch.zeros(size, dtype=torch.float64, requires_grad=True)
        self.clip, self.adam = clip, torch.optim.Adam([self.u], lr=lr)

    def descend(self, gradient: Tensor) -> None:
        self.steps += 1
        if not gradient.isfinite().all():
            self.skipped += 1
            return
        self.u.grad = gradient.to(self.u)
        torch.nn.utils.clip_grad_norm_([self.u], self.clip)
        self.adam.step()

    @property
    def best(self) -> Tensor:
        return self.u.detach().clone()

    def state(self) -> dict[str, Any]:
        return {
            "u": self.best,
            "adam": copy.deepcopy(self.adam.state_dict()),  # which goes on changing
            "steps": self.steps,
            "skipped": self.skipped,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        with torch.no_grad():
            self.u.copy_(state["u"])
        self.adam.load_state_dict(copy.deepcopy(state["adam"]))
        self.steps, self.skipped = state["steps"], state["skipped"]
