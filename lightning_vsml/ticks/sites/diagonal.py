"""The affine part of normalising layers: each feature is a group of one input and one output."""

from torch import Tensor

from lightning_vsml.ticks.sites.base import Site


class Diagonal(Site):
    """``ra`` and ``rb`` are the normalised input as it is; features lie in one of its dimensions.

    Args:
        x: the normalised input.
        shape: (G, 1 or 2, 1).
        bias: whether there is one.
        dim: where the G features are.
    """

    def __init__(self, x: Tensor, shape: tuple[int, int, int], bias: bool, *, dim: int) -> None:
        super().__init__(x, shape, bias)
        self.dim = dim % x.dim()

    @property
    def rows(self) -> int:
        return self.x.numel() // self.shape[0]

    @property
    def output_shape(self) -> tuple[int, ...]:
        return tuple(self.x.shape)

    def as_rows(self, x: Tensor) -> Tensor:
        return x.movedim(self.dim, -1).reshape(-1, self.shape[0], 1)

    def outputs_as_rows(self, y: Tensor) -> Tensor:
        return self.as_rows(y)

    def rows_as_outputs(self, y: Tensor) -> Tensor:
        other = [size for dim, size in enumerate(self.x.shape) if dim != self.dim]
        return y.reshape(*other, -1).movedim(-1, self.dim)

    def spread(self, groups: Tensor, shape: str) -> Tensor:
        return groups.view(-1, 1, 1) if shape == "ab" else self._as_output(groups)

    def _as_output(self, vector: Tensor) -> Tensor:
        return vector.reshape(-1, *[1] * (self.x.dim() - self.dim - 1))

    def _total(self, q: Tensor) -> Tensor:
        others = [dim for dim in range(q.dim()) if dim != self.dim]
        return (q.sum(others) if others else q).view(-1, 1, 1)

    def _forward(self, p: Tensor, g: Tensor, alpha: float) -> Tensor:
        return p * self._as_output(g * alpha)

    def _backward(self, q: Tensor, g: Tensor, alpha: float) -> Tensor:
        return q * self._as_output(g * alpha)

    def _change(self, p: Tensor, q: Tensor, alpha: float, out: Tensor) -> None:
        out.copy_(self._total(p * q) * alpha)
