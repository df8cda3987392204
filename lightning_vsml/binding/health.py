"""Whether a step's numbers are finite, and within an algorithm's reach."""

import math

import torch
from torch import Tensor

from lightning_vsml.algorithms.change import Change
from lightning_vsml.algorithms.parts import Reach
from lightning_vsml.ticks import Site
from lightning_vsml.ticks.ranges import interval, intervals


class NonFiniteError(ArithmeticError):
    """The loss, a feedback or a state change is infinite or not a number; nothing was written."""


class Health:
    """What numbers have to be like.

    Args:
        reach: magnitudes beyond which the algorithm saturates.
    """

    def __init__(self, reach: Reach) -> None:
        self.reach = reach

    def watch(
        self, layer: str, site: Site, e: Tensor, state: Tensor, change: Change, step: int
    ) -> set[tuple[str, str]]:
        """Look at a call of ``layer``: site, feedback, state (whose first plane is the weight), and how it changes.

        Returns:
            What ("input", "feedback" or "weights") exceeds the algorithm's reach at this layer.

        Raises:
            NonFiniteError: one of them is not finite.
        """
        beyond = {
            *self.magnitude("input", layer, site.range, step),
            *self.magnitude("feedback", layer, interval(e), step),
            *self.magnitude("weights", layer, intervals(state)[0], step),
        }
        if not torch.isfinite(change.planes.sum()):
            raise _not_finite(f"the state change of layer {layer!r}", step)
        return beyond

    def magnitude(self, what: str, layer: str, ends: tuple[float, float], step: int) -> set[tuple[str, str]]:
        """Look at where "input", "feedback" or "weights" lie; as :meth:`watch`."""
        peak = max(map(abs, ends))
        if not math.isfinite(peak):
            raise _not_finite(f"the {what} of layer {layer!r}", step)
        limit = {"input": self.reach.x, "feedback": self.reach.e, "weights": self.reach.w}[what]
        return {(what, layer)} if peak > limit else set()


def is_finite(tensor: Tensor) -> bool:
    """Whether all numbers are."""
    return all(map(math.isfinite, interval(tensor)))


def check_loss(loss: Tensor, step: int) -> None:
    """Refuse a loss that is not finite.

    Raises:
        NonFiniteError: it is not.
    """
    if not torch.isfinite(loss.detach()).all():
        raise _not_finite("the loss", step, f" (loss = {loss.item():.6g})")


def _not_finite(what: str, step: int, more: str = "") -> NonFiniteError:
    return NonFiniteError(
        f"step {step}: expected finite numbers, but {what} is not{more}. No weight was changed by this step. Lower lr, "
        "or look for what produced it in the batch, the model or the loss."
    )
