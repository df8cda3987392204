"""Sums of products of values that are formed only where they have to be.

Values have four dimensions, rows x groups x inputs x outputs, of size 1 where they do not depend on them. Summed over
inputs, outputs or rows, a product of o (row, input) and tanh(c) (input, output) is a matrix product, never formed.
"""

from typing import NamedTuple

import torch
from torch import Tensor

ROW, GROUP, INPUT, OUTPUT = range(4)
_LETTERS = "rgab"


def is_spread(value: Tensor) -> bool:
    """Whether it depends on row, input and output."""
    return value.dim() == 4 and min(value.shape[ROW], value.shape[INPUT], value.shape[OUTPUT]) > 1


class Product(NamedTuple):
    """p q, formed only where it has to be; p = ``None`` is 1."""

    p: Tensor | None
    q: Tensor

    def form(self) -> Tensor:
        """The product itself."""
        return self.q if self.p is None else self.p * self.q

    def sum(self, dim: int, size: int) -> Tensor:
        """Sum over ``dim``, of ``size`` where neither factor depends on it; the dimension is kept."""
        factors = [factor.view((1,) * (4 - factor.dim()) + factor.shape) for factor in self if factor is not None]
        inputs = ["".join(letter for letter, n in zip(_LETTERS, f.shape, strict=True) if n > 1) for f in factors]
        output = "".join(letter for letter in _LETTERS if letter in "".join(inputs) and letter != _LETTERS[dim])
        total = torch.einsum(f"{','.join(inputs)}->{output}", *(factor.squeeze() for factor in factors))
        shape = torch.broadcast_shapes(*(factor.shape for factor in factors))
        total = total.view(*shape[:dim], 1, *shape[dim + 1 :])
        return total if shape[dim] > 1 else total * size


Sum = tuple[Product, ...]  # empty is 0


def form(terms: Sum) -> Tensor | None:
    """The sum itself, ``None`` where it is 0; small shapes first, so that what cancels does so before it is spread."""
    parts = sorted((term.form() for term in terms), key=Tensor.numel)
    return sum(parts[1:], start=parts[0]) if parts else None


class Activation(NamedTuple):
    """A gate's value, constant + rest; rest = ``None`` is 0."""

    constant: float
    rest: Tensor | None

    def is_just(self, constant: float) -> bool:
        """Whether it is that constant and nothing else."""
        return self.rest is None and self.constant == constant

    def times(self, q: Tensor) -> Sum:
        """The terms of this times ``q``; only one where ``q`` is spread: a second would cost another pass."""
        if self.rest is not None and (self.constant == 0.0 or is_spread(q)):
            return (Product(self.rest + self.constant if self.constant else self.rest, q),)
        first = Product(None, q if self.constant == 1.0 else self.constant * q)
        return (first,) if self.rest is None else (first, Product(self.rest, q))


class Memory(NamedTuple):
    """A unit's c: the state it started from, unless a forget gate has touched it, plus products."""

    start: Tensor | None
    terms: Sum

    def form(self) -> Tensor | None:
        """c itself; ``None`` where it is 0."""
        start = () if self.start is None else (Product(None, self.start),)
        return form(start + self.terms)
