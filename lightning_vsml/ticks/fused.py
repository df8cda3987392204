"""The tick by torch, with every quantity computed at the shape it depends on and nothing that nobody reads.

:mod:`lightning_vsml.ticks.plan` tells what to compute; here the nodes of its graphs become tensors of four dimensions,
rows x groups x inputs x outputs, of size 1 where they do not depend on them. What has to be formed for every row, input
and output is processed in slices of rows.
"""

import torch
from torch import Tensor

from lightning_vsml.ticks.cell import Cell, State, Tick
from lightning_vsml.ticks.plan.graph import Graph, Mix, Node, Parameter
from lightning_vsml.ticks.plan.structure import plan_protocol
from lightning_vsml.ticks.plan.sums import Product, Sum
from lightning_vsml.ticks.plan.trace import trace
from lightning_vsml.ticks.sliced import Sliced

SLICE_ELEMENTS = 2**22  # of one quantity of all units; 16 MB in float32, measured best on two CPU cores
ROW, GROUP, INPUT, OUTPUT = range(4)
_LETTERS = "rgab"


class Fused(Sliced):
    """Both phases of a protocol on one cell, planned once; what no later tick reads does not change."""

    def __init__(self, cell: Cell, forward: tuple[Tick, ...], learn: tuple[Tick, ...], codec: frozenset[int]) -> None:
        self.cell, self.forward_ticks, self.learn_ticks = cell, forward, learn
        self.plans = plan_protocol(cell, forward, learn, codec)
        self.phases = {
            "forward": trace(self.plans.forward, cell.units),
            "learn": trace(self.plans.learn, cell.units),
        }

    def _forward(self, cell: Cell, state: State, x: Tensor, e: Tensor) -> tuple[Tensor]:
        phase = self.phases["forward"]
        sent = {u: phase.h[u] for u in self.plans.sends_f}
        values = evaluate(phase.graph, cell, state, x, e, [*sent.values()])
        return (_message(sent, values, cell.P_f, INPUT, x.shape[-1], e[..., 0]),)

    def _learn(self, cell: Cell, state: State, x: Tensor, e: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        phase, R = self.phases["learn"], x.shape[0]
        sent = {u: phase.h[u] for u in self.plans.sends_b}
        kept_h = {u: phase.h[u] for u in self.plans.kept_h}
        kept_c = {u: phase.c[u] for u in self.plans.kept_c}
        sums = [*sent.values(), *kept_h.values(), *(memory.terms for memory in kept_c.values())]
        values = evaluate(phase.graph, cell, state, x, e, sums)
        h, c = ([torch.zeros_like(state.h[..., 0])] * cell.units for _ in range(2))
        for u, terms in kept_h.items():
            h[u] = _total(terms, values, R, h[u] - R * state.h[..., u])
        for u, memory in kept_c.items():
            c[u] = _total(memory.terms, values, R, c[u] - R * state.c[..., u] if memory.start is None else c[u])
        message = _message(sent, values, cell.P_b, OUTPUT, e.shape[-2], x)
        return torch.stack(h, -1), torch.stack(c, -1), message

    def _rows(self, phase: str, state: State) -> int:
        graph = self.phases[phase].graph
        if not any(graph.is_spread(node) for node in range(len(graph.nodes))):
            return 2**62  # all at once
        plan = self.plans.forward if phase == "forward" else self.plans.learn
        per_row = state.h[..., 0].numel() * max(len(tick.c) for tick in plan.ticks)
        return SLICE_ELEMENTS // max(1, per_row)


def evaluate(graph: Graph, cell: Cell, state: State, x: Tensor, e: Tensor, sums: list[Sum]) -> dict[int, Tensor]:
    """The factors of ``sums``, by their nodes; everything else is dropped after its last use.

    Args:
        graph: its nodes are computed as far as they are needed.
        cell: a single cell.
        state: merged, ``(G, A, B, N)``.
        x: ``(R, G, A)``.
        e: ``(R, G, B, C)``.
        sums: what is wanted.
    """
    wanted = {node for terms in sums for product in terms for node in product if node is not None}
    last_use = dict.fromkeys(wanted, len(graph.nodes))
    for place in reversed(range(len(graph.nodes))):
        if place in last_use:
            for arg in graph.nodes[place].args:
                last_use.setdefault(arg, place)
    values: dict[int, Tensor] = {}
    for place in sorted(last_use):
        node = graph.nodes[place]
        values[place] = _value(node, cell, state, x, e, [values[arg] for arg in node.args])
        for arg in set(node.args):
            if last_use[arg] == place:
                del values[arg]
    return values


def _value(node: Node, cell: Cell, state: State, x: Tensor, e: Tensor, args: list[Tensor]) -> Tensor:
    match node.op, node.value:
        case "x", _:
            return x.unsqueeze(-1)
        case "e", int(place):
            return e[..., place].unsqueeze(-2)
        case "h" | "c" as part, unit:
            return getattr(state, part)[..., unit].unsqueeze(0)
        case "constant", number:
            return cell.b.new_tensor(number)
        case "parameter", Parameter(name, rows, column):
            parameter = getattr(cell, name)
            return parameter[list(rows), column].sum() if rows else parameter[column]
        case "add", _:
            return args[0] + args[1]
        case "mul", _:
            return args[0] * args[1]
        case "tanh", _:
            return torch.tanh(args[0])
        case "half", _:  # spread, a sigmoid is several times faster than a tanh
            return torch.sigmoid(args[0]) - 0.5 if _is_spread(args[0]) else torch.tanh(args[0] / 2) / 2
        case "mix", Mix(units, columns):
            stacked = torch.stack(torch.broadcast_tensors(*args))
            return (cell.W[list(units)][:, list(columns)].T @ stacked.flatten(1)).view(-1, *stacked.shape[1:])
        case "pick", int(place):
            return args[0][place]
    raise ValueError(f"unknown node {node}")


def _is_spread(value: Tensor) -> bool:
    return value.dim() == 4 and min(value.shape[ROW], value.shape[INPUT], value.shape[OUTPUT]) > 1


def _sum(product: Product, values: dict[int, Tensor], dim: int, size: int) -> Tensor:
    """Sum of p q over ``dim``, of ``size`` where neither factor depends on it; the dimension is kept."""
    factors = [values[node] for node in product if node is not None]
    factors = [factor.view((1,) * (4 - factor.dim()) + factor.shape) for factor in factors]
    inputs = ["".join(letter for letter, n in zip(_LETTERS, f.shape, strict=True) if n > 1) for f in factors]
    output = "".join(letter for letter in _LETTERS if letter in "".join(inputs) and letter != _LETTERS[dim])
    total = torch.einsum(f"{','.join(inputs)}->{output}", *(factor.squeeze() for factor in factors))
    shape = torch.broadcast_shapes(*(factor.shape for factor in factors))
    total = total.view(*shape[:dim], 1, *shape[dim + 1 :])
    return total if shape[dim] > 1 else total * size


def _total(terms: Sum, values: dict[int, Tensor], rows: int, start: Tensor) -> Tensor:
    return sum((_sum(product, values, ROW, rows)[0] for product in terms), start=start)


def _message(sent: dict[int, Sum], values: dict[int, Tensor], P: Tensor, dim: int, size: int, like: Tensor) -> Tensor:
    """Sum over ``dim`` of h P: ``(R, G, D, M)`` with (R, G, D) as ``like``."""
    sums = [
        _sum(product, values, dim, size).squeeze(dim).unsqueeze(-1) * P[u]
        for u, terms in sent.items()
        for product in terms
    ]
    return sum(sorted(sums, key=Tensor.numel), start=P.new_zeros(())).expand(*like.shape, P.shape[1])
