"""What of a tick has to be computed, read off the zeros of the parameters.

A gate without sources is a constant; one that rounds to 0 or 1 removes what it multiplies. Going backwards from what
is read (messages out, and whatever the next step reads of the merged state) finds the units that matter at each tick.
Zeros of parameters that require a gradient are no structure: such a cell is dense.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch

from lightning_vsml.ticks.cell import Cell, Tick

I, F, G, O = range(4)  # where the gates stand in the last dimension of a cell's parameters


Entry = float | str  # a parameter's value; its name where that is free: learnable, or different across a population


class Gate(NamedTuple):
    """One gate of one unit at one tick; equal gates of different units are equal, and computed once.

    Attributes:
        tanh: tanh instead of sigmoid.
        bias: its value decides whether the gate is constant.
        sources: units whose h it reads, each with its weight.
        x: weight of the layer's input, summed over the channels fed; empty if that is 0.
        e: the same for what the backward message carries: 0 (the feedback) or 1 + j (own message j), with its weight.
    """

    tanh: bool
    bias: Entry
    sources: tuple[tuple[int, Entry], ...]
    x: tuple[Entry, ...]
    e: tuple[tuple[int, tuple[Entry, ...]], ...]

    def folded(self, tiny: float) -> "Gate | float":
        """0.0 or 1.0 where the gate is that, up to less than rounding; else the gate."""
        if self.sources or self.x or self.e or isinstance(self.bias, str):
            return self
        value = math.tanh(self.bias) if self.tanh else 1 / (1 + math.exp(min(-self.bias, 700.0)))  # no overflow
        return next((limit for limit in (0.0, 1.0) if abs(value - limit) < tiny), self)

    def mirrored(self) -> "Gate | None":
        """The gate of opposite z; ``None`` where a free parameter takes part."""
        told = (weight for _, weights in self.e for weight in weights)
        weights = (self.bias, *(weight for _, weight in self.sources), *self.x, *told)
        if any(isinstance(weight, str) for weight in weights):
            return None
        sources = tuple((n, _minus(weight)) for n, weight in self.sources)
        e = tuple((place, tuple(map(_minus, weights))) for place, weights in self.e)
        return Gate(self.tanh, _minus(self.bias), sources, tuple(map(_minus, self.x)), e)


class TickPlan(NamedTuple):
    """What to compute at one tick.

    Attributes:
        tick: which channels are fed.
        gates: the gates needed, by (gate, unit); those that are 0 or 1 are floats.
        c, h: units whose c and h are computed.
    """

    tick: Tick
    gates: dict[tuple[int, int], Gate | float]
    c: tuple[int, ...]
    h: tuple[int, ...]

    @property
    def reads_h(self) -> frozenset[int]:
        """Units whose h from before it reads."""
        return frozenset(n for gate in self.gates.values() if isinstance(gate, Gate) for n, _ in gate.sources)

    @property
    def reads_c(self) -> frozenset[int]:
        """Units whose c from before it reads."""
        return frozenset(u for u in self.c if self.gates[F, u] != 0.0)


class Plan(NamedTuple):
    """What to compute in one phase of a protocol.

    Attributes:
        ticks: one plan for each tick.
        reads_h, reads_c: units of the merged state that the phase depends on.
    """

    ticks: tuple[TickPlan, ...]
    reads_h: frozenset[int]
    reads_c: frozenset[int]


def plan(cell: Cell, ticks: tuple[Tick, ...], h: frozenset[int], c: frozenset[int]) -> Plan:
    """Plan ``ticks`` so that the units ``h`` and ``c`` are there at the end."""
    parameters = entries(cell)
    tiny = torch.finfo(cell.W.dtype).eps / 1024
    plans: list[TickPlan] = []
    for tick in reversed(ticks):
        plans.append(needed_before(tick, h, c, partial(_folded, parameters, cell.units, tick, tiny)))
        h, c = plans[-1].reads_h, plans[-1].reads_c
    plans.reverse()
    return Plan(tuple(plans), h, c)


def needed_before(
    tick: Tick, h: frozenset[int], c: frozenset[int], gate: Callable[[int, int], Gate | float]
) -> TickPlan:
    """What a tick has to compute so that the units ``h`` and ``c`` are there after it."""
    computed = h | c
    needed = [*((k, u) for k in (I, F, G) for u in computed), *((O, u) for u in h)]
    gates = {(k, u): gate(k, u) for k, u in needed}
    for u in computed:
        if 0.0 in (gates[I, u], gates[G, u]):
            gates[I, u] = gates[G, u] = 0.0
            if gates[F, u] == 0.0 and u in h:
                gates[O, u] = 0.0  # c is 0, and so is h
    return TickPlan(tick, gates, tuple(sorted(computed)), tuple(sorted(h)))


class Plans(NamedTuple):
    """Both phases of a protocol.

    Attributes:
        forward, learn: their plans.
        sends_f, sends_b: units that the messages out read.
        kept_h, kept_c: units whose merged h, and merged c, something reads; the others need not be kept up.
    """

    forward: Plan
    learn: Plan
    sends_f: frozenset[int]
    sends_b: frozenset[int]
    kept_h: frozenset[int]
    kept_c: frozenset[int]


def plan_protocol(cell: Cell, forward: tuple[Tick, ...], learn: tuple[Tick, ...], codec: frozenset[int]) -> Plans:
    """Plan both phases, and find which h and c of the merged state have to be kept up from step to step.

    Args:
        cell: its zeros are the structure.
        forward: the forward ticks.
        learn: the learn ticks.
        codec: units whose c the codec writes or reads.
    """
    sends_f, sends_b = (
        frozenset(
            range(cell.units) if P.requires_grad else P.any(-1).view(-1, cell.units).any(0).nonzero().flatten().tolist()
        )
        for P in (cell.P_f, cell.P_b)
    )
    kept_h, kept_c = frozenset[int](), codec
    while True:
        forwards = plan(cell, forward, sends_f, frozenset())
        learns = plan(cell, learn, sends_b | kept_h, kept_c)
        h = kept_h | forwards.reads_h | learns.reads_h
        c = kept_c | forwards.reads_c | learns.reads_c
        if (h, c) == (kept_h, kept_c):
            return Plans(forwards, learns, sends_f, sends_b, h, c)
        kept_h, kept_c = h, c


def entries(cell: Cell) -> dict[str, list[list[Entry]]]:
    """The parameters that gates read, row by row."""
    learnable = any(parameter.requires_grad for parameter in cell)
    entries: dict[str, list[list[Entry]]] = {}
    for name, parameter in zip(("W", "V", "U", "b"), cell[:4], strict=True):
        members = parameter.detach().reshape(cell.population or 1, -1, 4 * cell.units)
        alike: dict[tuple[float, ...], str] = {}
        entries[name] = [
            [_entry(f"{name}[{row},{column}]", values, learnable, alike) for column, values in enumerate(columns)]
            for row, columns in enumerate(members.permute(1, 2, 0).tolist())
        ]
    return entries


def _entry(place: str, values: list[float], learnable: bool, alike: dict[tuple[float, ...], str]) -> Entry:
    """One entry of all members; what is equal in each of them has one name, and so may gates be equal."""
    if learnable:
        return place
    if all(value == values[0] for value in values):
        return values[0]
    return alike.setdefault(tuple(values), place)


def _folded(parameters: dict[str, list[list[Entry]]], N: int, tick: Tick, tiny: float, k: int, u: int) -> Gate | float:
    return _gate(parameters, N, tick, k, u).folded(tiny)


def _gate(parameters: dict[str, list[list[Entry]]], N: int, tick: Tick, k: int, u: int) -> Gate:
    W, V, U, b = parameters.values()
    column = k * N + u
    told = ((place, fed([U[channel][column] for channel in channels])) for place, channels in enumerate(tick.backward))
    return Gate(
        tanh=k == G,
        bias=b[0][column],
        sources=tuple((n, W[n][column]) for n in range(N) if W[n][column] != 0.0),
        x=fed([V[channel][column] for channel in tick.x]),
        e=tuple((place, weights) for place, weights in told if weights),
    )


def _minus(weight: Entry) -> float:
    assert not isinstance(weight, str)  # who mirrors a gate has seen to that
    return -weight


def fed(weights: list[Entry]) -> tuple[Entry, ...]:
    """The weights of what is fed on several channels, as one where they are numbers; none where that is 0."""
    numbers = [weight for weight in weights if not isinstance(weight, str)]
    if len(numbers) < len(weights):
        return tuple(weight for weight in weights if weight != 0.0)
    total = sum(numbers)
    return (total,) if total else ()
