"""A series as few products P(row, input) Q(row, output) G(input, output), which are what a step costs.

Its terms, apart by one of the three shapes, are a matrix of coefficients between monomials of the other two. As a
function on the declared ranges that matrix has few singular values that count; they are found on a grid of values.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from lightning_vsml.ticks.products.algebra import (
    SHAPES,
    Algebra,
    Monomial,
    Series,
    Terms,
    TooCoarse,
    quotient,
)
from lightning_vsml.ticks.products.points import Grid

MANY = 6  # terms of a series from which on it pays to name its factors
NOTHING = 1e-30  # below it a result may be left out whatever the tolerance
MARGIN = 1.05  # of ranges that were found on the grid


class Product(NamedTuple):
    """alpha P Q G: a number and a polynomial of each shape, its largest coefficient 1; what is free belongs to G."""

    ra: Terms
    rb: Terms
    ab: Terms
    alpha: float = 1.0

    @property
    def factors(self) -> tuple[Terms, Terms, Terms]:
        """P, Q and G."""
        return self.ra, self.rb, self.ab

    def normal(self) -> "Product":
        """With the largest coefficients in alpha: sums take a number without a pass of its own."""
        scales = [max(terms.values(), key=abs) for terms in self.factors]
        ra, rb, ab = (
            {m: c / scale for m, c in terms.items()} for terms, scale in zip(self.factors, scales, strict=True)
        )
        return Product(ra, rb, ab, self.alpha * float(np.prod(scales)))

    def mapped(self, change: Callable[[Terms], Terms]) -> "Product":
        """With something else for each factor."""
        return Product(change(self.ra), change(self.rb), change(self.ab), self.alpha)


Cell = tuple[Monomial, Monomial, Monomial, float]  # what of a term has each shape, and its coefficient


def products(
    algebra: Algebra, series: Series, outer: str, tolerance: float, of: Series | None = None, floor: float = NOTHING
) -> list[Product]:
    """A series as products, of which as few as possible differ in what is not ``outer``.

    Args:
        algebra: of the series.
        series: what is to be summed.
        outer: the shape of the sum: each product costs a matrix product of its other two factors.
        tolerance: relative to the series: to each value, as far as all of its terms have factors in common; else to
            the largest value on the declared ranges.
        of: relative to this instead, which the series is a part of.
        floor: absolute error that does no harm.

    Raises:
        TooCoarse: what was left out of the series may exceed the tolerance.
    """
    series = Series({m: c for m, c in series.terms.items() if algebra.bound(m)}, series.error)
    if not series.terms:
        if series.error > floor:
            raise TooCoarse("everything was left out")
        return []
    common = _common(series.terms)
    reduced = {quotient(monomial, common): c for monomial, c in series.terms.items()}
    grid = Grid(algebra)
    cells: list[Cell] = []
    for monomial, c in reduced.items():
        p, q, g = (_part(algebra, monomial, shape) for shape in SHAPES)
        cells.append((p, q, g, c))
    size = algebra.bound(common)
    scale = sum(abs(c) * algebra.bound(monomial) for monomial, c in reduced.items())
    if of is not None:
        scale = sum(abs(c) * algebra.bound(monomial) for monomial, c in of.terms.items()) / size
    if series.error > max(tolerance * scale * size, floor):
        raise TooCoarse(f"what was left out is up to {series.error / max(scale * size, NOTHING):.1e} of the result")
    allowed = tolerance * (0.3 if common else 0.1) * scale
    ways = (way(grid, cells, mode, allowed) for way in (_one_by_one, _apart) for mode in range(3))
    found = min(ways, key=lambda some: _cost(some, outer))
    ra, rb, ab = (_part(algebra, common, shape) for shape in SHAPES)
    whole = (Product(_shift(one.ra, ra), _shift(one.rb, rb), _shift(one.ab, ab)) for one in found)
    return [one.normal() for one in whole]


def _one_by_one(grid: Grid, cells: list[Cell], mode: int, allowed: float) -> list[Product]:
    """Each monomial of the shape ``mode`` by itself, with the other two factors apart from each other."""
    one, two = (mode + 1) % 3, (mode + 2) % 3
    groups: dict[Monomial, dict[tuple[Monomial, Monomial], float]] = {}
    for *parts, c in cells:
        groups.setdefault(parts[mode], {})[parts[one], parts[two]] = c
    found: list[Product] = []
    for fixed, matrix in groups.items():
        for p, q in low_rank(grid, matrix, allowed / len(groups) / max(grid.algebra.bound(fixed), 1e-300)):
            factors: list[Terms] = [{}, {}, {}]
            factors[mode], factors[one], factors[two] = {fixed: 1.0}, p, q
            found.append(Product(factors[0], factors[1], factors[2]))
    return found


def _apart(grid: Grid, cells: list[Cell], mode: int, allowed: float) -> list[Product]:
    """Factors of the shape ``mode`` are split off first, and then the other two from each other."""
    one, two = (mode + 1) % 3, (mode + 2) % 3
    first: dict[tuple[Monomial, Monomial], float] = {}
    pairs: dict[Monomial, tuple[Monomial, Monomial]] = {}
    for *parts, c in cells:
        both = tuple(sorted((*parts[one], *parts[two])))
        pairs[both] = (parts[one], parts[two])
        first[parts[mode], both] = c
    found: list[Product] = []
    for outer, others in low_rank(grid, first, allowed / 2):
        weight = float(np.abs(grid.polynomial(outer.items())).max()) or 1.0
        for p, q in low_rank(grid, {pairs[both]: c for both, c in others.items()}, allowed / 2 / weight):
            factors: list[Terms] = [{}, {}, {}]
            factors[mode], factors[one], factors[two] = outer, p, q
            found.append(Product(factors[0], factors[1], factors[2]))
    return found


def named(algebra: Algebra, series: Series) -> Series:
    """A series of several shapes with many terms, by few: each factor becomes an atom."""
    spread = {m: c for m, c in series.terms.items() if algebra.shape(m) == "rab"}
    if len(spread) < MANY:
        return series
    grid = Grid(algebra)
    allowed = algebra.precision * 0.1 * sum(abs(c) * algebra.bound(m) for m, c in spread.items())
    rest = Series({m: c for m, c in series.terms.items() if m not in spread}, series.error)
    matrices: dict[tuple[bool, bool, Monomial], dict[tuple[Monomial, Monomial], float]] = {}
    for monomial, c in spread.items():
        p, q, g = (_part(algebra, monomial, shape) for shape in SHAPES)
        fixed, pair = (g, (p, q)) if p and q else ((), (p or q, g))
        matrices.setdefault((bool(p), bool(q), fixed), {})[pair] = c
    terms: Terms = {}
    error = 0.0
    for (_, _, fixed), matrix in matrices.items():
        for factors in low_rank(grid, matrix, allowed / max(algebra.bound(fixed), 1e-300)):
            both, size = list(fixed), 1.0
            for factor in factors:
                monomial, scale = _named(algebra, grid, factor)
                both, size = [*both, *monomial], size * scale
            key = tuple(sorted(both))
            terms[key] = terms.get(key, 0.0) + size
        error += allowed
    if len(terms) >= len(spread):
        return series
    return algebra.add(rest, Series(terms, error))


def _named(algebra: Algebra, grid: Grid, terms: Terms) -> tuple[Monomial, float]:
    """A polynomial as an atom of size 1, and its scale; a single monomial stays what it is."""
    if len(terms) == 1:
        ((monomial, scale),) = terms.items()
        return monomial, scale
    values = grid.polynomial(terms.items())
    scale = float(np.abs(values).max()) or 1.0
    (shape,) = {algebra.shape(monomial) for monomial in terms} - {""} or {""}
    value = tuple(sorted((monomial, c / scale) for monomial, c in terms.items()))
    low, high = values.min() / scale, values.max() / scale
    width = (high - low) * (MARGIN - 1)
    return algebra.atom("factor", value, shape, float(low - width), float(high + width)), scale


def low_rank(grid: Grid, matrix: dict[tuple[Monomial, Monomial], float], allowed: float) -> list[tuple[Terms, Terms]]:
    """``sum c p q`` as few products of a polynomial in p and one in q, up to ``allowed`` anywhere on the grid."""
    bound = grid.algebra.bound
    matrix = {(p, q): c for (p, q), c in matrix.items() if bound(p) and bound(q)}
    rows, columns = (list(dict.fromkeys(key[axis] for key in matrix)) for axis in (0, 1))
    if not matrix:
        return []
    if min(len(rows), len(columns)) == 1:
        if sum(abs(c) * bound(p) * bound(q) for (p, q), c in matrix.items()) <= allowed:
            return []
        if len(rows) == 1:
            return [({rows[0]: 1.0}, {q: c for (_, q), c in matrix.items()})]
        return [({p: c for (p, _), c in matrix.items()}, {columns[0]: 1.0})]
    C = np.zeros((len(rows), len(columns)))
    at_row, at_column = ({one: n for n, one in enumerate(some)} for some in (rows, columns))
    for (p, q), c in matrix.items():
        C[at_row[p], at_column[q]] = c
    V, U = grid.monomials(rows), grid.monomials(columns)
    V_scale, U_scale = (np.where(peak > 0, peak, 1.0) for peak in (np.abs(V).max(0), np.abs(U).max(0)))
    left, R = np.linalg.qr(V / V_scale)
    right, S = np.linalg.qr(U / U_scale)
    scaled = C * V_scale[:, None] * U_scale[None, :]
    u, sigma, v = np.linalg.svd(R @ scaled @ S.T)
    rank, left_out = len(sigma), 0.0
    while rank > 0:
        k = rank - 1
        left_out += sigma[k] * np.abs(left @ u[:, k]).max() * np.abs(right @ v[k]).max()
        if left_out > allowed:
            break
        rank -= 1
    if 0 < len(rows) <= min(rank, len(columns)):
        return [({p: 1.0}, _terms(columns, C[i])) for i, p in enumerate(rows)]
    if len(columns) <= rank:
        return [(_terms(rows, C[:, j]), {q: 1.0}) for j, q in enumerate(columns)]
    found = []
    for k in range(rank):  # singular vectors, written in the monomials
        p = scaled @ (S.T @ v[k]) / V_scale
        q = scaled.T @ (R.T @ u[:, k]) / U_scale / max(sigma[k], 1e-300)
        found.append((_terms(rows, p), _terms(columns, q)))
    return found


def _terms(monomials: list[Monomial], coefficients: np.ndarray) -> Terms:
    return {m: float(c) for m, c in zip(monomials, coefficients, strict=True) if c}


def _part(algebra: Algebra, monomial: Monomial, shape: str) -> Monomial:
    """What of a monomial has a shape; parameters go with ``ab``."""
    also = ("ab", "") if shape == "ab" else (shape,)
    return tuple((atom, power) for atom, power in monomial if algebra.atoms[atom].shape in also)


def _common(terms: Terms) -> Monomial:
    """The largest monomial that divides all terms."""
    first, *others = ({atom: power for atom, power in monomial} for monomial in terms)
    for other in others:
        first = {atom: min(power, other[atom]) for atom, power in first.items() if atom in other}
    return tuple(sorted(first.items()))


def _shift(terms: Terms, by: Monomial) -> Terms:
    if not by:
        return terms
    shifted = {}
    for monomial, c in terms.items():
        powers = dict(monomial)
        for atom, power in by:
            powers[atom] = powers.get(atom, 0) + power
        shifted[tuple(sorted(powers.items()))] = c
    return shifted


def _cost(found: list[Product], outer: str) -> float:
    """Matrix products first, then passes over factors; a sum of a factor alone is no matrix product."""
    inner = {
        tuple(
            tuple(sorted(terms.items())) for shape, terms in zip(SHAPES, product.factors, strict=True) if shape != outer
        )
        for product in found
    }
    real = sum(all(set(dict(factor)) != {()} for factor in pair) for pair in inner)
    passes = sum(len(terms) for product in found for terms in product.factors)
    return real + 0.1 * (len(inner) - real) + 0.01 * passes
