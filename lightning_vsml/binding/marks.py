"""Whether somebody else has changed a layer's weights, without a copy of them to compare with."""

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_vsml.binding.grids import Grid
from lightning_vsml.binding.grids.embedding import EmbeddingGrid


class Marks(NamedTuple):
    """What a layer's weights were when its state was made to stand for them.

    Attributes:
        places: addresses and versions of its parameters: changes that autograd can see.
        marks: sums over them: changes through ``.data`` show in these. Only where it is cheap: on the CPU, and not for
            Embeddings, which are large where few of their vectors change.
    """

    places: tuple[tuple[int, int], ...]
    marks: tuple[Tensor, ...]

    @classmethod
    def of(cls, grid: Grid) -> "Marks":
        """As they are now."""
        cheap = grid.placement[0].type == "cpu" and not isinstance(grid, EmbeddingGrid)
        return cls(_places(grid), tuple(sums for p in grid.parameters for sums in _marks(p)) if cheap else ())

    def unchanged(self, grid: Grid, thorough: bool = True) -> bool:
        """Whether they still are that; the sums are looked at if ``thorough``."""
        if self.places != _places(grid):
            return False
        return not thorough or all(map(torch.equal, self.marks, self.of(grid).marks))


def _places(grid: Grid) -> tuple[tuple[int, int], ...]:
    return tuple((parameter.data_ptr(), parameter._version) for parameter in grid.parameters)


def _marks(parameter: Tensor) -> tuple[Tensor, ...]:
    """The sum of all bits, in which any one change shows, and random sums of every row, in which exchanges do."""
    values = parameter.detach()
    if values.is_complex():
        values = torch.view_as_real(values)
    if values.dim() < 2:
        return (values.clone(),)
    rows = values.reshape(len(values), -1)
    kind = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[values.element_size()]
    bits = rows.reshape(-1).view(kind)
    if bits.numel() * bits.element_size() % 8 == 0 and bits.storage_offset() * bits.element_size() % 8 == 0:
        bits = bits.view(torch.int64)
    return bits.sum(), torch.mv(rows, _weights(rows.shape[1], rows.dtype))


@cache
def _weights(n: int, dtype: torch.dtype) -> Tensor:
    return torch.rand(n, generator=torch.Generator().manual_seed(n)).to(dtype)
