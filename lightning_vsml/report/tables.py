"""Tables of outcomes."""

import math
from collections.abc import Iterable, Sequence

from rich.table import Table

from lightning_vsml.report.figures import (
    at_an_end,
    best,
    cosines,
    final,
    mean,
    metric_of,
    milliseconds,
    passage,
    smooth,
    window,
)
from lightning_vsml.report.outcome import LayerStep, Outcome


def learners(outcomes: Sequence[Outcome]) -> Table:
    """Every learner's losses: of optimizers the best of their rates."""
    reference = best(o for o in outcomes if o.plan.kind != "algorithm")
    metrics = metric_of(outcomes)[:2]
    table = Table(title="Losses", title_justify="left", caption_justify="left")
    table.add_column("learner", overflow="fold")
    for heading in ["final loss", "against best", "steps to best", *metrics]:
        table.add_column(heading, justify="right", overflow="fold")
    for outcome in shown(outcomes):
        reached = None if reference is None else passage(outcome, final(reference))
        against = math.nan if reference is None or not outcome.complete else final(outcome) / final(reference) - 1
        width = window(outcome.steps)
        table.add_row(
            outcome.plan.name + _edge(outcome, outcomes),
            number(final(outcome)) if outcome.complete else outcome_word(outcome),
            "" if not math.isfinite(against) or (reference and final(reference) <= 0) else f"{against:+.1%}",
            "" if reached is None else f"{reached}",
            *(number(smooth(o[name], width)[-1]) if (o := outcome.metrics).get(name) else "" for name in metrics),
        )
    width = window(outcomes[0].steps) if outcomes else 0
    lowest = reference.plan.name if reference else "none came to an end"
    table.caption = (
        f"final: mean of the last {width} batches; against best and steps to best: the lowest final loss of an "
        f"optimizer ({lowest})"
    )
    return table


def costs(outcomes: Sequence[Outcome]) -> Table:
    """Time and memory of every learner."""
    base = best(o for o in outcomes if o.plan.kind == "SGD")
    gpu = any(outcome.peak_bytes for outcome in outcomes)
    table = Table(title="Costs", title_justify="left", caption_justify="left")
    table.add_column("learner", overflow="fold")
    for heading in ["ms a step", "x SGD", "kept a weight", "memory", *(["GPU memory"] if gpu else [])]:
        table.add_column(heading, justify="right", overflow="fold")
    for outcome in shown(outcomes):
        if outcome.losses:
            table.add_row(
                outcome.plan.name,
                number(milliseconds(outcome)),
                "" if base is None else number(milliseconds(outcome) / milliseconds(base), 2),
                number(outcome.kept, 3),
                size(outcome.kept_bytes),
                *([size(outcome.peak_bytes)] if gpu else []),
            )
    table.caption = (
        "ms a step: forward, backward and step; a tenth of the steps are faster; kept: numbers besides the weight "
        "itself; memory: of all of them"
    )
    return table


def rates(outcomes: Sequence[Outcome], kind: str) -> Table:
    """Every rate of an optimizer."""
    table = Table(title=f"{kind}: every rate", title_justify="left")
    table.add_column("lr", justify="right")
    table.add_column("final loss", justify="right")
    for outcome in outcomes:
        if outcome.plan.kind == kind:
            table.add_row(
                number(outcome.plan.lr), number(final(outcome)) if outcome.complete else outcome_word(outcome)
            )
    return table


def layers(outcome: Outcome) -> Table | None:
    """An algorithm's layers beside the gradient step, and what they met."""
    names = list(dict.fromkeys([*outcome.layers, *outcome.exact, *(layer for _, layer in outcome.beyond)]))
    if not names:
        return None
    table = Table(title=f"{outcome.plan.name}: layers", title_justify="left", caption_justify="left")
    table.add_column("layer", overflow="fold")
    for heading in ("cosine first", "mean", "lowest", "off by", "rate", "exact ticks", "beyond"):
        table.add_column(heading, justify="right", overflow="fold")
    for name in names:
        steps = list(outcome.layers.get(name, {}).values())
        beyond = sorted(what for what, layer in outcome.beyond if layer == name)
        table.add_row(
            name or "(model)",
            number(steps[0].cosine) if steps else "",
            number(_of(steps, "cosine")),
            number(min((step.cosine for step in steps), default=math.nan)),
            number(_of(steps, "difference"), 2),
            number(_of(steps, "rate"), 3),
            f"{outcome.exact.get(name, 0)} of {len(outcome.losses)}",
            ", ".join(beyond) or "no",
        )
    measured = len({step for steps in outcome.layers.values() for step in steps})
    table.caption = (
        f"Committed change beside the gradient step, on {measured} of the steps: cosine; off by: |change - "
        "gradient step| / |gradient step|; rate: |change| / |gradient|; means over "
        "steps. Beyond: what exceeded the reach of the algorithm."
        if cosines(outcome)
        else "Without gradients to compare with."
    )
    return table


def shown(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Algorithms, the module's own optimizer, and the best of each other optimizer."""
    found = [o for kind in ("algorithm", "own") for o in outcomes if o.plan.kind == kind]
    found += [winner for kind in ("SGD", "Adam") if (winner := best(o for o in outcomes if o.plan.kind == kind))]
    return found


def outcome_word(outcome: Outcome) -> str:
    """Why a run has no final loss."""
    if outcome.stopped == "Ctrl-C" or not outcome.stopped:
        return f"stopped at {len(outcome.losses)}"
    return "failed" if not outcome.losses else f"diverged at {len(outcome.losses) - 1}"


def number(value: float | None, digits: int = 4) -> str:
    """Empty for what is not known."""
    if value is None or not math.isfinite(value):
        return ""
    return f"{value:.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"


def size(count: int) -> str:
    """Bytes, as people write them."""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count} B"


def _of(steps: Iterable[LayerStep], what: str) -> float:
    return mean(getattr(step, what) for step in steps)


def _edge(outcome: Outcome, outcomes: Sequence[Outcome]) -> str:
    return " (end of grid)" if at_an_end(outcome, outcomes) else ""
