"""Commit ticks run once on series, in which mirrored units cancel: what is left to compute, stage by stage."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from lightning_vsml.ticks.cell import Cell
from lightning_vsml.ticks.commit.once import Mixed, hoisted, mixed
from lightning_vsml.ticks.commit.plan import CommitPlan
from lightning_vsml.ticks.native.pointwise import Program
from lightning_vsml.ticks.plan.layout import Layout
from lightning_vsml.ticks.plan.structure import F, TickPlan
from lightning_vsml.ticks.products.algebra import Algebra, Series, Terms
from lightning_vsml.ticks.products.phases import ZERO, Tracer
from lightning_vsml.ticks.products.program import program

LIKELY = 2.0**-10  # planes that are no weights up to this: their tanh is they themselves, to 3e-7
WEIGHTS = 2.0**15  # of c are 2^-13
LOUDEST = 150.0  # of a message: asinh of what float32 holds is below 90, of what float64 does, rarely above


class Gathering(NamedTuple):
    """A message that neurons tell their synapses.

    Attributes:
        output: whether it is summed over an output's synapses.
        terms: what is summed.
        same: an earlier message that is the same, if there is one.
        planes: where the terms are linear in planes, their factors; a sum of a plane serves several messages.
        constant: the rest of them then.
    """

    output: bool
    terms: Terms
    same: int | None
    planes: dict[int, float] | None
    constant: float

    @property
    def computed(self) -> bool:
        """Whether the terms have to be computed for every synapse."""
        return self.same is None and self.planes is None


class Stage(NamedTuple):
    """What is computed between two gatherings of messages.

    Attributes:
        gathered: the messages at its end, with their numbers; of the last stage none.
        terms: polynomials that are computed for every synapse: for messages to inputs, or at the end the planes.
        sums: those whose sums over inputs are messages to outputs.
        mixed: small atoms that are computed before.
        rows, flat: as programs, where there is one number of an output for each row, and where all is of one shape.
    """

    gathered: tuple[tuple[int, Gathering], ...]
    terms: tuple[Terms, ...]
    sums: tuple[Terms, ...]
    mixed: tuple[Mixed, ...]
    rows: Program | None
    flat: Program | None


class Traced(NamedTuple):
    """A commit phase.

    Attributes:
        algebra: of its polynomials.
        stages: in their order.
        small: atoms that depend on outputs' messages alone (``"b"``), or on inputs' (``"a"``): few numbers each.
    """

    algebra: Algebra
    stages: tuple[Stage, ...]
    small: dict[int, str]


def trace(cell: Cell, plan: CommitPlan, layout: Layout, tolerance: float) -> Traced:
    """Run a plan's ticks on series."""
    algebra = Algebra(tolerance, local=True)
    tracer = _CommitTracer(algebra, cell, layout, len(plan.messages))
    h, c = (dict(part) for part in tracer.start)
    parts: list[tuple[list[tuple[int, Gathering]], list[Terms]]] = []
    known: dict[object, int] = {}
    for t, tick in enumerate(plan.plan.ticks):
        gathered: list[tuple[int, Gathering]] = []
        for number, message in enumerate(plan.messages):
            if message.tick == t:
                terms = tracer.sent(message.output, message.column, h).terms
                key = (message.output, tuple(sorted(terms.items())))
                same = known.get(key)
                known.setdefault(key, number)
                gathered.append((number, Gathering(message.output, terms, same, *_linear(algebra, terms))))
        if gathered:
            parts.append((gathered, [g.terms for _, g in gathered if g.computed]))
        h, c = tracer._tick(tick, h, c)
    ends = [algebra.scale(c.get(plane.unit, ZERO), 1 / plane.scale) for plane in layout.planes]
    parts.append(([], [end.terms for end in ends]))
    small = _small(algebra, [None, None, None, None, *(message.output for message in plan.messages)])
    return Traced(algebra, tuple(_stages(algebra, parts, small)), small)


def _stages(
    algebra: Algebra, parts: list[tuple[list[tuple[int, Gathering]], list[Terms]]], small: dict[int, str]
) -> Iterator[Stage]:
    """Messages and polynomials, as they are computed; ``small`` gets more atoms."""
    computed = [hoisted(algebra, polynomials, small) for _, polynomials in parts]
    done = set[int]()
    for (messages, _), own in zip(parts, computed, strict=True):
        outputs = [gathering.output for _, gathering in messages if gathering.computed] or [False] * len(own)
        terms, sums = (
            [p for p, is_sum in zip(own, outputs, strict=True) if is_sum is which] for which in (False, True)
        )
        before = tuple(mixed(algebra, own, small, done))
        rows = program(algebra, terms, small, sums)
        flat = program(algebra, [*terms, *sums], dict.fromkeys(small, ""))
        yield Stage(tuple(messages), tuple(terms), tuple(sums), before, rows, flat)


def _linear(algebra: Algebra, terms: Terms) -> tuple[dict[int, float] | None, float]:
    """Factors of planes and a constant, where there is nothing else."""
    planes: dict[int, float] = {}
    for monomial, coefficient in terms.items():
        if monomial:
            (atom, power), *others = monomial
            kind, value, _ = algebra.atoms[atom]
            if others or power > 1 or kind != "plane":
                return None, 0.0
            assert isinstance(value, int)
            planes[value] = coefficient
    return planes, terms.get((), 0.0)


def _small(algebra: Algebra, outputs: list[bool | None]) -> dict[int, str]:
    """Atoms of messages of one side alone; those told from outside are inputs'."""
    sides: list[frozenset[str]] = []
    for kind, value, _ in algebra.atoms:
        if kind == "plane":
            sides.append(frozenset("ab"))
        elif kind == "e":
            assert isinstance(value, int)
            sides.append(frozenset("b" if outputs[value] else "a"))
        else:
            assert isinstance(value, tuple)
            leaves = {atom for monomial, _ in value for atom, _ in monomial}
            sides.append(frozenset().union(*(sides[atom] for atom in leaves)))
    return {place: "".join(side) for place, side in enumerate(sides) if len(side) == 1}


class _CommitTracer(Tracer):
    """Runs commit ticks on series; every atom is as large as a grid.

    No tanh is taken of more than :data:`LIKELY`: cells with commit ticks are written so.
    """

    def __init__(self, algebra: Algebra, cell: Cell, layout: Layout, messages: int) -> None:
        self.algebra, self.cell, self.layout = algebra, cell, layout
        self.x = algebra.atom("e", 0, "ab", 0.0, 1.0)
        self.e = [algebra.atom("e", place, "ab", -LOUDEST, LOUDEST) for place in range(1, 4 + messages)]
        self.planes = [
            algebra.atom("plane", place, "ab", *((-WEIGHTS, WEIGHTS) if plane.codes else (-LIKELY, LIKELY)))
            for place, plane in enumerate(layout.planes)
        ]
        self.start = tuple(
            {u: Series({self.planes[at[0]]: at[1]}) if at is not None else ZERO for u, at in enumerate(units)}
            for units in layout.units
        )

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

    def sent(self, output: bool, column: int, h: dict[int, Series]) -> Series:
        """What neurons are told: a sum over units."""
        weights: Iterable[float] = (self.cell.P_f if output else self.cell.P_b)[:, column].tolist()
        parts = [self.algebra.scale(h.get(u, ZERO), weight) for u, weight in enumerate(weights) if weight]
        return self.algebra.add(*parts) if parts else ZERO
