"""The ticks of a plan in symbols: eq. 5 and 7 of Kirsch & Schmidhuber (arXiv 2012.14905) in LSTM form, once for every
engine that computes them.

Sigmoids are written 1/2 + half(z), with the halves as terms of their own: the difference of two mirrored units then
keeps the precision of tanh, where the reference subtracts two numbers near 1/2.
"""

from typing import NamedTuple

from lightning_vsml.ticks.plan.graph import Graph, Mix, Parameter
from lightning_vsml.ticks.plan.structure import F, G, Gate, I, O, Plan, TickPlan
from lightning_vsml.ticks.plan.sums import Activation, Memory, Product, Sum, form

FEW = 4  # sources of a gate that are added one by one; more are a matrix product


class Phase(NamedTuple):
    """A phase of a protocol in symbols.

    Attributes:
        graph: its operations.
        h, c: of the units that were planned, after the last tick.
    """

    graph: Graph
    h: dict[int, Sum]
    c: dict[int, Memory]


def trace(plan: Plan, units: int) -> Phase:
    """All ticks of ``plan``, from the merged state, for a cell of ``units`` units."""
    graph = Graph()
    h: dict[int, Sum] = {u: (Product(None, graph.leaf("h", u)),) for u in sorted(plan.reads_h)}
    c = {u: Memory(graph.leaf("c", u), ()) for u in sorted(plan.reads_c)}
    for tick in plan.ticks:
        h, c = _step(graph, tick, units, h, c)
    return Phase(graph, h, c)


def _step(
    graph: Graph, plan: TickPlan, N: int, h: dict[int, Sum], c: dict[int, Memory]
) -> tuple[dict[int, Sum], dict[int, Memory]]:
    gates = _gates(graph, plan, N, h)
    new_h, new_c = {}, {}
    for u in plan.c:
        i, f, g = gates[I, u], gates[F, u], gates[G, u]
        kept = c.get(u, Memory(None, ()))
        if not f.is_just(1.0):
            formed = None if f.is_just(0.0) else kept.form(graph)
            kept = Memory(None, () if formed is None else f.times(graph, formed))
        written: Sum = ()
        if not (i.is_just(0.0) or g.is_just(0.0)):
            written = i.times(graph, graph.constant(g.constant) if g.rest is None else g.rest)
        new_c[u] = Memory(kept.start, kept.terms + written)  # Eq. (7)
    for u in plan.h:
        formed, o = new_c[u].form(graph), gates[O, u]
        new_h[u] = () if formed is None or o.is_just(0.0) else o.times(graph, graph.apply("tanh", formed))
    return new_h, new_c


def _gates(graph: Graph, plan: TickPlan, N: int, h: dict[int, Sum]) -> dict[tuple[int, int], Activation]:
    columns = {gate: k * N + u for (k, u), gate in plan.gates.items() if isinstance(gate, Gate)}
    recurrent = _recurrent(graph, columns, h)
    rests: dict[Gate, int] = {}
    for gate, column in columns.items():
        mirror = gate.mirrored()
        if mirror in rests:
            rests[gate] = graph.mul(graph.constant(-1.0), rests[mirror])
            continue
        parts = [recurrent[gate]] if gate in recurrent else []
        if gate.x:
            parts.append(graph.mul(graph.leaf("x"), graph.leaf("parameter", Parameter("V", plan.tick.x, column))))
        for place, _ in gate.e:
            U = Parameter("U", plan.tick.backward[place], column)
            parts.append(graph.mul(graph.leaf("e", place), graph.leaf("parameter", U)))
        if gate.bias or not parts:
            parts.append(graph.leaf("parameter", Parameter("b", (), column)))
        z = graph.add(*parts)  # Eq. (5)
        rests[gate] = graph.apply("tanh" if gate.tanh else "half", z)
    return {
        key: Activation(0.0 if g.tanh else 0.5, rests[g]) if isinstance(g, Gate) else Activation(g, None)
        for key, g in plan.gates.items()
    }


def _recurrent(graph: Graph, columns: dict[Gate, int], h: dict[int, Sum]) -> dict[Gate, int]:
    """h W of each gate that has sources; gates with the same many sources in one matrix product."""
    groups: dict[tuple[int, ...], list[Gate]] = {}
    for gate in columns:
        if units := tuple(n for n, _ in gate.sources if h[n]):
            groups.setdefault(units, []).append(gate)
    recurrent: dict[Gate, int] = {}
    for units, gates in groups.items():
        if len(units) <= FEW:
            recurrent.update((gate, _weighted(graph, units, gate, columns[gate], h)) for gate in gates)
        else:
            spec = Mix(units, tuple(columns[gate] for gate in gates))
            mix = graph.apply("mix", *(form(graph, h[n]) for n in units), value=spec)
            recurrent.update((gate, graph.apply("pick", mix, value=place)) for place, gate in enumerate(gates))
    return recurrent


def _weighted(graph: Graph, units: tuple[int, ...], gate: Gate, column: int, h: dict[int, Sum]) -> int:
    """``sum_n w_n h_n``; units of equal weight are added first and multiplied once."""
    alike: dict[float | str, list[int]] = {}
    for n, weight in gate.sources:
        if n in units:
            alike.setdefault(weight, []).append(n)
    terms: list[int] = []
    for first, *others in alike.values():
        w = graph.leaf("parameter", Parameter("W", (first,), column))
        if others:
            terms.append(graph.mul(w, form(graph, tuple(term for n in (first, *others) for term in h[n]))))
        else:
            terms += [graph.mul(w, *(factor for factor in product if factor is not None)) for product in h[first]]
    return graph.add(*terms)
