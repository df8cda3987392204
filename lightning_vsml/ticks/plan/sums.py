"""Sums of products that are formed only where they have to be, in symbols.

Summed over inputs, outputs or rows, a product of o (row, input) and tanh(c) (input, output) is a matrix product.
"""

from typing import NamedTuple

from lightning_vsml.ticks.plan.graph import Graph


class Product(NamedTuple):
    """p q, two nodes; p = ``None`` is 1."""

    p: int | None
    q: int

    def form(self, graph: Graph) -> int:
        """The product itself."""
        return self.q if self.p is None else graph.mul(self.p, self.q)


Sum = tuple[Product, ...]  # empty is 0


def form(graph: Graph, terms: Sum) -> int:
    """The sum itself, of one term or more."""
    return graph.add(*(term.form(graph) for term in terms))


class Activation(NamedTuple):
    """A gate's value, constant + rest; rest = ``None`` is 0."""

    constant: float
    rest: int | None

    def is_just(self, constant: float) -> bool:
        """Whether it is that constant and nothing else."""
        return self.rest is None and self.constant == constant

    def times(self, graph: Graph, q: int) -> Sum:
        """The terms of this times ``q``; only one where ``q`` is spread: a second would cost another pass."""
        constant = graph.constant(self.constant)
        if self.rest is None:
            return (Product(None, graph.mul(constant, q)),)
        if self.constant == 0.0 or graph.is_spread(q):
            return (Product(graph.add(constant, self.rest) if self.constant else self.rest, q),)
        return Product(None, graph.mul(constant, q)), Product(self.rest, q)


class Memory(NamedTuple):
    """A unit's c: the node it started from, unless a forget gate has touched it, plus products."""

    start: int | None
    terms: Sum

    def form(self, graph: Graph) -> int | None:
        """c itself; ``None`` where it is 0."""
        terms = self.terms if self.start is None else (Product(None, self.start), *self.terms)
        return form(graph, terms) if terms else None
