"""A verdict in words, made of measured figures."""

import math
from typing import NamedTuple

from lightning_vsml.algorithms.base import Pace
from lightning_vsml.report import figures
from lightning_vsml.report.figures import (
    LEVEL,
    best,
    cosines,
    final,
    mean,
    milliseconds,
    paired,
    passage,
)
from lightning_vsml.report.outcome import Outcome
from lightning_vsml.report.tables import number

FOLLOWS = 0.01  # of the way that SGD's weights went: closer is the same
STEPS = 1e-3  # of a gradient step: so is this, wherever chaos leads it


class Verdict(NamedTuple):
    """Of one algorithm.

    Attributes:
        outcome: its run.
        word: "follows", "ahead", "level", "behind", "failed" or "unknown".
        text: the sentences.
    """

    outcome: Outcome
    word: str
    text: str


def head(outcomes: list[Outcome]) -> str:
    """What the optimizers came to."""
    parts = []
    for kind, name in (("SGD", "SGD"), ("Adam", "Adam"), ("own", "your own optimizer")):
        runs = [outcome for outcome in outcomes if outcome.plan.kind == kind]
        winner = best(runs)
        if winner is not None:
            tried = f", the best of {len(runs)} rates" if len(runs) > 1 else ""
            if figures.at_an_end(winner, outcomes):
                tried += " and the last of them on one side, so others may be better"
            parts.append(f"{winner.plan.name}{tried}, ends at a loss of {final(winner):.4g}")
        elif runs:
            parts.append(f"{name} did not come to an end ({runs[0].stopped or 'stopped'})")
    return "; ".join(parts) + "." if parts else "No optimizer was run to the end."


def judge(ours: Outcome, outcomes: list[Outcome]) -> Verdict:
    """An algorithm beside the best optimizer of all that ran."""
    name = ours.plan.name
    if not ours.complete:
        if ours.stopped == "Ctrl-C" or not ours.stopped:
            return Verdict(ours, "unknown", f"{name} was stopped after {len(ours.losses)} of {ours.steps} steps.")
        done = f" after {len(ours.losses)} steps" if ours.losses else ""
        return Verdict(ours, "failed", f"{name} does not work here: it ended{done}, since {ours.stopped}.")
    twin = next((o for o in outcomes if o.plan.kind == "SGD" and o.plan.lr == ours.plan.lr), None)
    theirs = best(o for o in outcomes if o.plan.kind != "algorithm")
    parts = [f"{name} ends at {final(ours):.4g}"]
    if theirs is None:
        return Verdict(ours, "unknown", f"{parts[0]}; no optimizer came to its end, so there is nothing to compare.")
    word = "level"
    difference, error = paired(ours, theirs)
    relative = difference / abs(final(theirs)) if final(theirs) else math.inf
    if abs(relative) >= LEVEL and abs(difference) > 2 * error:
        word = "ahead" if difference < 0 else "behind"
    place = _share(relative, final(theirs), difference, word)
    parts.append(f"{place} {theirs.plan.name} (batch by batch {difference:+.2g} ± {error:.1g})")
    closeness = figures.difference(ours)
    same = twin is not None and (ours.distance < FOLLOWS or closeness < STEPS)
    costs = _costs(ours, theirs)
    sentences = [", ".join(parts) + "."]
    if same and twin is not None:
        word = "follows"
        sentences.append(
            f"It does what SGD does at the same rate: its steps differ from SGD's by {closeness:.1g} of them, after "
            f"{ours.steps} steps its weights are {ours.distance:.1g} of the way that SGD's went away from SGD's, and "
            f"its loss is {abs(final(ours) - final(twin)):.1g} from SGD's."
            + (" As every step is SGD's, that is rounding, which has grown." if ours.distance >= FOLLOWS else "")
        )
    elif found := cosines(ours):
        sentences.append(
            f"The cosine of its changes to the gradient step is {mean(found):.3f} in the mean over layers."
        )
    sentences.append(costs)
    sentences.append(_advice(ours, theirs, word))
    if ours.beyond:
        layers = sorted({layer for _, layer in ours.beyond})
        sentences.append(f"Numbers went beyond its reach at {', '.join(layers)}: it saturates there.")
    return Verdict(ours, word, " ".join(sentences))


def _share(relative: float, reference: float, difference: float, word: str) -> str:
    if word == "level":
        return "level with"
    if reference > 0 and relative > 1:
        return f"{number(1 + relative, 2)} times the loss of"
    if reference <= 0:
        return f"{abs(difference):.3g} {'below' if difference < 0 else 'above'}"
    return f"{abs(relative):.0%} {'below' if difference < 0 else 'above'}"


def _costs(ours: Outcome, theirs: Outcome) -> str:
    took, reference = milliseconds(ours), milliseconds(theirs)
    return (
        f"A step takes {number(took, 3)} ms, {number(took / reference, 2)} times as long, and it keeps "
        f"{_count(ours.kept)} for each weight ({theirs.plan.name}: {theirs.kept:.2g})."
    )


def _count(numbers: float) -> str:
    return f"{numbers:.2g} number" + ("s" if abs(numbers - 1) > 0.005 else "")


def _advice(ours: Outcome, theirs: Outcome, word: str) -> str:
    """What follows from it."""
    other, times = theirs.plan.name, milliseconds(ours) / milliseconds(theirs)
    if word == "ahead":
        reached = passage(ours, final(theirs))
        if reached is None:
            return "So it is ahead in loss of every optimizer that was tried."
        share = reached / ours.steps * times
        there = f"It is where {other} ends after {reached} of {ours.steps} steps"
        if share < 1:
            return f"{there}, which takes {share:.0%} of its time: use it."
        return (
            f"{there}, but that takes {number(share, 2)} times as long: it pays where batches, and not steps of the "
            "learner, are what is dear."
        )
    if word == "follows":
        return "So take it to build on (states, other rules), and an optimizer for speed."
    if word == "level":
        chooses = ours.plan.algorithm is not None and ours.plan.algorithm.pace is Pace.COMMIT
        no_rate = "; it needed no learning rate, and those had a grid" if chooses else ""
        return f"So the loss gives no reason to change{no_rate}."
    return f"So stay with {other} here."
