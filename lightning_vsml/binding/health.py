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
    """What was noted of one step.

    Args:
        reach: magnitudes beyond which the algorithm saturates.
    """

    def __init__(self, reach: Reach) -> None:
        self.reach = reach
        self._infinite: list[str] = []
        self._beyond: set[tuple[str, str]] = set()

    def watch(self, layer: str, site: Site, e: Tensor, state: Tensor, change: Change) -> None:
        """Note a call of ``layer``: site, feedback, state (whose first plane is the weight), and how it changes."""
        for what, ends, limit in (
            ("input", site.range, self.reach.x),
            ("feedback", interval(e), self.reach.e),
            ("weights", intervals(state)[0], self.reach.w),
        ):
            peak = max(map(abs, ends))
            if not math.isfinite(peak):
                self._infinite.append(f"the {what} of layer {layer!r}")
            elif peak > limit:
                self._beyond.add((what, layer))
        if not torch.isfinite(change.planes.sum()):
            self._infinite.append(f"the state change of layer {layer!r}")

    def verify(self, loss: Tensor, step: int) -> set[tuple[str, str]]:
        """Check all that was noted.

        Returns:
            What ("input", "feedback" or "weights") exceeded the algorithm's reach at which layer.

        Raises:
            NonFiniteError: names the step and the first that is not finite, in the order of the reverse sweep.
        """
        loss_is_finite = bool(torch.isfinite(loss.detach()).all())
        if not loss_is_finite or self._infinite:
            what = self._infinite[0] if loss_is_finite else "the loss"
            raise NonFiniteError(
                f"step {step}: expected finite numbers, but {what} is not (loss = {loss.item():.6g}). No weight was "
                "changed by this step. Lower lr, or look for what produced it in the batch, the model or the loss."
            )
        return self._beyond
