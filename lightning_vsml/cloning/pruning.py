"""Structural zeros for a symmetric cell in training."""

from collections.abc import Callable

import torch
from torch import Tensor

from lightning_vsml.cloning.errors import Errors
from lightning_vsml.cloning.structure import Clone, Symmetric

START, END = 0.25, 0.65  # of the iterations
ROUNDS, PROBES = 64, 16


class Pruning:
    """Takes away the connections that matter least, more and more of them.

    What a connection theta adds to the loss when it goes is estimated as ``theta^2 (J^T J) / 2`` (LeCun, Denker &
    Solla, 1989), with J the derivatives of the errors; the diagonal comes from back-propagated random signs. (Squared
    gradients, which Adam has at hand, do not do: of what is right already the gradient is 0.) The number of zeros
    grows along a cubic (Zhu & Gupta, arXiv 1710.01878).

    Args:
        clone: its masks are changed in place.
        fraction: of the connections in W, V, U and b that are zero at the end.
    """

    NAMES = ("W", "V", "U", "b")

    def __init__(self, clone: Clone, fraction: float) -> None:
        if not isinstance(clone, Symmetric):
            raise ValueError(f"only symmetric cells are pruned, got {type(clone).__name__}; set prune=0.")
        self.clone, self.fraction = clone, fraction
        self.total = sum(int(self._mask(name).count_nonzero()) for name in self.NAMES)

    def step(self, iteration: int, iterations: int, errors: Callable[[], Errors], generator: torch.Generator) -> None:
        """Prune as far as ``iteration`` of ``iterations`` asks for; every call of ``errors`` takes new data."""
        every = max(1, round((END - START) * iterations / ROUNDS))
        done = (iteration / iterations - START) / (END - START)
        if iteration % every or done < 0 or iteration >= END * iterations + every:
            return
        gone = self.fraction * (1 - (1 - min(1.0, done)) ** 3)
        keep = max(1, round((1 - gone) * self.total))
        saliency = self._saliency(errors, generator)
        threshold = torch.cat([values.flatten() for values in saliency]).topk(keep).values[-1]
        for name, values in zip(self.NAMES, saliency, strict=True):
            self._mask(name).mul_(values >= threshold)

    def _mask(self, name: str) -> Tensor:
        return getattr(self.clone, f"mask_{name}")

    @torch.enable_grad()
    def _saliency(self, errors: Callable[[], Errors], generator: torch.Generator) -> list[Tensor]:
        """What goes with each connection, -1 where there is none."""
        parameters = [getattr(self.clone, name) for name in self.NAMES]
        curvature = [torch.zeros_like(parameter) for parameter in parameters]
        for _ in range(PROBES):
            probe = sum((error * _signs(error, generator)).sum() / error.numel() ** 0.5 for error in errors())
            for total, g in zip(curvature, torch.autograd.grad(probe, parameters), strict=True):
                total += g.square() / PROBES
        masks = map(self._mask, self.NAMES)
        return [
            torch.where(mask > 0, parameter.detach().square() * total, -1.0)
            for mask, parameter, total in zip(masks, parameters, curvature, strict=True)
        ]


def _signs(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randint(0, 2, like.shape, generator=generator, device=like.device).to(like.dtype) * 2 - 1
