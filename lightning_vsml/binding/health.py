"""Whether a step's numbers are finite, and within an algorithm's reach."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from lightning_vsml.algorithms.change import Change
from lightning_vsml.algorithms.parts import Reach
from lightning_vsml.ticks import Site
from lightning_vsml.ticks.ranges import interval, intervals


class NonFiniteError(ArithmeticError):
    """The loss, a feedback or a state change is infinite or not a number; nothing was written."""


class Health:
    """What numbers have to be like, and what was noted of them.

    Args:
        reach: magnitudes beyond which the algorithm saturates.

    Attributes:
        step: named in error messages.
        beyond: what ("input", "feedback" or "weights") exceeded the algorithm's reach at which layer.
    """

    def __init__(self, reach: Reach) -> None:
        self.reach, self.step = reach, 0
        self.beyond: set[tuple[str, str]] = set()

    def watch(self, layer: str, site: Site, e: Tensor, state: Tensor, change: Change) -> None:
        """Look at a call of ``layer``: site, feedback, state (whose first plane is the weight), and how it changes.

        Raises:
            NonFiniteError: one of them is not finite.
        """
        self._look("input", layer, site.range)
        self.watch_feedback(layer, e)
        self._look("weights", layer, intervals(state)[0])
        if not torch.isfinite(change.planes.sum()):
            raise _not_finite(f"the state change of layer {layer!r}", self.step)

    def watch_feedback(self, layer: str, e: Tensor) -> None:
        """Look at feedback alone; as :meth:`watch`."""
        self._look("feedback", layer, interval(e))

    def warnings(self, algorithm: str, told: set[object]) -> Iterator[str]:
        """What exceeds the reach of ``algorithm`` and was not told yet; it is now."""
        fixes = {
            "input": (self.reach.x, "Normalise the data or the activations"),
            "feedback": (self.reach.e, "Lower lr or rescale the loss"),
            "weights": (self.reach.w, "Scale the targets or the inputs, so that smaller weights do"),
        }
        for what, (limit, fix) in fixes.items():
            if layers := sorted(layer for found, layer in self.beyond - told if found == what):
                yield (
                    f"the {what} of {', '.join(layers)} exceed{'' if what == 'weights' else 's'} ±{limit:g}, the reach "
                    f"of {algorithm!r}, which saturates beyond it: the layer learns less than it should. {fix}."
                )
        told |= self.beyond

    def _look(self, what: str, layer: str, ends: tuple[float, float]) -> None:
        peak = max(map(abs, ends))
        if not math.isfinite(peak):
            raise _not_finite(f"the {what} of layer {layer!r}", self.step)
        if peak > {"input": self.reach.x, "feedback": self.reach.e, "weights": self.reach.w}[what]:
            self.beyond.add((what, layer))


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
