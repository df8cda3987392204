"""One use of a grid: its input, in a layout of its own, and the three sums that a step consists of.

The layer's input has the layout ``ra``, feedback and outputs have ``rb``. What stands between two sums is elementwise,
so it does not matter to it which these are. The bias, an input that is always 1, is the last row of a grid (G, A, B)
and has no place in ``ra``.
"""

from abc import ABC, abstractmethod
from functools import cached_property

import torch
from torch import Tensor

from lightning_vsml.ticks.ranges import interval

Factor = Tensor | float  # a number where it is the same everywhere


class Site(ABC):
    """One use of a grid.

    Args:
        x: the layer's input as ``ra``, without the bias.
        shape: (G, A, B) of the grid, A with the bias row.
        bias: whether the last of the A rows is a bias.
    """

    sparse = False  # whether inputs that are 0 are left out of everything

    def __init__(self, x: Tensor, shape: tuple[int, int, int], bias: bool = False) -> None:
        self.x, self.shape, self.bias = x, shape, bias

    @cached_property
    def range(self) -> tuple[float, float]:
        """The least and the largest value of x."""
        return interval(self.x)

    @property
    @abstractmethod
    def rows(self) -> int:
        """R, samples times positions."""

    @property
    @abstractmethod
    def output_shape(self) -> tuple[int, ...]:
        """Of ``rb``."""

    @abstractmethod
    def as_rows(self, x: Tensor) -> Tensor:
        """``ra`` as rows ``(R, G, A)`` without bias; linear and differentiable."""

    @abstractmethod
    def outputs_as_rows(self, y: Tensor) -> Tensor:
        """``rb`` as rows ``(R, G, B)``."""

    @abstractmethod
    def rows_as_outputs(self, y: Tensor) -> Tensor:
        """The inverse of :meth:`outputs_as_rows`."""

    @abstractmethod
    def spread(self, groups: Tensor, shape: str) -> Tensor:
        """A number for each group ``(G,)``, so that it broadcasts with what has ``shape``."""

    def select(self, planes: Tensor) -> Tensor:
        """What is used of the state ``(P, G, A, B)``."""
        return planes

    def at(self, x: Tensor | None) -> "Site":
        """The same with another tensor of these values in place of x; or without, until it is there again."""
        other = object.__new__(type(self))
        vars(other).update(vars(self), x=x)
        return other

    def forward(self, p: Factor, at_one: Factor, g: Factor, alpha: float) -> Tensor:
        """``alpha sum_a p g`` -> ``rb``; in the bias row p is ``at_one``."""
        grid = self._grid(g)
        main, last = (grid[:, :-1], grid[:, -1:]) if self.bias else (grid, None)
        y = self._forward(self._inputs(p), main, alpha)
        if last is None:
            return y
        return y + self._as_output(last * (self._each(at_one) * alpha))

    def backward(self, q: Factor, g: Factor, alpha: float) -> Tensor:
        """``alpha sum_b q g`` -> ``ra``."""
        grid = self._grid(g)
        return self._backward(self._outputs(q), grid[:, :-1] if self.bias else grid, alpha)

    def change(self, p: Factor, at_one: Factor, q: Factor, alpha: float, out: Tensor | None = None) -> Tensor:
        """``alpha sum_r p q`` -> ``(G, A, B)``, into ``out`` if given."""
        out = self.empty() if out is None else out
        if not isinstance(q, Tensor):
            q, alpha = 1.0, alpha * q
        if isinstance(p, Tensor) and p.dim():
            main = out[:, :-1] if self.bias else out
            self._change(self._inputs(p), self._outputs(q), alpha, main)
            if self.bias:
                out[:, -1:] = self._total(self._outputs(q)) * (self._each(at_one) * alpha)
        elif isinstance(q, Tensor):  # a sum over rows of q alone
            out.copy_((self._total(self._outputs(q)) * (p * alpha)).expand_as(out))
        else:
            out.copy_(torch.as_tensor(p * (alpha * self.rows), dtype=out.dtype, device=out.device).expand_as(out))
        return out

    def empty(self, planes: int | None = None) -> Tensor:
        """A new grid ``(G, A, B)``, or several ``(P, G, A, B)``."""
        return empty_grid(self.shape if planes is None else (planes, *self.shape), self.x)

    @abstractmethod
    def _forward(self, p: Tensor, g: Tensor, alpha: float) -> Tensor:
        """Without bias: ``ra``, (G, A, B) -> ``rb``."""

    @abstractmethod
    def _backward(self, q: Tensor, g: Tensor, alpha: float) -> Tensor:
        """Without bias: ``rb``, (G, A, B) -> ``ra``."""

    @abstractmethod
    def _change(self, p: Tensor, q: Tensor, alpha: float, out: Tensor) -> None:
        """Without bias: ``ra``, ``rb`` -> ``out`` (G, A, B)."""

    @abstractmethod
    def _total(self, q: Tensor) -> Tensor:
        """``sum_r q``: ``rb`` -> ``(G, 1, B)``."""

    @abstractmethod
    def _as_output(self, vector: Tensor) -> Tensor:
        """``(G, 1, B)``, so that it broadcasts with ``rb``."""

    def _inputs(self, p: Factor) -> Tensor:
        return self._whole(p, self.x.shape)

    def _outputs(self, q: Factor) -> Tensor:
        return self._whole(q, self.output_shape)

    def _grid(self, g: Factor) -> Tensor:
        return self._whole(g, self.shape)

    def _whole(self, factor: Factor, shape: tuple[int, ...]) -> Tensor:
        if not isinstance(factor, Tensor):
            factor = self.x.new_tensor(factor)
        return factor if factor.shape == shape else factor.expand(shape)

    @staticmethod
    def _each(at_one: Factor) -> Factor:
        return at_one.view(-1, 1, 1) if isinstance(at_one, Tensor) and at_one.dim() else at_one


def empty_grid(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """An empty ``(..., A, B)``: output by output in memory, as weights are, each at the start of a cache line."""
    *rest, A, B = shape
    width = A if A < 16 else -(-A // 16) * 16
    return like.new_empty(*rest, B, width)[..., :A].mT
