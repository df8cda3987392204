"""Which numbers of a synapse have to be kept where there are commit ticks: read off the gates, without a trial."""

from torch import Tensor

from lightning_vsml.ticks.cell import Cell, CommitTick, Tick
from lightning_vsml.ticks.commit.plan import plan_commit
from lightning_vsml.ticks.plan.layout import Layout, Plane
from lightning_vsml.ticks.plan.structure import F, G, I, Plan, TickPlan, plan_protocol


def layout_of_commits(
    cell: Cell,
    forward: tuple[Tick, ...],
    learn: tuple[Tick, ...],
    commit: tuple[CommitTick, ...],
    encode: Tensor,
    decode: Tensor,
    memory: tuple[bool, ...],
) -> Layout:
    """The planes of a cell with commit ticks; h is not kept, every phase finds it 0.

    Units are one number if they begin alike and have the same gates in every tick, but for the output's. What learn
    ticks change comes first, and of it weights.

    Args:
        cell: a single one.
        forward, learn, commit: the ticks.
        encode, decode: weight -> c, c -> weight, ``(N,)``.
        memory: for each unit, whether its c is a memory.
    """
    codec = frozenset((encode.abs() + decode.abs()).nonzero().flatten().tolist())
    read = codec
    while True:
        plans = plan_protocol(cell, forward, learn, read)
        commits = plan_commit(cell, commit, plans.kept_c)
        if (found := plans.kept_c | commits.plan.reads_c) == read:
            break
        read = found
    last = commits.plan.ticks[-1]
    empty = {  # begins as 0, and is 0 again after every step
        u for u in read - codec if _is_cleared(last, u) and _rests(plans.learn, u)
    }
    groups: dict[object, list[int]] = {}
    for u in sorted(read - empty):
        gates = [tick.gates.get((k, u)) for tick in (*plans.learn.ticks, *commits.plan.ticks) for k in (F, I, G)]
        groups.setdefault((tuple(gates), float(encode[u]), memory[u]), []).append(u)
    ordered = sorted(groups.values(), key=lambda units: (units[0] not in codec, _rests(plans.learn, units[0])))
    planes = tuple(Plane(1, units[0], float(encode[units[0]]) or 1.0, bool(encode[units[0]])) for units in ordered)
    at_rest = sum(units[0] not in codec and _rests(plans.learn, units[0]) for units in ordered)
    places = {u: (place, planes[place].scale) for place, units in enumerate(ordered) for u in units}
    N = cell.units
    return Layout(planes, ((None,) * N, tuple(places.get(u) for u in range(N))), at_rest)


def _is_cleared(tick: TickPlan, u: int) -> bool:
    """Whether a unit's c is 0 after a tick."""
    return tick.gates[F, u] == 0.0 and 0.0 in (tick.gates[I, u], tick.gates[G, u])


def _rests(plan: Plan, u: int) -> bool:
    """Whether learn ticks leave a unit's c as it is."""
    return all(tick.gates[F, u] == 1.0 and 0.0 in (tick.gates[I, u], tick.gates[G, u]) for tick in plan.ticks)
