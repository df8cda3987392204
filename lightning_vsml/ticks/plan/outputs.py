"""What a kernel has to sum: one value for every message and every changed unit, for each row, input and output."""

from typing import NamedTuple

from lightning_vsml.ticks.cell import Cell, carried
from lightning_vsml.ticks.plan.graph import Graph, Parameter
from lightning_vsml.ticks.plan.structure import Plans
from lightning_vsml.ticks.plan.sums import Sum, form
from lightning_vsml.ticks.plan.trace import trace


class Change(NamedTuple):
    """A unit of the merged state that is kept up.

    Attributes:
        node: its value, or what is added to its value.
        unit: which one.
        of_c: c rather than h.
        less_start: whether the value at the start has to be subtracted.
    """

    node: int
    unit: int
    of_c: bool
    less_start: bool


class Outputs(NamedTuple):
    """A phase, as kernels compute it.

    Attributes:
        graph: the operations.
        messages: nodes to be summed over outputs (backward) or inputs (forward), one for each channel.
        carried: C, how many different things the backward messages in carry.
        changes: what to sum over rows; none in a forward phase.
        backward: a learn phase.
    """

    graph: Graph
    messages: tuple[int, ...]
    carried: int
    changes: tuple[Change, ...]
    backward: bool


def outputs(cell: Cell, plans: Plans) -> dict[str, Outputs]:
    """The phases ``forward`` and ``learn`` of a plan."""
    forward, learn = (trace(plan, cell.units) for plan in (plans.forward, plans.learn))
    graph, changes = learn.graph, []
    for u in sorted(plans.kept_h):
        changes.append(Change(_formed(graph, learn.h[u]), u, False, True))
    for u in sorted(plans.kept_c):
        changes.append(Change(_formed(graph, learn.c[u].terms), u, True, learn.c[u].start is None))
    sends_f = {u: forward.h[u] for u in sorted(plans.sends_f)}
    sends_b = {u: learn.h[u] for u in sorted(plans.sends_b)}
    messages_f = _messages(forward.graph, "P_f", cell, sends_f)
    messages_b = _messages(graph, "P_b", cell, sends_b)
    C_f, C_b = (carried(tuple(tick.tick for tick in plan.ticks)) for plan in (plans.forward, plans.learn))
    return {
        "forward": Outputs(forward.graph, messages_f, C_f, (), False),
        "learn": Outputs(graph, messages_b, C_b, tuple(changes), True),
    }


def _formed(graph: Graph, terms: Sum) -> int:
    return form(graph, terms) if terms else graph.constant(0.0)


def _messages(graph: Graph, P: str, cell: Cell, sent: dict[int, Sum]) -> tuple[int, ...]:
    """h P of every channel, projected before it is summed: products with P first, so that mirrored units cancel."""
    messages, parameter = [], getattr(cell, P)
    for channel in range(parameter.shape[-1]):
        terms = [
            graph.mul(graph.leaf("parameter", Parameter(P, (u,), channel)), *(f for f in product if f is not None))
            for u, products in sent.items()
            if parameter.requires_grad or parameter[..., u, channel].any()
            for product in products
        ]
        messages.append(graph.add(*terms) if terms else graph.constant(0.0))
    return tuple(messages)
