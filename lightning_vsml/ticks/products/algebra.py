"""Sums of products of quantities that each depend on at most two of row, input and output, with bounds.

A :class:`Series` is a polynomial in *atoms*: what enters a tick, and tanh, sigm or exp of such polynomials, at shapes
``ra`` (row, input), ``rb`` (row, output) or ``ab`` (input, output). A series of atoms of several shapes depends on row,
input and output at once without ever being formed there: summed over one of the three, it is a few matrix products.
"""

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

Monomial = tuple[tuple[int, int], ...]  # (atom, power), by atom; () is 1
Terms = dict[Monomial, float]
Interval = tuple[float, float]
WIDEST = 64.0  # an argument may vary by this: points of a grid are then a quarter apart
SHAPES = ("ra", "rb", "ab")


class NotSeparable(ArithmeticError):
    """What is to be computed has no short sum of products on these ranges."""


class TooCoarse(NotSeparable):
    """What a series leaves out may exceed the tolerance; with more precision it might not."""


class Atom(NamedTuple):
    """A quantity of a single shape.

    Attributes:
        kind: ``x``, ``e`` (what a backward message carries), ``plane`` (of the state), ``parameter`` (a free one); or
            ``tanh``, ``sigm``, ``exp`` of a polynomial; or one itself: a ``factor`` of a series that was given a name,
            a ``sum`` whose range was measured.
        value: which one; of a function its argument, as sorted terms.
        shape: ``ra``, ``rb``, ``ab``, or ``""`` for parameters.
    """

    kind: str
    value: object
    shape: str


class Series(NamedTuple):
    """A polynomial in atoms, and how far it may be off.

    Attributes:
        terms: coefficients by monomial.
        error: bound of everything that was left out, over all values the atoms may take.
    """

    terms: Terms
    error: float = 0.0


class Algebra:
    """The atoms, the intervals they are declared to lie in, and arithmetic with series of them.

    Args:
        precision: terms below this, relative to the largest of their series, are left out and counted as error.
        measured: intervals of polynomials of messages, by their :meth:`key`: narrower than arithmetic can know them.
        limit: a series of more terms is given up.
        local: nothing is summed before it is computed, number by number: functions may vary as they like.

    Attributes:
        wishes: polynomials of messages that it would help to measure.
    """

    def __init__(
        self,
        precision: float,
        measured: Mapping[str, Interval] | None = None,
        limit: int = 2000,
        local: bool = False,
    ) -> None:
        self.precision, self.limit, self.local = precision, limit, local
        self._measured = dict(measured or {})
        self.wishes: dict[str, Terms] = {}
        self.atoms: list[Atom] = []
        self.ranges: list[Interval] = []
        self._known: dict[Atom, int] = {}
        self._bounds: dict[Monomial, float] = {(): 1.0}
        self._shapes: dict[Monomial, str] = {(): ""}

    def atom(self, kind: str, value: object, shape: str, low: float, high: float) -> Monomial:
        """A quantity that lies in [low, high], as a monomial."""
        atom = Atom(kind, value, shape)
        if atom not in self._known:
            self._known[atom] = len(self.atoms)
            self.atoms.append(atom)
            self.ranges.append((low, high))
        return ((self._known[atom], 1),)

    def function(self, kind: str, argument: Terms, low: float, high: float) -> Series:
        """The atom ``kind`` of a polynomial of a single shape, with values in [low, high].

        Raises:
            NotSeparable: it changes within so small a part of its range that the points of a grid may miss it.
        """
        start, end = self.interval(argument)
        if not (self.local or end - start <= WIDEST):
            raise NotSeparable(f"{kind} of an argument that varies by {end - start:.3g}")
        (shape,) = {self.shape(monomial) for monomial in argument} - {""} or {""}
        return Series({self.atom(kind, tuple(sorted(argument.items())), shape, low, high): 1.0})

    def shape(self, monomial: Monomial) -> str:
        """``ra``, ``rb``, ``ab``, ``""``, or ``rab`` for products of several shapes."""
        if monomial not in self._shapes:
            shapes = {self.atoms[atom].shape for atom, _ in monomial} - {""}
            self._shapes[monomial] = "rab" if len(shapes) > 1 else "".join(shapes)
        return self._shapes[monomial]

    def bound(self, monomial: Monomial) -> float:
        """The largest magnitude that a monomial can have."""
        if monomial not in self._bounds:
            try:
                self._bounds[monomial] = math.prod(max(map(abs, self.ranges[atom])) ** n for atom, n in monomial)
            except OverflowError:
                self._bounds[monomial] = math.inf
        return self._bounds[monomial]

    def interval(self, terms: Terms, error: float = 0.0) -> Interval:
        """Where the value of a polynomial lies, by interval arithmetic."""
        low = high = 0.0
        for monomial, coefficient in terms.items():
            a, b = 1.0, 1.0
            for atom, power in monomial:
                ends = [end**power for end in self.ranges[atom]]
                if power % 2 == 0 and self.ranges[atom][0] < 0 < self.ranges[atom][1]:
                    ends.append(0.0)
                corners = [p * q for p in (a, b) for q in (min(ends), max(ends))]
                a, b = min(corners), max(corners)
            low += min(coefficient * a, coefficient * b)
            high += max(coefficient * a, coefficient * b)
        return low - error, high + error

    def size(self, series: Series) -> float:
        """The largest magnitude that a series can have."""
        return max(map(abs, self.interval(*series)))

    def by_shape(self, terms: Terms) -> dict[str, Terms]:
        """The terms apart by shape; constants and parameters under ``""``."""
        parts: dict[str, Terms] = {}
        for monomial, coefficient in terms.items():
            parts.setdefault(self.shape(monomial), {})[monomial] = coefficient
        return parts

    def of_messages(self, terms: Terms) -> Terms:
        """A sum in messages alone, as an atom where it was measured; else it is put down to be."""
        leaves = {atom for monomial in terms for atom, _ in monomial}
        if len(leaves) == 1 or any(self.atoms[atom].kind not in ("x", "e") for atom in leaves):
            return terms
        key = self.key(terms)
        if key not in self._measured:
            self.wishes[key] = terms
            return terms
        (shape,) = {self.shape(monomial) for monomial in terms} - {""}
        return {self.atom("sum", tuple(sorted(terms.items())), shape, *self._measured[key]): 1.0}

    def key(self, terms: Iterable[tuple[Monomial, float]] | Terms) -> str:
        """A name for a polynomial that does not depend on the order in which atoms came up."""
        pairs = terms.items() if isinstance(terms, dict) else terms
        return "+".join(sorted(f"{c!r}{''.join(sorted(f'*{self._name(a)}^{n}' for a, n in m))}" for m, c in pairs))

    def _name(self, place: int) -> str:
        kind, value, _ = self.atoms[place]
        return f"{kind}({self.key(value) if isinstance(value, tuple) else value})"

    def add(self, *series: Series) -> Series:
        """Their sum; what cancels is gone."""
        total: Terms = {}
        for terms, _ in series:
            for monomial, coefficient in terms.items():
                total[monomial] = total.get(monomial, 0.0) + coefficient
        # what is left of a cancellation by rounding is none of the sum
        largest: Terms = {}
        for terms, _ in series:
            for monomial, coefficient in terms.items():
                largest[monomial] = max(largest.get(monomial, 0.0), abs(coefficient))
        kept = {m: c for m, c in total.items() if abs(c) > 1e-15 * largest[m]}
        return Series(kept, sum(one.error for one in series))

    def scale(self, series: Series, factor: float) -> Series:
        """``series`` times a number."""
        if not factor:
            return Series({})
        return Series({m: c * factor for m, c in series.terms.items()}, series.error * abs(factor))

    def mul(self, p: Series, q: Series) -> Series:
        """Their product, without what is below :attr:`precision`.

        Raises:
            NotSeparable: it has too many terms, or too large ones.
        """
        product: Terms = {}
        for m, a in p.terms.items():
            for n, b in q.terms.items():
                both = _times(m, n)
                product[both] = product.get(both, 0.0) + a * b
        error = 0.0
        if p.error or q.error:
            error = p.error * self.size(q) + q.error * self.size(Series(p.terms))
        return self._cut(product, error)

    def _cut(self, terms: Terms, error: float) -> Series:
        sizes = {m: abs(c) * self.bound(m) for m, c in terms.items()}
        least = max(sizes.values(), default=0.0) * self.precision / max(1, len(sizes))
        if not least < math.inf:
            raise NotSeparable("a product is too large to be bounded")
        kept = {m: c for m, c in terms.items() if sizes[m] > least}
        if len(kept) > self.limit:
            raise NotSeparable(f"more than {self.limit} terms")
        return Series(kept, error + sum(size for size in sizes.values() if size <= least))

    def power_sum(self, coefficients: Iterable[float], series: Series) -> Series:
        """``sum_n coefficients[n] series**n``, by Horner's rule."""
        first, *others = reversed(list(coefficients))
        total = Series({(): first})
        for coefficient in others:
            total = self.add(self.mul(total, series), Series({(): coefficient}))
        return Series({m: c for m, c in total.terms.items() if c}, total.error)


def _times(m: Monomial, n: Monomial) -> Monomial:
    if not m or not n:
        return m or n
    powers = dict(m)
    for atom, power in n:
        powers[atom] = powers.get(atom, 0) + power
    return tuple(sorted(powers.items()))


def divides(m: Monomial, n: Monomial) -> bool:
    """Whether n is m times something."""
    powers = dict(n)
    return all(powers.get(atom, 0) >= power for atom, power in m)


def quotient(n: Monomial, m: Monomial) -> Monomial:
    """n / m, where m :func:`divides` n."""
    powers = dict(m)
    return tuple((atom, power - powers.get(atom, 0)) for atom, power in n if power > powers.get(atom, 0))
