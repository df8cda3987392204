"""Pure numbers: what curves say of each other."""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from lightning_vsml.report.outcome import Outcome

LEVEL = 0.01  # a smaller relative difference of losses is none


def window(steps: int) -> int:
    """How many steps a mean is over: a tenth of them, 20 at least, if there are as many."""
    return max(1, min(steps, max(20, steps // 10)))


def smooth(curve: Sequence[float], width: int) -> list[float]:
    """The mean over the last ``width`` steps up to each."""
    values = torch.tensor(curve, dtype=torch.float64)
    return [values[max(0, step + 1 - width) : step + 1].nanmean().item() for step in range(len(values))]


def final(outcome: Outcome) -> float:
    """The mean loss of the last window; infinite if the run did not come to its end."""
    if not outcome.complete:
        return math.inf
    width = window(outcome.steps)
    return math.fsum(outcome.losses[-width:]) / width


def best(outcomes: Iterable[Outcome]) -> Outcome | None:
    """The lowest final loss among complete runs."""
    return min((o for o in outcomes if o.complete), key=final, default=None)


def at_an_end(outcome: Outcome, outcomes: Iterable[Outcome]) -> bool:
    """Whether an optimizer's rate is the smallest or the largest of those that were tried."""
    tried = [o.plan.lr for o in outcomes if o.plan.kind == outcome.plan.kind and o.plan.lr is not None]
    if outcome.plan.kind not in ("SGD", "Adam") or len(tried) < 2:
        return False
    return outcome.plan.lr in (min(tried), max(tried))


def paired(ours: Outcome, theirs: Outcome) -> tuple[float, float]:
    """The mean difference of losses over the last window, batch by batch, and its standard error (batches taken as
    independent).
    """
    width = window(ours.steps)
    pairs = zip(ours.losses[-width:], theirs.losses[-width:], strict=True)
    difference = torch.tensor([a - b for a, b in pairs], dtype=torch.float64)
    error = difference.std().item() / math.sqrt(width) if width > 1 else math.inf
    return difference.mean().item(), error


def passage(outcome: Outcome, level: float) -> int | None:
    """After how many steps the mean of the last window is at ``level``, if ever."""
    width = window(outcome.steps)
    for step, loss in enumerate(smooth(outcome.losses, width), start=1):
        if step >= width and loss <= level:
            return step
    return None


def milliseconds(outcome: Outcome) -> float:
    """The time that a tenth of the steps stays below, which other work on the machine disturbs least; NaN if none was
    timed.
    """
    timed = torch.tensor([seconds for seconds in outcome.seconds if math.isfinite(seconds)], dtype=torch.float64)
    return timed.quantile(0.1).item() * 1e3 if len(timed) else math.nan


def distance(ours: dict[str, Tensor], theirs: dict[str, Tensor], start: dict[str, Tensor]) -> float:
    """||ours - theirs|| / ||theirs - start||, over all weights."""
    apart = sum((ours[name].double() - theirs[name].double()).square().sum().item() for name in start)
    way = sum((theirs[name].double() - start[name].double()).square().sum().item() for name in start)
    return math.sqrt(apart / way) if way else math.nan


def mean(values: Iterable[float]) -> float:
    """NaN of none."""
    numbers = [value for value in values if math.isfinite(value)]
    return math.fsum(numbers) / len(numbers) if numbers else math.nan


def cosines(outcome: Outcome) -> list[float]:
    """Of all layers and measured steps."""
    return [step.cosine for layer in outcome.layers.values() for step in layer.values()]


def difference(outcome: Outcome) -> float:
    """To the gradient step, in the mean over layers and measured steps; NaN of none."""
    return mean(step.difference for layer in outcome.layers.values() for step in layer.values())


def metric_of(outcomes: Sequence[Outcome]) -> list[str]:
    """Names of metrics that every learner logged, and that are not the loss."""
    first = outcomes[0] if outcomes else None
    if first is None:
        return []
    return [
        name
        for name, curve in first.metrics.items()
        if any(map(math.isfinite, curve))
        and not all(math.isclose(a, b, rel_tol=1e-4) for a, b in zip(curve, first.losses, strict=True))
        and all(name in outcome.metrics for outcome in outcomes if outcome.losses)
    ]
