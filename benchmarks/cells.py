"""What learners reached on tasks, as figures: who is ahead where, final losses, speed-ups. Pure functions of curves."""

import math
from collections.abc import Iterator, Sequence
from statistics import mean, median
from typing import NamedTuple

from comparison import Window, windows
from torch import Tensor

WORST = 10.0  # what a ratio of losses counts at most, in means
LIMITS = {"loss": 0.05, "accuracy": 0.01}  # how far behind a cell is noted
RACE, TRAILING = 100, 20  # the step whose accuracy is to be reached, and how many the mean is over


class Runs(NamedTuple):
    """A learner on a task.

    Attributes:
        rates: learning rates, or factors of an algorithm's own; of several, the best counts.
        loss, accuracy: on each batch before learning from it, ``(rates, seeds, steps)``; accuracy nan if there is none.
        cost: time of a step over SGD's; nan where it was not measured.
    """

    rates: tuple[float, ...]
    loss: Tensor
    accuracy: Tensor
    cost: float = math.nan

    @property
    def classifies(self) -> bool:
        return not bool(self.accuracy.isnan().all())


class Cell(NamedTuple):
    """What an algorithm reached somewhere, and what the optimizers did.

    Attributes:
        task, window: where.
        figure: loss or accuracy.
        rivals: of each optimizer by its best rate.
        edges: optimizers whose best rate is the first or last of their grid.
        own: the algorithm's.
    """

    task: str
    window: Window
    figure: str
    rivals: dict[str, float]
    edges: tuple[str, ...]
    own: float

    @property
    def best(self) -> str:
        choose = min if self.figure == "loss" else max
        return choose(self.rivals, key=lambda name: self.rivals[name])

    @property
    def lead(self) -> float:
        """Over the best: the share of its loss that is saved, or the difference in accuracy."""
        if self.figure == "accuracy":
            return self.own - self.rivals[self.best]
        return 1 - self.ratio

    @property
    def ratio(self) -> float:
        """Own over the best one's."""
        return self.own / max(self.rivals[self.best], 1e-12)

    @property
    def ahead(self) -> bool:
        return self.lead >= 0


def by_rate(runs: Runs, figure: str, window: Window) -> Tensor:
    """Mean over seeds and a window, of each rate; a loss that is not finite counts as infinite."""
    values = (runs.loss if figure == "loss" else runs.accuracy)[..., slice(*window)].mean((1, 2))
    return values.nan_to_num(math.inf, posinf=math.inf) if figure == "loss" else values


def settled(runs: Runs) -> Runs:
    """At one rate for the whole run: that of the least mean loss, as one would choose it."""
    place = int(by_rate(runs, "loss", (0, runs.loss.shape[-1])).argmin())
    one = slice(place, place + 1)
    return Runs(runs.rates[one], runs.loss[one], runs.accuracy[one], runs.cost)


def cells(task: str, optimizers: dict[str, Runs], own: Runs) -> Iterator[Cell]:
    """All windows and figures of a task."""
    for window in windows(own.loss.shape[-1]):
        for figure in ("loss", "accuracy") if own.classifies else ("loss",):
            rivals, edges = {}, []
            for name, runs in optimizers.items():
                values = by_rate(runs, figure, window)
                place = int(values.argmin() if figure == "loss" else values.argmax())
                rivals[name] = float(values[place])
                edges += [name] if place in (0, len(values) - 1) else []
            yield Cell(task, window, figure, rivals, tuple(edges), float(by_rate(own, figure, window)[0]))


def trailing(curves: Tensor, width: int) -> Tensor:
    """Means over ``width`` steps up to each, of the means over seeds: ``(rates, seeds, steps)`` -> ``(rates, steps)``.

    The first value is that of step ``width``, counted from 1.
    """
    return curves.mean(1).unfold(-1, width, 1).mean(-1)


def first_step(smooth: Tensor, target: float, width: int, falling: bool) -> float:
    """The first step, counted from 1, at which any rate is as good as ``target``; infinite if there is none."""
    reached = ((smooth <= target) if falling else (smooth >= target)).any(0).nonzero()
    return float(reached[0]) + width if len(reached) else math.inf


def final_loss(runs: Runs) -> float:
    """Of the last tenth of the steps, by the best rate."""
    steps = runs.loss.shape[-1]
    return float(by_rate(runs, "loss", (steps - max(1, steps // 10), steps)).min())


def speed_up(runs: Runs, adam: Runs) -> float:
    """How many times fewer steps it takes to the loss that the best Adam has at the end; 0 if it does not get there.

    Losses are means over a twentieth of the run's steps, up to each. The first time counts, and of several rates the
    first one: Adam's own figure says what that is worth.
    """
    steps = runs.loss.shape[-1]
    width = max(1, steps // 20)
    target = float(trailing(adam.loss, width)[:, -1].nan_to_num(math.inf).min())
    return steps / first_step(trailing(runs.loss, width), target, width, falling=True)


def race(runs: Runs, adam: Runs) -> float:
    """Steps to the accuracy that the best Adam has after RACE, by means over TRAILING."""
    target = float(trailing(adam.accuracy, TRAILING)[:, RACE - TRAILING].max())
    return first_step(trailing(runs.accuracy, TRAILING), target, TRAILING, falling=False)


def interquartile_mean(values: Sequence[float]) -> float:
    """Without the lowest and the highest quarter, rounded down.

    >>> interquartile_mean([9.0, 1.0, 2.0, 4.0, -7.0])
    2.3333333333333335
    """
    cut = len(values) // 4
    return mean(sorted(values)[cut : len(values) - cut])


def diverged(runs: Runs) -> int:
    """Runs with a loss that is not finite, or above ten times the initial one (mean over seeds)."""
    worst = runs.loss.nan_to_num(math.inf, posinf=math.inf).amax(-1)
    stayed = worst.isfinite() & (worst / 10 <= runs.loss[..., 0].mean(1, keepdim=True))
    return int((~stayed).sum())


Figures = dict[str, str]  # what is said of a learner


def of_cells(found: Sequence[Cell]) -> Figures:
    """How an algorithm stands against the best optimizer of each cell."""
    by_figure = {name: [cell for cell in found if cell.figure == name] for name in LIMITS}
    said = {}
    for what, chosen in {"": found, **{f" by {name}": chosen for name, chosen in by_figure.items()}}.items():
        if chosen:
            said[f"cells ahead{what}"] = f"{mean(cell.ahead for cell in chosen):.0%} of {len(chosen)}"
    behind = sum(cell.lead < -LIMITS[cell.figure] for cell in found)
    said["cells 5 % of the loss or 1 point behind"] = str(behind)
    for window in dict.fromkeys(cell.window for cell in found):
        ratios = [cell.ratio for cell in by_figure["loss"] if cell.window == window]
        logs = [math.log(max(min(ratio, WORST), 1 / WORST)) for ratio in ratios]
        said[f"mean log(loss / best tuned), {window[0]}-{window[1]}"] = f"{mean(logs):+.3f}"
    for name, chosen in by_figure.items():
        if chosen:
            worst = min(chosen, key=lambda cell: cell.lead)
            short = max(0.0, -100 * worst.lead)
            said[f"largest shortfall of {name}"] = f"{short:.3g} %" if name == "loss" else f"{short:.2f} points"
            said[f"- where, {name}"] = f"{worst.task}, {worst.window[0]}-{worst.window[1]}"
    return said


def of_runs(runs: Sequence[Runs], adams: Sequence[Runs]) -> Figures:
    """A learner, optimizers included, against the best Adam, over tasks."""
    pairs = list(zip(runs, adams, strict=True))
    said = {
        "final loss / best Adam's (IQM)": f"{interquartile_mean([relative(*pair) for pair in pairs]):.3f}",
        "speed-up in steps of best Adam (IQM)": f"{interquartile_mean([speed_up(*pair) for pair in pairs]):.2f}",
    }
    racing = [race(*pair) for pair in pairs if pair[0].classifies and pair[0].loss.shape[-1] >= RACE]
    if racing:
        never = f" (never: {missed})" if (missed := sum(map(math.isinf, racing))) else ""
        said[f"steps to best Adam's accuracy at {RACE} (median)"] = f"{median(racing):g}{never}"
    if len(runs[0].rates) == 1:
        said["diverged runs"] = f"{sum(map(diverged, runs))} of {sum(own.loss.shape[1] for own in runs)}"
        cost = median(own.cost for own in runs)
        said |= {} if math.isnan(cost) else {"time of a step / SGD's (median)": f"{cost:.1f}"}
    return said


def relative(runs: Runs, adam: Runs) -> float:
    """Final loss over the best Adam's."""
    return min(final_loss(runs) / max(final_loss(adam), 1e-12), WORST)
