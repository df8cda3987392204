"""What learning did to the state of a grid, until it is committed."""

from typing import NamedTuple

import torch
from torch import Tensor


class Change(NamedTuple):
    """What one or several uses of a grid did to its state; changes of one step add up like gradients.

    Attributes:
        planes: of memories mean over samples, sum over positions (or less: see ``positions`` of
            :class:`~lightning_vsml.LearningAlgorithm`); of other planes sum over rows. ``(P, G, A, B)``, of the planes
            that learning changes.
        rows: how many rows were summed; over several processes, their mean.
        inputs: which of the A inputs it is about, where others did not take part; one may occur several times.
    """

    planes: Tensor
    rows: float
    inputs: Tensor | None = None

    def plus(self, other: "Change") -> "Change":
        """Both changes together: what a layer used twice, or two accumulated batches, do."""
        rows = self.rows + other.rows
        if self.inputs is None or other.inputs is None:
            return Change(self.planes + other.planes, rows)
        return Change(torch.cat([self.planes, other.planes], 2), rows, torch.cat([self.inputs, other.inputs]))

    def whole(self, A: int) -> Tensor:
        """The change of all A inputs, ``(P, G, A, B)``."""
        if self.inputs is None:
            return self.planes
        P, G, _, B = self.planes.shape
        return self.planes.new_zeros(P, G, A, B).index_add_(2, self.inputs, self.planes)
