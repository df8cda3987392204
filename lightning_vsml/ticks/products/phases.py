"""The ticks of a plan as series: eq. 5 and 7 of Kirsch & Schmidhuber (arXiv 2012.14905) in LSTM form, without a synapse
and a sample ever meeting."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from lightning_vsml.ticks.cell import Cell
from lightning_vsml.ticks.plan.layout import Layout
from lightning_vsml.ticks.plan.structure import Entry, F, G, Gate, I, O, Plan, Plans, TickPlan
from lightning_vsml.ticks.products.algebra import Algebra, Interval, Monomial, Series
from lightning_vsml.ticks.products.expand import sigm, tanh
from lightning_vsml.ticks.products.ranks import named

ONE, ZERO = Series({(): 1.0}), Series({})


class Ranges(NamedTuple):
    """Intervals that what enters a phase is declared to lie in.

    Attributes:
        x: the layer's input.
        e: what backward messages carry: feedback, then own messages.
        planes: of the state.
        sums: of polynomials of messages, by :meth:`~lightning_vsml.ticks.products.algebra.Algebra.key`.
    """

    x: Interval
    e: tuple[Interval, ...]
    planes: tuple[Interval, ...]
    sums: tuple[tuple[str, Interval], ...] = ()

    @classmethod
    def of(cls, intervals: Sequence[Interval], messages: int, sums: Sequence[str]) -> "Ranges":
        """From one list: x, ``messages`` of e, planes, and the ``sums`` of these names."""
        planes = len(intervals) - len(sums)
        measured = tuple(zip(sums, intervals[planes:], strict=True))
        return cls(intervals[0], tuple(intervals[1 : 1 + messages]), tuple(intervals[1 + messages : planes]), measured)


class Phase(NamedTuple):
    """What a phase gives for a sample and a synapse.

    Attributes:
        messages: for every channel out, to be summed over inputs (forward) or outputs (backward).
        changes: for every plane, to be summed over rows; none in a forward phase.
    """

    messages: tuple[Series, ...]
    changes: tuple[Series, ...]


class Tracer:
    """Runs ticks on series.

    Args:
        algebra: of the series.
        cell: numbers are read off it; what is free in it is an atom.
        layout: what of the state is kept.
        ranges: of what enters.
    """

    def __init__(self, algebra: Algebra, cell: Cell, layout: Layout, ranges: Ranges) -> None:
        self.algebra, self.cell, self.layout = algebra, cell, layout
        self.x = algebra.atom("x", 0, "ra", *ranges.x)
        self.e = [algebra.atom("e", place, "rb", *interval) for place, interval in enumerate(ranges.e)]
        self.planes = [algebra.atom("plane", place, "ab", *interval) for place, interval in enumerate(ranges.planes)]
        self.start = tuple(
            {u: Series({self.planes[at[0]]: at[1]}) if at is not None else ZERO for u, at in enumerate(units)}
            for units in layout.units
        )

    def forward(self, plans: Plans) -> Phase:
        """The messages out of the forward ticks."""
        h, _ = self._run(plans.forward)
        return Phase(self._messages(self.cell.P_f, plans.sends_f, h), ())

    def learn(self, plans: Plans) -> Phase:
        """The messages out of the learn ticks, and how every plane changes."""
        ends = self._run(plans.learn)
        changes = []
        for plane in self.layout.planes[: self.layout.learned]:
            start = self.algebra.scale(self.start[plane.part][plane.unit], -1.0)
            change = self.algebra.add(ends[plane.part].get(plane.unit, ZERO), start)
            changes.append(self.algebra.scale(change, 1 / plane.scale))
        return Phase(self._messages(self.cell.P_b, plans.sends_b, ends[0]), tuple(changes))

    def _run(self, plan: Plan) -> tuple[dict[int, Series], dict[int, Series]]:
        h, c = (dict(part) for part in self.start)
        for tick in plan.ticks:
            h, c = self._tick(tick, h, c)
        return h, c

    def _tick(
        self, plan: TickPlan, h: dict[int, Series], c: dict[int, Series]
    ) -> tuple[dict[int, Series], dict[int, Series]]:
        algebra = self.algebra
        known: dict[Gate, Series] = {}

        def gate(which: int, unit: int) -> Series:
            found = plan.gates[which, unit]
            if not isinstance(found, Gate):
                return Series({(): found}) if found else ZERO
            if found not in known:
                mirror = found.mirrored()
                if mirror in known:
                    value = algebra.scale(known[mirror], -1.0)
                    known[found] = value if found.tanh else algebra.add(ONE, value)
                else:
                    z = self._argument(found, plan, h)
                    value = tanh(algebra, self._quiet(z)) if found.tanh else sigm(algebra, z)
                    known[found] = named(algebra, value)
            return known[found]

        new_h: dict[int, Series] = {}
        new_c: dict[int, Series] = {}
        for u in plan.c:
            kept = algebra.mul(gate(F, u), c[u]) if c.get(u, ZERO).terms else ZERO
            written = gate(G, u)
            if written.terms:
                written = algebra.mul(gate(I, u), written)
            new_c[u] = self._held(u, plan, algebra.add(kept, written))  # Eq. (7)
        for u in plan.h:
            read = tanh(algebra, new_c[u])
            new_h[u] = algebra.mul(gate(O, u), read) if read.terms else read
        return new_h, new_c

    def _held(self, unit: int, plan: TickPlan, c: Series) -> Series:
        """A unit's c as others are to see it."""
        return c

    def _quiet(self, z: Series) -> Series:
        """What a tanh is taken of."""
        return z

    def _argument(self, gate: Gate, plan: TickPlan, h: dict[int, Series]) -> Series:
        algebra = self.algebra
        terms = [self._entry(gate.bias, "b", ())]  # Eq. (5)
        terms += [algebra.mul(self._entry(weight), h.get(n, ZERO)) for n, weight in gate.sources]
        terms += [algebra.mul(self._entry(weight), Series({self.x: 1.0})) for weight in gate.x]
        terms += [
            algebra.mul(self._entry(weight), Series({self.e[place]: 1.0})) for place, told in gate.e for weight in told
        ]
        return algebra.add(*terms)

    def _messages(self, P: Tensor, sends: frozenset[int], h: dict[int, Series]) -> tuple[Series, ...]:
        messages = []
        for channel in range(P.shape[-1]):
            terms = []
            for u in sorted(sends):
                weight = P.detach()[..., u, channel]
                free = P.requires_grad or bool((weight != weight.flatten()[0]).any())
                if free or bool(weight.any()):
                    name = "P_f" if P is self.cell.P_f else "P_b"
                    value = self._entry(f"{name}[{u},{channel}]") if free else Series({(): float(weight.flatten()[0])})
                    terms.append(self.algebra.mul(value, h.get(u, ZERO)))
            messages.append(self.algebra.add(*terms) if terms else ZERO)
        return tuple(messages)

    def _entry(self, entry: Entry, *_: object) -> Series:
        """A parameter: a number, or where it is free an atom."""
        if not isinstance(entry, str):
            return Series({(): float(entry)}) if entry else ZERO
        name, row, column = parse(entry)
        values = getattr(self.cell, name).detach()
        values = values[..., column] if name == "b" else values[..., row, column]
        return Series({self.parameter(entry, float(values.min()), float(values.max())): 1.0})

    def parameter(self, entry: str, low: float, high: float) -> Monomial:
        """The atom of a free parameter."""
        return self.algebra.atom("parameter", entry, "", low, high)


def parse(entry: str) -> tuple[str, int, int]:
    """``W[3,17]`` apart: which parameter of the cell, its row (0 for the bias) and column."""
    name, _, rest = entry.partition("[")
    row, column = rest.rstrip("]").split(",")
    return name, int(row), int(column)
