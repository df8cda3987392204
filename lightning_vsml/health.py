"""Whether a step's numbers are finite, and within an algorithm's reach."""

import torch
from torch import Tensor

from lightning_vsml.algorithm import Change
from lightning_vsml.parts import Reach


class NonFiniteError(ArithmeticError):
    """The loss, a feedback or a state change is infinite or not a number; nothing was written."""


class Health:
    """Flags of one step, gathered on the device and fetched once.

    Args:
        reach: magnitudes beyond which the algorithm saturates.
    """

    def __init__(self, reach: Reach) -> None:
        self.reach = reach
        self._finite: list[tuple[str, Tensor]] = []
        self._within: list[tuple[tuple[str, str], Tensor]] = []

    def watch(self, layer: str, x: Tensor, e: Tensor, change: Change) -> None:
        """Note a call of ``layer``: its input (R, G, A), feedback (R, G, B) and change."""
        for what, tensor, limit in (
            ("input", x, self.reach.x),
            ("feedback", e, self.reach.e),
            ("state change", change.c, None),
        ):
            peak = tensor.abs().max() if tensor.numel() else tensor.new_zeros(())  # nan if there is one
            self._finite.append((f"the {what} of layer {layer!r}", torch.isfinite(peak)))
            if limit is not None:
                self._within.append(((what, layer), peak <= limit))

    def verify(self, loss: Tensor, step: int) -> set[tuple[str, str]]:
        """Check all that was noted.

        Returns:
            What ("input" or "feedback") exceeded the algorithm's reach at which layer.

        Raises:
            NonFiniteError: names the step and the first that is not finite, in the order of the reverse sweep.
        """
        watched = [*self._finite, *self._within]
        flags = torch.stack([torch.isfinite(loss.detach()).all(), *(flag.to(loss.device) for _, flag in watched)])
        loss_is_finite, *rest = flags.tolist()
        finite, within = rest[: len(self._finite)], rest[len(self._finite) :]
        culprits = [what for (what, _), flag in zip(self._finite, finite, strict=True) if not flag]
        if not loss_is_finite or culprits:
            raise NonFiniteError(
                f"step {step}: expected finite numbers, but {culprits[0] if loss_is_finite else 'the loss'} is not "
                f"(loss = {loss.item():.6g}). No weight was changed by this step. Lower lr, or look for what produced "
                "it in the batch, the model or the loss."
            )
        return {place for (place, _), flag in zip(self._within, within, strict=True) if not flag}
