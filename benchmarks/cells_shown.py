"""What :mod:`generalisation` shows: tables, a CSV file, a picture."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path

from cells import WORST, Cell, Figures, Runs, by_rate, diverged, settled
from comparison import Window, windows
from figure import smooth
from matplotlib.figure import Figure
from rich.table import Table
from unseen import Task

from lightning_vsml.lab.ensembles import RATES


def cell_table(learner: str, found: Sequence[Cell]) -> Table:
    """Best optimizers and the algorithm, a row for every task and window."""
    heads = [head for figure in ("loss", "accuracy, %") for head in (f"best tuned {figure}", "own", "lead")]
    table = Table("task", "steps", *heads, "ahead by", title=f"{learner}: before learning from each batch")
    table.caption = "lead: share of the best loss that is saved, %; points of accuracy. * at the edge of its grid"
    by_place: dict[tuple[str, Window], dict[str, Cell]] = {}
    for cell in found:
        by_place.setdefault((cell.task, cell.window), {})[cell.figure] = cell
    before = None
    for (task, window), place in by_place.items():
        if before not in (None, task):
            table.add_section()
        row = []
        for figure, form, scale, lead in (("loss", "{:.4g}", 1, "{:+.3g}"), ("accuracy", "{:.2f}", 100, "{:+.2f}")):
            if figure in place:
                cell = place[figure]
                best = f"{form.format(scale * cell.rivals[cell.best])} {cell.best}{'*' * (cell.best in cell.edges)}"
                row += [best, form.format(scale * cell.own), lead.format(100 * cell.lead)]
            else:
                row += [""] * 3
        ahead = [figure for figure, cell in place.items() if cell.ahead]
        label = "both" if len(ahead) == 2 else ahead[0] if ahead else "-"
        table.add_row("" if before == task else task, f"{window[0]}-{window[1]}", *row, label)
        before = task
    return table


def summary(said: dict[str, Figures], title: str) -> Table:
    """A row for every figure, a column for every learner."""
    table = Table(title=title)
    table.add_column("", min_width=44)
    for learner in said:
        table.add_column(learner)
    for figure in dict.fromkeys(figure for figures in said.values() for figure in figures):
        table.add_row(figure, *(figures.get(figure, "") for figures in said.values()))
    table.caption = (
        f"Optimizers by the best rate for each task and figure; ratios count {WORST:g} at most; IQM: interquartile mean"
    )
    return table


COLUMNS = ("task", "family", "batch", "learner", "rate", "window", "loss", "accuracy", "seeds", "diverged", "cost")


def write(file: Path, tasks: Sequence[Task], found: dict[str, dict[str, Runs]]) -> None:
    """All there is, a row for every task, learner, rate and window; ``diverged`` runs are those of the whole length."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file, "w", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(COLUMNS)
        for task in tasks:
            for learner, runs in found[task.name].items():
                for window in windows(runs.loss.shape[-1]):
                    values = [by_rate(runs, figure, window).tolist() for figure in ("loss", "accuracy")]
                    for place, (rate, loss, accuracy) in enumerate(zip(runs.rates, *values, strict=True)):
                        one = Runs((rate,), runs.loss[place, None], runs.accuracy[place, None])
                        what = (task.name, task.family, task.batch, learner, f"{rate:g}", f"{window[0]}-{window[1]}")
                        figures = (f"{loss:.6g}", f"{accuracy:.6g}", len(one.loss[0]), diverged(one))
                        writer.writerow((*what, *figures, f"{runs.cost:.3g}"))


def draw(found: dict[str, dict[str, Runs]], algorithms: Sequence[str]) -> Figure:
    """Loss curves, a panel for every task; optimizers with the rate of the lowest mean loss."""
    across = min(4, len(found))
    down = -(-len(found) // across)
    figure = Figure(figsize=(4.4 * across, 1 + 3.1 * down), layout="constrained")
    axes = figure.subplots(down, across, squeeze=False).flatten()
    for axis in axes[len(found) :]:
        axis.set_axis_off()
    for axis, (task, runs) in zip(axes, found.items(), strict=False):
        for learner in (*RATES, *algorithms):
            bold = learner in algorithms
            best = settled(runs[learner]).loss[0].T  # (steps, seeds)
            style = {"linewidth": 2.4, "zorder": 3} if bold else {"linewidth": 1.2, "alpha": 0.8}
            axis.plot(*smooth(best, (0, len(best))), label=learner if bold else f"{learner}, tuned", **style)
        axis.set(title=task, xlabel="learning step", xscale="log", yscale="log")
        lows, highs = zip(*((min(y), y[0]) for y in (line.get_ydata() for line in axis.lines)), strict=True)
        axis.set_ylim(max(min(lows) * 0.8, 1e-6), 2 * max(high for high in highs if math.isfinite(high)))
        axis.title.set_fontsize("small")
        axis.grid(alpha=0.25)
    figure.supylabel("loss before learning from a batch")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2 * across, frameon=False)
    return figure
