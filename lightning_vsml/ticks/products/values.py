"""Polynomials in atoms as tensors: each atom once in a call, each polynomial by Horner's rule."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from lightning_vsml.ticks.cell import Cell
from lightning_vsml.ticks.products.algebra import Algebra, Terms
from lightning_vsml.ticks.products.horner import Arithmetic, evaluate
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
            self._polynomials[key] = evaluate(terms, _OnTensors(self, shape))
        return self._polynomials[key]

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
        argument = evaluate(dict(value), _OnTensors(self, shape))  # type: ignore[call-overload]
        if isinstance(argument, float):
            return float(FUNCTIONS[kind](torch.tensor(argument, dtype=torch.float64)))
        return FUNCTIONS[kind](argument)


class _OnTensors(Arithmetic):
    """Of polynomials whose atoms broadcast with ``shape``; Horner's rule without new memory."""

    def __init__(self, values: Values, shape: str) -> None:
        self.values, self.shape = values, shape

    def atom(self, place: int) -> Factor:
        return self.values.atom(place, self.shape)

    def horner(self, total: Factor, variable: Factor, c: float) -> Factor:
        if isinstance(total, float) or total.requires_grad:
            return total * variable + c
        return total.mul_(variable).add_(c)
