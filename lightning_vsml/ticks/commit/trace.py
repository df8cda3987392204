"""Commit ticks run once on series, in which mirrored units cancel: what is left to compute, pass by pass."""

from collections.abc import Iterable
from typing import NamedTuple

from lightning_vsml.ticks.cell import Cell
from lightning_vsml.ticks.commit.once import hoisted, reached
from lightning_vsml.ticks.commit.plan import CommitPlan
from lightning_vsml.ticks.plan.layout import Layout
from lightning_vsml.ticks.plan.structure import F, TickPlan
from lightning_vsml.ticks.products.algebra import Algebra, Monomial, Series, Terms
from lightning_vsml.ticks.products.phases import ZERO, Tracer

LIKELY = 2.0**-10  # planes that are no weights up to this: their tanh is they themselves, to 3e-7
WEIGHTS = 2.0**15  # of c are 2^-13
LOUDEST = 150.0  # of a message: asinh of what float32 holds is below 90, of what float64 does, rarely above
TOLD = 5  # numbers from outside, which come before messages


class Sum(NamedTuple):
    """A message that neurons tell their synapses.

    Attributes:
        output: whether it is summed over an output's synapses; else over an input's.
        terms: what is summed.
    """

    output: bool
    terms: Terms


class Traced(NamedTuple):
    """A commit phase.

    Attributes:
        algebra: of its polynomials; atoms ``("e", n)`` are what is told from outside up to :data:`TOLD`, then messages.
        messages: each that differs from all before it, as they are numbered.
        passes: numbers of messages that are gathered in one pass over all synapses: they hear only of earlier ones.
        planes: polynomials of the last pass, which writes.
        small: atoms that depend on outputs' messages alone (``"b"``), or on inputs' (``"a"``): few numbers each.
    """

    algebra: Algebra
    messages: tuple[Sum, ...]
    passes: tuple[tuple[int, ...], ...]
    planes: tuple[Terms, ...]
    small: dict[int, str]


def trace(cell: Cell, plan: CommitPlan, layout: Layout, tolerance: float) -> Traced:
    """Run a plan's ticks on series."""
    algebra = Algebra(tolerance, local=True)
    tracer = _CommitTracer(algebra, cell, layout, plan)
    h, c = (dict(part) for part in tracer.start)
    for t, tick in enumerate(plan.plan.ticks):
        tracer.gather(t, h)
        h, c = tracer._tick(tick, h, c)
    sums = tracer.sums
    ends = [algebra.scale(c.get(plane.unit, ZERO), 1 / plane.scale).terms for plane in layout.planes]
    small = _small(algebra, sums)
    polynomials = hoisted(algebra, [*(message.terms for message in sums), *ends], small)
    messages = tuple(Sum(s.output, terms) for s, terms in zip(sums, polynomials, strict=False))
    return Traced(algebra, messages, _passes(algebra, messages), tuple(polynomials[len(sums) :]), small)


def _passes(algebra: Algebra, messages: tuple[Sum, ...]) -> tuple[tuple[int, ...], ...]:
    """As early as each can be gathered."""
    at: list[int] = []
    for message in messages:
        heard = [algebra.atoms[place] for place in reached(algebra, [message.terms])]
        numbers = [atom.value for atom in heard if atom.kind == "e" and isinstance(atom.value, int)]
        at.append(1 + max((at[number - TOLD] for number in numbers if number >= TOLD), default=-1))
    return tuple(tuple(n for n, own in enumerate(at) if own == place) for place in range(max(at, default=-1) + 1))


def _small(algebra: Algebra, messages: list[Sum]) -> dict[int, str]:
    """Atoms of messages of one side alone; those told from outside are inputs'."""
    sides: list[frozenset[str]] = []
    for kind, value, _ in algebra.atoms:
        if kind == "plane":
            sides.append(frozenset("ab"))
        elif kind == "e":
            assert isinstance(value, int)
            sides.append(frozenset("b" if value >= TOLD and messages[value - TOLD].output else "a"))
        else:
            assert isinstance(value, tuple)
            leaves = {atom for monomial, _ in value for atom, _ in monomial}
            sides.append(frozenset().union(*(sides[atom] for atom in leaves)))
    return {place: "".join(side) for place, side in enumerate(sides) if len(side) == 1}


class _CommitTracer(Tracer):
    """Runs commit ticks on series; every atom is as large as a grid.

    No tanh is taken of more than :data:`LIKELY`: cells with commit ticks are written so.
    """

    def __init__(self, algebra: Algebra, cell: Cell, layout: Layout, plan: CommitPlan) -> None:
        self.algebra, self.cell, self.layout, self.plan = algebra, cell, layout, plan
        self.x, *told = (self._heard(number) for number in range(TOLD))
        self.e = told  # messages join as they come up
        self.planes = [
            algebra.atom("plane", place, "ab", *((-WEIGHTS, WEIGHTS) if plane.codes else (-LIKELY, LIKELY)))
            for place, plane in enumerate(layout.planes)
        ]
        self.start = tuple(
            {u: Series({self.planes[at[0]]: at[1]}) if at is not None else ZERO for u, at in enumerate(units)}
            for units in layout.units
        )
        self.sums: list[Sum] = []
        self._known: dict[object, int] = {}

    def _heard(self, number: int) -> Monomial:
        low = 0.0 if number == 0 else -LOUDEST
        return self.algebra.atom("e", number, "ab", low, 1.0 if number == 0 else LOUDEST)

    def gather(self, t: int, h: dict[int, Series]) -> None:
        """The messages before tick t; what was told before is not gathered again."""
        for message in self.plan.messages:
            if message.tick == t:
                terms = self._sent(message.output, message.column, h).terms
                key = (message.output, tuple(sorted(terms.items())))
                if key not in self._known:
                    self._known[key] = TOLD + len(self.sums)
                    self.sums.append(Sum(message.output, terms))
                self.e.append(self._heard(self._known[key]))

    def _sent(self, output: bool, column: int, h: dict[int, Series]) -> Series:
        """What is summed: units, each times a weight."""
        weights: Iterable[float] = (self.cell.P_f if output else self.cell.P_b)[:, column].tolist()
        parts = [self.algebra.scale(h.get(u, ZERO), weight) for u, weight in enumerate(weights) if weight]
        return self.algebra.add(*parts) if parts else ZERO

    def _held(self, unit: int, plan: TickPlan, c: Series) -> Series:
        """What a memory holds gets a name, and is computed once."""
        several = plan.gates[F, unit] != 0.0 and len(c.terms) > 1
        return self._named(c) if several else self._quiet(c)

    def _quiet(self, z: Series) -> Series:
        """No tanh is to saturate; interval arithmetic does not know that a gate is small where it lets much through."""
        return z if self.algebra.size(Series(z.terms)) <= LIKELY else self._named(z)

    def _named(self, series: Series) -> Series:
        low, high = self.algebra.interval(series.terms)
        if max(-low, high) > LIKELY:
            low, high = -LIKELY, LIKELY
        terms = tuple(sorted(series.terms.items()))
        return Series({self.algebra.atom("factor", terms, "ab", low, high): 1.0})
