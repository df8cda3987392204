"""Which numbers of a synapse have to be kept from step to step.

Of the 2 N numbers h, c of N units, some are read by nothing, some stay 0, and some always are plus or minus another:
the two units that hold a weight in :func:`~lightning_vsml.algorithms.programs.backprop` are one number. A grid
keeps a *plane* for each that is left.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lightning_vsml.ticks.cell import Cell, State, Tick
from lightning_vsml.ticks.fused import Fused
from lightning_vsml.ticks.plan.structure import plan_protocol

STEPS = 20  # of learning, before it is judged what is read
ALIKE = 1e-9  # relative difference up to which two numbers of a synapse are one, on random inputs in float64


class Plane(NamedTuple):
    """A number that is kept for every synapse.

    Attributes:
        part: 0 for h, 1 for c.
        unit: whose.
        scale: the unit's number is the plane times this.
        codes: whether a weight is written to it; it then is that weight, as it is.
    """

    part: int
    unit: int
    scale: float
    codes: bool


class Layout(NamedTuple):
    """Planes, and how every unit's h and c follow from them.

    Attributes:
        planes: what is kept.
        units: for h and for c, for each unit: its plane and the factor to its number, or ``None`` where that is 0 or
            nothing reads it.
        at_rest: how many of the planes, the last ones, learn ticks leave alone: only commit ticks change them.
    """

    planes: tuple[Plane, ...]
    units: tuple[tuple[tuple[int, float] | None, ...], tuple[tuple[int, float] | None, ...]]
    at_rest: int = 0

    @property
    def learned(self) -> int:
        """How many planes learn ticks change, with those of weights: the first ones."""
        return len(self.planes) - self.at_rest

    @property
    def kept(self) -> frozenset[int]:
        """Units whose c is kept."""
        return frozenset(unit for unit, at in enumerate(self.units[1]) if at is not None)

    def expand(self, planes: Tensor) -> tuple[Tensor, Tensor]:
        """Planes ``(P, G, A, B)`` as h and c, ``(G, A, B, N)`` each, unit by unit in memory as compiled ticks read
        them."""
        zero = torch.zeros_like(planes[0])
        parts = (
            torch.stack([zero if at is None else planes[at[0]] * at[1] for at in units]).movedim(0, -1)
            for units in self.units
        )
        h, c = parts
        return h, c

    def compress(self, h: Tensor, c: Tensor) -> Tensor:
        """The planes ``(P, G, A, B)`` of h and c."""
        return torch.stack([(h, c)[plane.part][..., plane.unit] / plane.scale for plane in self.planes])

    def compress_change(self, h: Tensor, c: Tensor) -> Tensor:
        """How learn ticks change planes, from how they change h and c."""
        return self._replace(planes=self.planes[: self.learned]).compress(h, c)

    def misfit(self, h: Tensor, c: Tensor) -> str | None:
        """What of h and c (G, A, B, N) no planes can stand for, if anything."""
        kept = self.expand(self.compress(h, c))
        for name, whole, part, units in zip("hc", (h, c), kept, self.units, strict=True):
            for unit, place in enumerate(units):
                if place is not None and not torch.allclose(whole[..., unit], part[..., unit], rtol=1e-5, atol=1e-7):
                    return f"{name} of unit {unit}"
        return None


def layout(
    cell: Cell,
    forward: tuple[Tick, ...],
    learn: tuple[Tick, ...],
    encode: Tensor,
    decode: Tensor,
    memory: tuple[bool, ...],
) -> Layout:
    """The planes that ``cell`` needs under a protocol and a codec.

    Units that begin alike are taken to stay alike; learn ticks on random states, inputs and messages show which do
    not, and what is left when nothing changes any more is true of every step (as states of an automaton are merged).

    Args:
        cell: a single one or a population, whose members then share the planes.
        forward: the forward ticks.
        learn: the learn ticks.
        encode: weight -> c, ``(N,)``.
        decode: c -> weight, ``(N,)``.
        memory: for each unit, whether its c is a memory; units of which one is and one is not do not merge.
    """
    N = cell.units
    codec = frozenset((encode.abs() + decode.abs()).nonzero().flatten().tolist())
    plans = plan_protocol(cell, forward, learn, codec)
    kept = [(0, u) for u in sorted(plans.kept_h)] + [(1, u) for u in sorted(plans.kept_c)]
    starts = {(part, u): float(encode[u]) if part else 0.0 for part, u in kept}
    if any(parameter.requires_grad for parameter in cell):
        groups = [[(place, 1.0)] for place in kept]
    else:
        trial = _Trial(cell, forward, learn, codec)
        alike: dict[tuple[float, bool], Group] = {}
        for part, u in kept:
            if start := starts[part, u]:
                group = alike.setdefault((abs(start), memory[u]), [])
                group.append(((part, u), start / (starts[group[0][0]] if group else start)))
        zero = [(place, 1.0) for place in kept if not starts[place]]
        groups = _refined(trial, zero, list(alike.values()), memory)
        groups = _read(trial, groups, encode, codec, torch.finfo(cell.W.dtype).eps / 1024)
    planes: list[Plane] = []
    where: dict[tuple[int, int], tuple[int, float]] = {}
    for group in groups:
        (part, unit), sign = group[0]
        scale = starts[part, unit] or 1.0
        planes.append(Plane(part, unit, scale, bool(starts[part, unit])))
        where |= {place: (len(planes) - 1, scale * other / sign) for place, other in group}
    units = tuple(tuple(where.get((part, u)) for u in range(N)) for part in (0, 1))
    return Layout(tuple(planes), units)  # type: ignore[arg-type]


Group = list[tuple[tuple[int, int], float]]  # (part, unit), and its ratio to the first


class _Trial:
    """A small grid in float64; what rounds to 0 in the cell's own dtype is 0."""

    def __init__(self, cell: Cell, forward: tuple[Tick, ...], learn: tuple[Tick, ...], codec: frozenset[int]) -> None:
        self.ticks = Fused(cell, forward, learn, codec)
        self.ticks.cell = Cell(*(parameter.detach().double().cpu() for parameter in cell))
        self.G, self.rows, self.A, self.B = cell.population or 1, 8, 5, 4
        self.shape = (self.G, self.A, self.B, cell.units)
        self.generator = np.random.RandomState(0)  # torch's would not run within torch.vmap

    def random(self, *shape: int) -> Tensor:
        """Normally distributed."""
        return torch.from_numpy(np.asarray(self.generator.standard_normal(shape)))

    def step(self, state: State, x: Tensor, e: Tensor) -> tuple[State, list[Tensor]]:
        """A learning step: the state after it, and the messages of both phases."""
        sent = self.ticks.forward(state, x)
        change, message = self.ticks.learn(state, x, e, torch.asinh(sent[..., 1:]))
        after = State(*(part + moved / self.rows for part, moved in zip(state, change, strict=True)))
        return after, [*sent.unbind(-1), message]

    def batch(self) -> tuple[Tensor, Tensor]:
        """Random inputs and feedback."""
        return self.random(self.rows, self.G, self.A), self.random(self.rows, self.G, self.B)

    def state(self, groups: list[Group]) -> State:
        """A random one that has ``groups`` alike, and else 0."""
        state = State(torch.zeros(self.shape, dtype=torch.float64), torch.zeros(self.shape, dtype=torch.float64))
        for group in groups:
            value = self.random(self.G, self.A, self.B) * 0.3
            for (part, unit), ratio in group:
                state[part][..., unit] = value * ratio
        return state


def _refined(trial: _Trial, zero: Group, groups: list[Group], memory: tuple[bool, ...]) -> list[Group]:
    """``groups``, and what of ``zero`` does not stay 0, split until learn ticks keep them."""
    while True:
        after, _ = trial.step(trial.state(groups), *trial.batch())
        moved = [entry for entry in zero if bool(after[entry[0][0]][..., entry[0][1]].any())]
        split = [part for group in groups for part in _alike(group, after, memory, fixed=True)]
        split += _alike(moved, after, memory)
        if len(split) == len(groups):
            return groups
        zero, groups = [entry for entry in zero if entry not in moved], split


def _read(trial: _Trial, groups: list[Group], encode: Tensor, codec: frozenset[int], rounding: float) -> list[Group]:
    """Without the groups that change, by less than rounding does, neither a message nor another group.

    Judged on states that learning has come to, each synapse with an earlier value of another one.
    """
    weights = trial.random(*trial.shape[:3]).unsqueeze(-1)
    state = State(torch.zeros(trial.shape, dtype=torch.float64), weights * encode.detach().double().cpu())
    earlier = state
    for step in range(STEPS):
        state, _ = trial.step(state, *trial.batch())
        earlier = state if step == STEPS // 4 else earlier
    batch = trial.batch()
    before, messages = trial.step(state, *batch)
    removed = True
    while removed:
        removed = False
        for group in list(groups):
            if any(part and u in codec for (part, u), _ in group):
                continue
            other = State(state.h.clone(), state.c.clone())
            for (part, unit), _ in group:
                other[part][..., unit] = earlier[part][..., unit].roll((1, 1), (1, 2))
            after, others = trial.step(other, *batch)
            pairs = list(zip(others, messages, strict=True))
            for (part, unit), _ in (elsewhere[0] for elsewhere in groups if elsewhere is not group):
                pairs.append((after[part][..., unit], before[part][..., unit]))
            if all(bool((new - old).abs().max() <= rounding * old.abs().max()) for new, old in pairs):
                groups, removed = [one for one in groups if one is not group], True
    return groups


def _alike(group: Group, after: State, memory: tuple[bool, ...], fixed: bool = False) -> list[Group]:
    """``group`` apart by values; with ratios as they are, or (of what was 0 until now) as they turn out to be."""
    groups: list[Group] = []
    for (part, unit), ratio in group:
        value = after[part][..., unit]
        for other in groups:
            (first_part, first), first_ratio = other[0]
            if part != first_part or (part == 1 and memory[unit] is not memory[first]):
                continue
            reference = after[first_part][..., first]
            sign = ratio / first_ratio if fixed else float(torch.sign((value * reference).sum()))
            if (value - sign * reference).abs().max() <= ALIKE * reference.abs().max():
                other.append(((part, unit), ratio if fixed else sign * first_ratio))
                break
        else:
            groups.append([((part, unit), ratio)])
    return groups
