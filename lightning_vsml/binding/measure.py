"""Numbers about a learning step, taken only on steps that are logged."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_vsml.algorithms.base import Algorithm
from lightning_vsml.algorithms.change import Change
from lightning_vsml.ticks import Site, Told


class Measurements:
    """Collects, per layer, what :meth:`metrics` names.

    Args:
        cosines: also compare with gradient descent; costs another way back through glue and layers.
    """

    def __init__(self, cosines: bool = False) -> None:
        self.cosines = cosines
        self.gradients: dict[str, Tensor] = {}
        self.complete = False  # a commit was measured
        self._values: dict[str, Tensor] = {}

    def learned(
        self,
        name: str,
        algorithm: Algorithm,
        state: Tensor,
        site: Site,
        e: Tensor,
        message: Tensor,
    ) -> None:
        """After the learn ticks of one call: feedback and backward message in the layouts of ``site``."""
        key = f"vsml/feedback_norm/{name}"
        before = self._values.get(key, e.new_zeros(()))
        self._values[key] = torch.hypot(before, e.norm())
        if self.cosines:
            exact = site.backward(e, site.select(algorithm.decode(state).unsqueeze(0))[0], 1.0)
            self._values[f"vsml/message_cosine/{name}"] = _cosine(message, exact)

    def differentiated(self, gradients: Mapping[str, Tensor]) -> None:
        """Before a way back: the true gradients of weights, ``(G, A, B)``."""
        for name, gradient in gradients.items():
            self.gradients[name] = self.gradients.get(name, 0) + gradient

    def compared(
        self, name: str, algorithm: Algorithm, state: Tensor, change: Change, told: Told | None = None
    ) -> None:
        """Before a commit: a grid's state, its change, and what commit ticks are told."""
        if name not in self.gradients:
            return
        own = Change(change.whole(state.shape[2]).clone(), change.rows)  # a commit works in place
        update = algorithm.decode(algorithm.commit(state, own, *([] if told is None else [told]))) - algorithm.decode(
            state
        )
        self._values[f"vsml/update_cosine/{name}"] = _cosine(update, -self.gradients[name])

    def committed(self, name: str, state: Tensor, update: Tensor) -> None:
        """After a commit: the new state and the weights' change ``(G, A, B)``."""
        self.complete = True
        self._values[f"vsml/update_norm/{name}"] = update.norm()
        self._values[f"vsml/state_absmax/{name}"] = state.abs().max()

    def metrics(self) -> dict[str, float]:
        """For each layer:

        * ``vsml/feedback_norm``: L2 norm of the feedback e as it entered the cell, over all rows and outputs;
        * ``vsml/update_norm``: L2 norm of the change of the decoded weights (of the state, where they are not
          readable);
        * ``vsml/state_absmax``: the largest magnitude of any plane of the state (of planes that hold weights, as
        weights);
        * with cosines, ``vsml/update_cosine``: between the layer's update and the true gradient of the loss, downhill;
          and ``vsml/message_cosine``: between its backward message and ``sum_b e w``. Both are 1 for backpropagation.
        """
        return {key: value.item() for key, value in self._values.items()}


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    return F.cosine_similarity(a.flatten(), b.flatten(), dim=0)
