"""Who predicts best while it learns: the best of a grid for every window of steps, paired differences, first steps."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

Window = tuple[int, int]  # steps from, and up to but without
BOUNDS = (0, 50, 200, 1000)


class Run(NamedTuple):
    """One learner at one learning rate, K seeds.

    Attributes:
        lr: None where there is none.
        online: accuracy on each batch before learning from it, ``(steps, K)``.
        tests: accuracy on the test set ``(K,)`` after some numbers of steps.
    """

    lr: float | None
    online: Tensor
    tests: dict[int, Tensor]


class Contender(NamedTuple):
    """A learner; of several ``runs``, by rising learning rate, the best counts."""

    name: str
    kind: str
    runs: tuple[Run, ...]


class Entry(NamedTuple):
    """What a contender reached in a window."""

    contender: Contender
    run: Run
    at_edge: bool  # the best learning rate is the first or last of its grid
    online: Tensor  # (K,)


def windows(steps: int) -> list[Window]:
    """The usual windows, as far as ``steps`` go.

    >>> windows(1000), windows(120)
    ([(0, 50), (50, 200), (200, 1000)], [(0, 50), (50, 120)])
    """
    return list(pairwise([*(bound for bound in BOUNDS if bound < steps), steps]))


def in_window(contender: Contender, window: Window) -> Entry:
    """Its best run in this window, by the mean over seeds."""
    online = torch.stack([run.online[slice(*window)].mean(0) for run in contender.runs])  # (runs, K)
    best = int(online.mean(1).argmax())
    edge = len(contender.runs) > 1 and best in (0, len(contender.runs) - 1)
    return Entry(contender, contender.runs[best], edge, online[best])


def spread(values: Tensor) -> float:
    """Standard deviation over seeds; of a single one 0."""
    return float(values.std(correction=int(len(values) > 1)))


def difference(ours: Tensor, theirs: Tensor) -> tuple[float, float]:
    """Mean of the paired differences over seeds, and its standard error."""
    paired = ours - theirs
    return float(paired.mean()), spread(paired) / len(paired) ** 0.5


def table(contenders: Sequence[Contender], window: Window, rivals: Sequence[str]) -> list[dict[str, Any]]:
    """A row for every contender, with the differences to the best runs of the rivals in this window."""
    entries = {contender.name: in_window(contender, window) for contender in contenders}
    rows = []
    for entry in entries.values():
        row = {
            "learner": entry.contender.name,
            "kind": entry.contender.kind,
            "lr": entry.run.lr,
            "lr_tuned": len(entry.contender.runs) > 1,
            "lr_at_edge": entry.at_edge,
            "window": f"{window[0]}-{window[1]}",
            "online_mean": float(entry.online.mean()),
            "online_std": spread(entry.online),
            "seeds": len(entry.online),
        }
        for rival in rivals:
            mean, error = difference(entry.online, entries[rival].online)
            row |= {f"difference_to_best_{rival}": mean, f"standard_error_to_best_{rival}": error}
        rows.append(row)
    return rows


def highest(runs: Sequence[Run], step: int) -> list[Run]:
    """Sorted by mean test accuracy after ``step``, best first."""
    return sorted(runs, key=lambda run: float(run.tests[step].mean()), reverse=True)


def first_step(run: Run, target: float, last: int) -> int | None:
    """The first tested step up to ``last`` with a mean test accuracy of at least ``target``; None if there is none."""
    reached = (step for step, test in sorted(run.tests.items()) if float(test.mean()) >= target)
    return next((step for step in reached if step <= last), None)
