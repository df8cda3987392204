"""Which learners run, and in which order."""

import math
import os
from collections.abc import Iterable, Sequence
from typing import Any

from lightning_vsml.algorithms.base import Algorithm, Pace
from lightning_vsml.binding.settings import algorithm_of
from lightning_vsml.report.errors import ReportError
from lightning_vsml.report.outcome import Plan

SGD = (0.01, 0.03, 0.1, 0.3, 1.0)
ADAM = (0.0003, 0.001, 0.003, 0.01, 0.03)
Wanted = str | os.PathLike[str] | Algorithm | tuple[str | os.PathLike[str] | Algorithm, float]


def plans_of(algorithms: Sequence[Wanted], sgd: Sequence[float], adam: Sequence[float]) -> list[Plan]:
    """What is to run.

    Raises:
        ReportError: a rate that is none, or nothing to run.
        CheckpointError: an algorithm is not there.
    """
    for what, tried in (("sgd", sgd), ("adam", adam)):
        for each in tried:
            check_rate(what, each)
    plans = []
    for wanted in [algorithms] if isinstance(algorithms, str | os.PathLike | Algorithm) else algorithms:
        which, lr = wanted if isinstance(wanted, tuple) else (wanted, None)
        if lr is not None:
            check_rate("algorithms", lr)
        algorithm = algorithm_of(which)
        if lr is not None and algorithm.pace is Pace.NONE:
            raise ReportError(f"{algorithm.name!r} has no learning rate, got {lr:g}: leave it out.")
        own = None if algorithm.pace is Pace.NONE else algorithm.lr
        name, rate = (algorithm.name, own) if lr is None else (f"{algorithm.name}, lr {lr:g}", float(lr))
        plans.append(Plan(name, "algorithm", rate, algorithm))
    if not plans:
        raise ReportError("expected at least one learning algorithm, such as 'backprop', got none.")
    if len({plan.name for plan in plans}) < len(plans):
        raise ReportError(f"expected different algorithms, got {', '.join(plan.name for plan in plans)}.")
    plans += [Plan(f"SGD, lr {rate:g}", "SGD", rate) for rate in sorted({*map(float, sgd), *twins(plans)})]
    plans += [Plan(f"Adam, lr {rate:g}", "Adam", rate) for rate in sorted(set(map(float, adam)))]
    return plans


def check_rate(what: str, rate: Any) -> None:
    """Refuse a learning rate that is none.

    Raises:
        ReportError: it is not a finite number above 0.
    """
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < math.inf:
        raise ReportError(f"{what}: learning rates should be finite numbers above 0, got {rate!r}.")


def ordered(plans: list[Plan]) -> list[Plan]:
    """Algorithms first, so that a report stopped early has them, each followed by what SGD does at its rate."""
    first = [plan for plan in plans if plan.kind == "algorithm"]
    same = [plan for plan in plans if plan.kind == "SGD" and plan.lr in twins(plans)]
    return [*first, *same, *[plan for plan in plans if plan not in first and plan not in same]]


def twins(plans: Iterable[Plan]) -> set[float]:
    """Rates at which an algorithm says that it follows SGD."""
    return {
        plan.lr
        for plan in plans
        if plan.algorithm is not None and plan.algorithm.readable and plan.algorithm.pace is Pace.FEEDBACK and plan.lr
    }
