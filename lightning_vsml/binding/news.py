"""What is noticed of a model while it learns, said once."""

import logging
import warnings
from collections.abc import Mapping

import torch.distributed as dist

from lightning_vsml.binding.health import Health


class News:
    """Of a model.

    Args:
        algorithm: its name.
        first: whether only the first of several processes says anything.

    Attributes:
        said: what was, in order.
    """

    def __init__(self, algorithm: str, first: bool) -> None:
        self.algorithm, self.first = algorithm, first
        self.said: list[str] = []
        self._told: set[object] = set()

    def tell(self, what: str) -> None:
        """Once for all processes."""
        self.said.append(what)
        if not self.first or dist.get_rank() == 0:
            logging.getLogger("lightning_vsml").info(what)

    def copied(self) -> None:
        """A model was, whose states stay with the original."""
        if "copied" not in self._told:
            self._told.add("copied")
            self.tell(
                f"the model was copied while attached: the copy has its weights, but what {self.algorithm!r} has "
                "learned lies in states, which stay with the original"
            )

    def after(self, step: int, health: Health, exact_ticks: Mapping[str, str]) -> None:
        """Saturation and exact ticks, once for each grid."""
        for warning in health.warnings(self.algorithm, self._told):
            warnings.warn(f"step {step}: {warning}", stacklevel=3)
        if exact := {name: why for name, why in exact_ticks.items() if ("exact", name) not in self._told}:
            self._told |= {("exact", name) for name in exact}
            reasons = "; ".join(f"{name} ({why})" for name, why in sorted(exact.items()))
            self.tell(
                f"step {step}: ticks as few matrix products would not keep the tolerance, so every sample and "
                f"synapse is computed, which is slower, in {reasons}. vsml/exact_ticks counts such layers"
            )
