"""The tick, with every quantity computed at the shape it depends on and nothing that nobody reads.

:mod:`~lightning_vsml.ticks.structure` plans, :mod:`~lightning_vsml.ticks.sums` keeps h = o tanh(c) and c = f c + i g as
sums of products, of which most are only ever summed. What has to be formed for every row, input and output is processed
in slices of rows, which bounds the memory.

Sigmoids of smaller shapes are written 1/2 + tanh(z/2)/2, with the halves as terms of their own: the difference of two
mirrored units then keeps the precision of tanh, where the reference subtracts two numbers near 1/2.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from lightning_vsml.ticks.cell import Cell, State, Tick, slices
from lightning_vsml.ticks.structure import F, G, Gate, I, O, Plan, TickPlan, plan_protocol
from lightning_vsml.ticks.sums import INPUT, OUTPUT, ROW, Activation, Memory, Product, Sum, form, is_spread

SLICE_ELEMENTS = 2**22  # of one quantity of all units; 16 MB in float32, measured best on two CPU cores
FEW = 4  # sources of a gate that are added one by one; more are a matrix product


def step(
    cell: Cell, plan: TickPlan, h: dict[int, Sum], c: dict[int, Memory], x: Tensor, e: Tensor
) -> tuple[dict[int, Sum], dict[int, Memory]]:
    """One tick of the units in ``plan``: x (R, G, A, 1), e (R, G, 1, B)."""
    gates = _gates(cell, plan, h, x, e)
    new_h, new_c = {}, {}
    for u in plan.c:
        i, f, g = gates[I, u], gates[F, u], gates[G, u]
        kept = c.get(u, Memory(None, ()))
        if not f.is_just(1.0):
            formed = None if f.is_just(0.0) else kept.form()
            kept = Memory(None, () if formed is None else f.times(formed))
        written = () if i.is_just(0.0) or g.is_just(0.0) else i.times(cell.b.new_ones(()) if g.rest is None else g.rest)
        new_c[u] = Memory(kept.start, kept.terms + written)  # Eq. (7)
    for u in plan.h:
        formed = new_c[u].form()
        new_h[u] = () if formed is None or gates[O, u].is_just(0.0) else gates[O, u].times(torch.tanh(formed))
    return new_h, new_c


def _gates(cell: Cell, plan: TickPlan, h: dict[int, Sum], x: Tensor, e: Tensor) -> dict[tuple[int, int], Activation]:
    columns = {gate: k * cell.units + u for (k, u), gate in plan.gates.items() if isinstance(gate, Gate)}
    own = _own(cell, columns, h)
    values: dict[Gate, Activation] = {}
    for gate, column in columns.items():
        parts = [own[gate]] if gate in own else []
        if gate.x:
            parts.append(x * cell.V[list(plan.tick.x), column].sum())
        if gate.e:
            parts.append(e * cell.U[list(plan.tick.e), column].sum())
        if gate.bias or not parts:
            parts.append(cell.b[column])
        parts.sort(key=Tensor.numel)
        z = sum(parts[1:], start=parts[0])  # Eq. (5)
        if gate.tanh:
            values[gate] = Activation(0.0, torch.tanh(z))
        elif is_spread(z):
            values[gate] = Activation(0.0, torch.sigmoid(z))
        else:
            values[gate] = Activation(0.5, torch.tanh(z / 2) / 2)
    return {key: values[g] if isinstance(g, Gate) else Activation(g, None) for key, g in plan.gates.items()}


def _own(cell: Cell, columns: dict[Gate, int], h: dict[int, Sum]) -> dict[Gate, Tensor]:
    """h W of each gate that has sources; gates with the same many sources in one matrix product."""
    groups: dict[tuple[int, ...], list[Gate]] = {}
    for gate in columns:
        if units := tuple(n for n, _ in gate.sources if h[n]):
            groups.setdefault(units, []).append(gate)
    own: dict[Gate, Tensor] = {}
    for units, gates in groups.items():
        if len(units) <= FEW:
            own.update((gate, _weighted(units, gate, cell.W[:, columns[gate]], h)) for gate in gates)
        else:
            stacked = torch.stack(torch.broadcast_tensors(*(form(h[n]) for n in units)))
            W = cell.W[list(units)][:, [columns[gate] for gate in gates]]
            own.update(zip(gates, (W.T @ stacked.flatten(1)).view(-1, *stacked.shape[1:]), strict=True))
    return own


def _weighted(units: tuple[int, ...], gate: Gate, w: Tensor, h: dict[int, Sum]) -> Tensor:
    """``sum_n w_n h_n``; units of equal fixed weight are added first and multiplied once."""
    alike: dict[float, list[int]] = {}
    for n, weight in gate.sources:
        if n in units:
            alike.setdefault(n if gate.own >= 0 else weight, []).append(n)
    terms: list[Product] = []
    for first, *others in alike.values():
        if others:
            terms.append(Product(w[first], form(tuple(term for n in (first, *others) for term in h[n]))))
        else:
            terms += [Product(w[first] if p is None else p * w[first], q) for p, q in h[first]]
    return form(tuple(terms))


class Fused:
    """Both phases of a protocol on one cell, planned once."""

    def __init__(self, cell: Cell, forward: tuple[Tick, ...], learn: tuple[Tick, ...], codec: frozenset[int]) -> None:
        self.cell = cell
        self.plans = plan_protocol(cell, forward, learn, codec)

    def forward(self, state: State, x: Tensor) -> Tensor:
        """As :meth:`lightning_vsml.ticks.reference.Reference.forward`."""
        e = x.new_zeros(*x.shape[:2], state.h.shape[-2])
        messages = []
        for x_rows, e_rows in self._slices(self.plans.forward, state, x, e):
            h, _ = self._run(self.plans.forward, state, x_rows, e_rows)
            messages.append(_message(h, self.plans.sends_f, self.cell.P_f, INPUT, x.shape[-1], e_rows))
        return torch.cat(messages)

    def learn(self, state: State, x: Tensor, e: Tensor) -> tuple[State, Tensor]:
        """As :meth:`lightning_vsml.ticks.reference.Reference.learn`; what no later tick reads does not change."""
        h_total, c_total = ([torch.zeros_like(state.h[..., 0])] * self.cell.units for _ in range(2))
        messages = []
        for x_rows, e_rows in self._slices(self.plans.learn, state, x, e):
            R = x_rows.shape[0]
            h, c = self._run(self.plans.learn, state, x_rows, e_rows)
            messages.append(_message(h, self.plans.sends_b, self.cell.P_b, OUTPUT, e.shape[-1], x_rows))
            for u in self.plans.kept_h:
                before = R * state.h[..., u]
                h_total[u] = sum((term.sum(ROW, R)[0] for term in h[u]), start=h_total[u] - before)
            for u in self.plans.kept_c:
                before = R * state.c[..., u] if c[u].start is None else 0.0
                c_total[u] = sum((term.sum(ROW, R)[0] for term in c[u].terms), start=c_total[u] - before)
        return State(torch.stack(h_total, -1), torch.stack(c_total, -1)), torch.cat(messages)

    def _run(self, plan: Plan, state: State, x: Tensor, e: Tensor) -> tuple[dict[int, Sum], dict[int, Memory]]:
        h: dict[int, Sum] = {u: (Product(None, state.h[..., u].unsqueeze(0)),) for u in plan.reads_h}
        c = {u: Memory(state.c[..., u].unsqueeze(0), ()) for u in plan.reads_c}
        for tick in plan.ticks:
            h, c = step(self.cell, tick, h, c, x.unsqueeze(-1), e.unsqueeze(-2))
        return h, c

    def _slices(self, plan: Plan, state: State, x: Tensor, e: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        if not plan.spreads:
            return iter([(x, e)])
        per_row = state.h[..., 0].numel() * max(len(tick.c) for tick in plan.ticks)
        return slices(x, e, SLICE_ELEMENTS // max(1, per_row))


def _message(h: dict[int, Sum], units: frozenset[int], P: Tensor, dim: int, size: int, like: Tensor) -> Tensor:
    """Sum over ``dim`` of h P: ``(R, G, D, M)`` with (R, G, D) as ``like``."""
    sums = [term.sum(dim, size).squeeze(dim).unsqueeze(-1) * P[u] for u in units for term in h[u]]
    return sum(sorted(sums, key=Tensor.numel), start=P.new_zeros(())).expand(*like.shape, P.shape[1])
