"""The rules that one layer's nodes follow: which tensors they are, and what they are fed."""

from collections.abc import Mapping
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from lightning_vsml.algorithms.mplp import nodes
from lightning_vsml.algorithms.mplp.statistics import Recording, scaled, standardised

SHARING = ("tensor", "kind", "statistics")


class Rules(NamedTuple):
    """Of the layer at a place.

    Attributes:
        V: tensors by name, of all layers.
        sharing: what is not a layer's own, see :class:`~lightning_vsml.algorithms.mplp.MPLP`.
        place: of the layer.
        recording: where statistics are noted.
    """

    V: Mapping[str, Tensor]
    sharing: str
    place: int
    recording: Recording | None

    def key(self, kind: str, what: str = "rules") -> str:
        """The name of a node's tensors; ``what``: ``"rules"`` or ``"statistics"``."""
        own = self.sharing == "tensor" or (self.sharing == "kind" and what == "statistics")
        return f"{kind}.{self.place}" if own and kind not in nodes.LOSSES else kind

    def fed(self, kind: str, parts: Mapping[str, Tensor]) -> list[Tensor]:
        """What a node's network is fed, standardised and in its order."""
        key = self.key(kind, "statistics")
        return [
            standardised(self.V, f"{key}.statistics.{name}", parts[name], self.recording) for name in nodes.inputs(kind)
        ]

    def moved(self, kind: str, update: Tensor) -> Tensor:
        """Parameters' updates in their scale."""
        return scaled(self.V, self.key(kind, "statistics"), update, self.recording)

    def respond(self, kind: str, parts: Mapping[str, Tensor]) -> Tensor:
        """A message back from a node without parameters: parts ``(n, ...)`` -> ``(n, M)``."""
        return nodes.respond(self.V, self.key(kind), self.fed(kind, parts))


def of_loss(function: str, y: Tensor, target: Tensor, weight: Tensor) -> dict[str, Tensor]:
    """What a loss's node is fed (eq. 6: what it is sent is the loss itself), each shaped as ``y``.

    Args:
        function: ``"cross_entropy"`` or ``"mse_loss"``.
        y: outputs of the model.
        target: as the function takes it.
        weight: derivative of what is minimised by the function's value, 1 where that is the loss itself.
    """
    if function == "cross_entropy":
        loss = F.cross_entropy(y, target, reduction="none")
        classes = 1 if y.dim() > 1 else 0
        output = y.softmax(classes)
        if not target.is_floating_point():
            target = F.one_hot(target, y.shape[classes]).movedim(-1, classes).to(y)
        loss = loss.unsqueeze(classes).expand_as(y)
    else:
        loss, output = (y - target).square(), y
    return {"loss": loss * weight, "output": output, "error": target - output}
