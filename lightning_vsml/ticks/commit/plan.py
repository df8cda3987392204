"""What of commit ticks has to be computed, read off the zeros of the cell."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_vsml.ticks.cell import Cell, CommitTick, Tick
from lightning_vsml.ticks.plan.structure import Entry, Gate, Plan, TickPlan, entries, fed, needed_before

DEEPEST = 6  # chains that are longer count as this long


class Told(NamedTuple):
    """What synapses are told from outside when a change is committed.

    Attributes:
        bias: for each input of the grid 1 if it is a bias beside weights, else 0; ``(A,)``.
        plain: 1 if no bias is beside it that could take what a mean moves, or its input has no mean, else 0; ``(A,)``.
        rate: the learning rate over the algorithm's own, ``(A,)``; where it is 0 everything stays as it is.
        annealed: the learning rate over the largest that there was, ``(A,)``: 1 unless it has fallen.
        depth: layers in the shortest chain of the model through this one; at most :data:`DEEPEST` count.
    """

    bias: Tensor
    plain: Tensor
    rate: Tensor
    annealed: Tensor
    depth: int = 1

    @property
    def vectors(self) -> tuple[Tensor, ...]:
        """As commit ticks are fed: both flags, and logarithms of the others; ``(A,)`` each."""
        depth = torch.full_like(self.rate, math.log(max(1, min(self.depth, DEEPEST))))
        return self.bias, self.plain, self.rate.log(), self.annealed.log(), depth

    def to(self, dtype: torch.dtype) -> "Told":
        """The same in another type."""
        bias, plain, rate, annealed = (vector.to(dtype) for vector in self[:4])
        return Told(bias, plain, rate, annealed, self.depth)

    def moving(self) -> "Told":
        """The same with a rate of 1 where it is 0, which has no logarithm."""
        still = self.rate == 0
        return self._replace(rate=self.rate.masked_fill(still, 1.0), annealed=self.annealed.masked_fill(still, 1.0))

    @classmethod
    def of(cls, A: int, like: Tensor, depth: int = 1) -> "Told":
        """The last input is a bias, and the rate is the algorithm's own."""
        bias = like.new_zeros(A)
        bias[-1:] = 1.0
        return cls(bias, like.new_zeros(A), like.new_ones(A), like.new_ones(A), depth)


class Message(NamedTuple):
    """What neurons tell their synapses.

    Attributes:
        tick: before which it is gathered.
        output: whether it goes to an output's synapses; else to an input's.
        column: of ``P_f`` or ``P_b``: the weights of the sum.
    """

    tick: int
    output: bool
    column: int


class CommitPlan(NamedTuple):
    """Ticks, and the messages between them.

    Attributes:
        plan: what to compute; a gate's ``x`` is what it makes of the bias flag, its ``e`` of the other one (0), of
            rate (1), its fall (2) and depth (3), and of the messages (4 and up, as they are numbered).
        messages: in the order in which they are gathered.
    """

    plan: Plan
    messages: tuple[Message, ...]


def plan_commit(cell: Cell, ticks: tuple[CommitTick, ...], c: frozenset[int]) -> CommitPlan:
    """Plan ``ticks`` so that the units ``c`` are there at the end; h is not kept."""
    parameters, N = entries(cell), cell.units
    tiny = torch.finfo(cell.W.dtype).eps / 1024
    messages: list[Message] = []
    places: list[list[tuple[int, str, int]]] = []  # of each tick: place, parameter, channel
    for t, tick in enumerate(ticks):
        heard = [(0, "V", channel) for channel in tick.plain] + [(1, "V", channel) for channel in tick.rate]
        heard += [(2, "V", channel) for channel in tick.annealed] + [(3, "V", channel) for channel in tick.depth]
        for output, pairs, name in ((True, tick.outputs, "U"), (False, tick.inputs, "V")):
            for column, channel in pairs:
                messages.append(Message(t, output, column))
                heard.append((3 + len(messages), name, channel))
        places.append(heard)
    plans: list[TickPlan] = []
    h: frozenset[int] = frozenset()
    for t in reversed(range(len(ticks))):

        def gate(k: int, u: int, t: int = t) -> Gate | float:
            return _gate(parameters, N, ticks[t], places[t], k, u).folded(tiny)

        plan = needed_before(Tick(), h, c, gate)
        plans.insert(0, plan)
        h, c = plan.reads_h, plan.reads_c
        for message in messages:
            if message.tick == t:
                weights = (cell.P_f if message.output else cell.P_b)[..., message.column].detach().reshape(-1, N)
                h |= frozenset(weights.any(0).nonzero().flatten().tolist())
    return CommitPlan(Plan(tuple(plans), h, c), tuple(messages))


def _gate(
    parameters: dict[str, list[list[Entry]]],
    N: int,
    tick: CommitTick,
    heard: list[tuple[int, str, int]],
    k: int,
    u: int,
) -> Gate:
    column = k * N + u
    W, V, b = parameters["W"], parameters["V"], parameters["b"]
    bias = b[0][column]
    for channel in tick.one:
        bias += V[channel][column]  # type: ignore[operator]
    told = ((place, fed([parameters[name][channel][column]])) for place, name, channel in heard)
    return Gate(
        tanh=k == 2,
        bias=bias,
        sources=tuple((n, W[n][column]) for n in range(N) if W[n][column] != 0.0),
        x=fed([V[channel][column] for channel in tick.bias]),
        e=tuple((place, weights) for place, weights in told if weights),
    )
