"""Polynomials in atoms as tensors: each atom once in a call, each polynomial by Horner's rule."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from lightning_vsml.ticks.cell import Cell
from lightning_vsml.ticks.products.algebra import Algebra, Terms
from lightning_vsml.ticks.products.phases import parse
from lightning_vsml.ticks.sites import Factor, Site

FUNCTIONS = {"tanh": torch.tanh, "sigm": torch.sigmoid, "exp": torch.exp, "factor": lambda z: z, "sum": lambda z: z}


class Values:
    """The tensors of one call.

    Args:
        algebra: knows the atoms.
        cell: gives the free parameters.
        site: where the grid is used; gives x.
        e: what backward messages carry, each as ``rb``.
        planes: of the state, ``(P, G, A, B)``.
        one: take 1 for x: what the bias sees.
    """

    def __init__(
        self, algebra: Algebra, cell: Cell, site: Site, e: Sequence[Tensor], planes: Tensor, one: bool = False
    ) -> None:
        self.algebra, self.cell, self.site, self.e, self.planes, self.one = algebra, cell, site, e, planes, one
        self._atoms: dict[tuple[int, str], Factor] = {}
        self._polynomials: dict[int, Factor] = {}

    def know(self, identities: Iterable[int], values: Iterable[Tensor]) -> None:
        """Polynomials that were computed elsewhere."""
        self._polynomials.update(zip(identities, values, strict=True))

    def polynomial(self, terms: Terms, shape: str) -> Factor:
        """A polynomial of atoms of ``shape``; a number where it has none."""
        if len(terms) == 1:  # most are a single number or atom
            ((monomial, coefficient),) = terms.items()
            if not monomial:
                return coefficient
            if coefficient == 1.0 and len(monomial) == 1 and monomial[0][1] == 1:
                return self.atom(monomial[0][0], shape)
        key = id(terms)  # of a plan, which outlives the call
        if key not in self._polynomials:
            self._polynomials[key] = self._sum(terms, shape)
        return self._polynomials[key]

    def _sum(self, terms: Terms, shape: str) -> Factor:
        if not terms:
            return 0.0
        counts: dict[int, int] = {}
        for monomial in terms:
            for atom, _ in monomial:
                counts[atom] = counts.get(atom, 0) + 1
        if not counts:
            return terms[()]
        if len(counts) == 1 and len(terms) > 1:
            return self._univariate(next(iter(counts)), terms, shape)
        atom = max(counts, key=lambda place: counts[place])
        inside: Terms = {}
        outside: Terms = {}
        for monomial, coefficient in terms.items():
            powers = dict(monomial)
            if atom in powers:
                powers[atom] -= 1
                inside[tuple((a, n) for a, n in powers.items() if n)] = coefficient
            else:
                outside[monomial] = coefficient
        value, factor = self.atom(atom, shape), self._sum(inside, shape)
        product = value if isinstance(factor, float) and factor == 1.0 else value * factor
        if not outside:
            return product
        rest = self._sum(outside, shape)
        return product + rest

    def _univariate(self, atom: int, terms: Terms, shape: str) -> Factor:
        """Horner's rule, in the square where all powers are even or all odd."""
        powers = {monomial[0][1] if monomial else 0: c for monomial, c in terms.items()}
        least = min(powers)
        step = 2 if all((power - least) % 2 == 0 for power in powers) else 1
        value = self.atom(atom, shape)
        variable = value * value if step == 2 else value
        top = max(powers)
        total: Factor = powers[top]
        for power in range(top - step, least - 1, -step):
            total = total * variable
            if power in powers:
                total = _plus(total, powers[power])
        for _ in range(least):
            total = _product(total, value)
        return total

    def atom(self, place: int, shape: str) -> Factor:
        """An atom, as it broadcasts with ``shape``."""
        kind, value, own = self.algebra.atoms[place]
        key = (place, own or shape)
        if key not in self._atoms:
            self._atoms[key] = self._atom(kind, value, own or shape)
        return self._atoms[key]

    def _atom(self, kind: str, value: object, shape: str) -> Factor:
        if kind == "x":
            return 1.0 if self.one else self.site.x
        if kind == "e":
            assert isinstance(value, int)
            return self.e[value]
        if kind == "plane":
            assert isinstance(value, int)
            return self.planes[value]
        if kind == "parameter":
            name, row, column = parse(str(value))
            parameter = getattr(self.cell, name)
            found = parameter[..., column] if name == "b" else parameter[..., row, column]
            if not found.dim():
                return found
            groups = found.repeat_interleave(self.site.shape[0] // len(found))
            return groups if self.one and shape == "ra" else self.site.spread(groups, shape)
        argument = self._sum(dict(value), shape)  # type: ignore[call-overload]
        if isinstance(argument, float):
            return float(FUNCTIONS[kind](torch.tensor(argument, dtype=torch.float64)))
        return FUNCTIONS[kind](argument)


def _plus(total: Factor, number: float) -> Factor:
    if isinstance(total, float) or total.requires_grad:
        return total + number
    return total.add_(number)


def _product(total: Factor, value: Factor) -> Factor:
    if isinstance(total, float) or isinstance(value, float) or total.requires_grad or value.requires_grad:
        return total * value
    return total.mul_(value)
