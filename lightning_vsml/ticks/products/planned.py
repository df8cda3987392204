"""What a phase computes on some ranges: the products of every message and of every plane's change."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lightning_vsml.ticks.native.pointwise import Program
from lightning_vsml.ticks.products.algebra import SHAPES, Algebra, Monomial, NotSeparable, Series, Terms
from lightning_vsml.ticks.products.phases import Phase
from lightning_vsml.ticks.products.points import Grid
from lightning_vsml.ticks.products.program import program
from lightning_vsml.ticks.products.ranks import Product, products
from lightning_vsml.ticks.products.refit import refitted

MOST = 32  # products of a message or change: with more, exact ticks are faster
SILENT = 1e-6  # what an input of 0 sends or changes, over the largest: below it that is nothing
SMALLEST, LARGEST = 1e-28, 1e28  # of a number or a factor: their products are to be float32 numbers


class Change(NamedTuple):
    """How a plane changes: ``ratio`` times the change of an earlier plane, plus products.

    Attributes:
        products: to be summed over rows.
        base: an earlier plane, or ``None``.
        ratio: of its change.
    """

    products: tuple[Product, ...]
    base: int | None = None
    ratio: float = 0.0


class Planned(NamedTuple):
    """A phase for some ranges.

    Attributes:
        algebra: of its polynomials.
        messages: of every channel out.
        changes: of every plane; none in a forward phase.
        programs: the factors that are worth it, as one elementwise program for each shape.
    """

    algebra: Algebra
    messages: tuple[tuple[Product, ...], ...]
    changes: tuple[Change, ...]
    programs: dict[str, Program]

    def is_silent(self) -> bool:
        """Whether every product has a factor that is 0 where the input is 0."""
        places = (place for place, atom in enumerate(self.algebra.atoms) if atom.kind == "x")
        grid = Grid(self.algebra, leaf=(next(places), np.zeros(1)))
        parts = [*self.messages[: 0 if self.changes else None], *(change.products for change in self.changes)]
        full = Grid(self.algebra)

        def vanishes(product: Product) -> bool:
            size = np.abs(full.polynomial(product.ra.items())).max()
            return bool(np.abs(grid.polynomial(product.ra.items())).max() <= SILENT * size)

        return all(vanishes(product) for part in parts for product in part)


def assemble(algebra: Algebra, phase: Phase, tolerance: float, floors: Sequence[float]) -> Planned:
    """The products of a phase; ``floors`` are absolute errors of the planes' changes that do no harm.

    Raises:
        NotSeparable: there are none that are few and keep the tolerance.
    """
    outer = "ra" if phase.changes else "rb"
    known: dict[tuple[tuple[Monomial, float], ...], Terms] = {}

    def few(found: list[Product]) -> tuple[Product, ...]:
        if len(found) > MOST:
            raise NotSeparable(f"{len(found)} products would be needed")
        found = [product.mapped(lambda terms: refitted(algebra, terms, tolerance / 30)).normal() for product in found]
        for product in found:
            sizes = [abs(product.alpha), *(algebra.bound(m) for terms in product.factors for m in terms)]
            if not all(SMALLEST < size < LARGEST for size in sizes):
                raise NotSeparable(f"powers from {min(sizes):.0e} to {max(sizes):.0e} would leave the range of float32")
        # what is equal is one object, which a call computes once
        return tuple(product.mapped(lambda terms: known.setdefault(tuple(terms.items()), terms)) for product in found)

    messages = tuple(few(products(algebra, series, outer, tolerance)) for series in phase.messages)
    changes: list[Change] = []
    for place, series in enumerate(phase.changes):
        base, ratio, rest = _shared(algebra, list(phase.changes[:place]), series)
        found = products(algebra, rest, "ab", tolerance, of=series, floor=floors[place])
        changes.append(Change(few(found), base, ratio))
    factors: dict[str, dict[int, Terms]] = {shape: {} for shape in SHAPES}
    for part in (*messages, *(change.products for change in changes)):
        for product in part:
            for shape, terms in zip(SHAPES, product.factors, strict=True):
                if len(terms) > 1 or any(sum(power for _, power in monomial) > 1 for monomial in terms):
                    factors[shape][id(terms)] = terms
    written = {shape: program(algebra, some.values()) for shape, some in factors.items() if some}
    return Planned(algebra, messages, tuple(changes), {shape: one for shape, one in written.items() if one is not None})


def _shared(algebra: Algebra, earlier: list[Series], series: Series) -> tuple[int | None, float, Series]:
    """The earlier series of which this one is a multiple, as far as that leaves less to do; and the rest."""
    best: tuple[int | None, float, Series] = (None, 0.0, series)
    for place, other in enumerate(earlier):
        common = [monomial for monomial in other.terms if monomial in series.terms]
        if not common or len(other.terms) < 2:
            continue
        largest = max(common, key=lambda monomial: abs(other.terms[monomial]) * algebra.bound(monomial))
        ratio = series.terms[largest] / other.terms[largest]
        difference = algebra.add(series, algebra.scale(other, -ratio))
        rest = Series(
            {m: c for m, c in difference.terms.items() if abs(c) > 1e-12 * abs(series.terms.get(m, 0.0))}, series.error
        )
        if len(rest.terms) < len(best[2].terms):
            best = (place, ratio, rest)
    return best
