"""Embeddings: one input of each row is 1, the others are 0 and left out of everything."""

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from lightning_vsml.ticks.sites.base import Site
from lightning_vsml.ticks.sites.rows import Rows


class Lookup(Site):
    """``ra`` is ``(R, 1, 1)``: the 1 of each row. ``rb`` is ``(R, 1, B)``.

    Only the vectors that occur take part: the grid is as large as there are different ones.

    Args:
        indices: which input is 1, ``(R,)``.
        shape: (1, A, B) of the whole grid.
        dtype: of states and messages.
        padding: an index that has no input at all.
    """

    sparse = True

    def __init__(
        self, indices: Tensor, shape: tuple[int, int, int], dtype: torch.dtype, padding: int | None = None
    ) -> None:
        self.indices, self.vocabulary = indices, shape[1]
        self.occurring, self.place = torch.unique(indices, return_inverse=True)
        x = (indices != (-1 if padding is None else padding)).to(dtype).view(-1, 1, 1)
        super().__init__(x, (1, len(self.occurring), shape[2]))

    @property
    def rows(self) -> int:
        return len(self.place)

    @property
    def output_shape(self) -> tuple[int, ...]:
        return self.rows, 1, self.shape[2]

    def select(self, planes: Tensor) -> Tensor:
        return planes[:, :, self.occurring]

    def dense(self) -> Rows:
        """The same with every input there is, for algorithms in which also those that are 0 do something."""
        rows = one_hot(self.indices, self.vocabulary).to(self.x).unsqueeze(1) * self.x
        return Rows(rows, (1, self.vocabulary, self.shape[2]))

    def as_rows(self, x: Tensor) -> Tensor:
        return one_hot(self.place, self.shape[1]).to(x).unsqueeze(1) * x

    def outputs_as_rows(self, y: Tensor) -> Tensor:
        return y

    def rows_as_outputs(self, y: Tensor) -> Tensor:
        return y

    def spread(self, groups: Tensor, shape: str) -> Tensor:
        return groups.view(1, 1, 1)

    def _as_output(self, vector: Tensor) -> Tensor:
        return vector

    def _total(self, q: Tensor) -> Tensor:
        return q.sum(0).unsqueeze(1)

    def _forward(self, p: Tensor, g: Tensor, alpha: float) -> Tensor:
        return g[0, self.place].unsqueeze(1) * (p * alpha)

    def _backward(self, q: Tensor, g: Tensor, alpha: float) -> Tensor:
        return (q * g[0, self.place].unsqueeze(1)).sum(-1, keepdim=True) * alpha

    def _change(self, p: Tensor, q: Tensor, alpha: float, out: Tensor) -> None:
        sums = q.new_zeros(self.shape[1], self.shape[2]).index_add(0, self.place, (q * (p * alpha)).squeeze(1))
        out.copy_(sums.unsqueeze(0))
