"""Online accuracy over steps, in one figure: a column for every data set and network, a row for every batch size."""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from comparison import Contender, Window, in_window, windows
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from lightning_vsml.lab.curves import COLOURS

BLACKS = {  # what is no learning algorithm: colour, dashes
    "SGD": ("black", "--"),
    "momentum": ("0.5", "--"),
    "Adam": ("black", ":"),
    "nearest mean": ("0.7", "-."),
    "1-NN": ("0.7", "-"),
}
DASHES = ("-", (0, (5, 1)), (0, (1, 1)), (0, (3, 1, 1, 1)))  # of several algorithms of one kind
TICKS = (0.1, 0.2, 0.4, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.97)

Panel = tuple[str, str, int, Sequence[Contender]]  # data set, network, batch size


def draw(panels: Sequence[Panel]) -> Figure:
    """All panels there are so far."""
    columns = list(dict.fromkeys(panel[:2] for panel in panels))
    rows = list(dict.fromkeys(panel[2] for panel in panels))
    figure = Figure(figsize=(1 + 4.6 * len(columns), 1 + 3.8 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), len(columns), squeeze=False)
    handles = {}
    for dataset, network, batch, contenders in panels:
        axis = axes[rows.index(batch)][columns.index((dataset, network))]
        axis.set(title=f"{dataset}, {network}, batches of {batch}", xlabel="learning step", xscale="log")
        lines(axis, contenders)
        handles |= {handle.get_label(): handle for handle in axis.get_legend_handles_labels()[0]}
    for row in axes:
        row[0].set_ylabel("online accuracy")
    figure.suptitle("Tuned: by the best learning rate of each window", fontsize="medium")
    figure.legend(handles=list(handles.values()), loc="outside lower center", ncols=3 * len(columns), frameon=False)
    return figure


def lines(axis: Axes, contenders: Sequence[Contender]) -> None:
    """A line for each contender; of a tuned one a piece for every window, by its best learning rate there."""
    bounds = windows(len(contenders[0].runs[0].online))
    of_kind: Counter[str] = Counter()
    for contender in contenders:
        if contender.kind in COLOURS:
            dashes = DASHES[of_kind[contender.kind] % len(DASHES)]
            style = {"color": COLOURS[contender.kind], "linestyle": dashes, "linewidth": 2, "alpha": 0.8}
            of_kind[contender.kind] += 1
        else:
            style = dict(zip(("color", "linestyle"), BLACKS[contender.name], strict=True)) | {"linewidth": 1.4}
        label = f"{contender.name}, tuned" if len(contender.runs) > 1 else contender.name
        for window in bounds:
            x, y = smooth(in_window(contender, window).run.online, window)
            axis.plot(x, y, label=None if window[0] else label, **style)
    for start, _ in bounds[1:]:
        axis.axvline(start, color="0.85", linewidth=0.8, zorder=0)
    axis.set_yscale("logit", nonpositive="clip")  # spreads what lies close to 1
    axis.set_yticks(TICKS, [f"{tick:.0%}" for tick in TICKS])
    axis.set_yticks([], minor=True)
    highest = max(max(line.get_ydata()) for line in axis.lines if len(line.get_xdata()) > 2)
    axis.set_ylim(0.08, 1 - 0.7 * (1 - min(highest, 0.98)))
    axis.grid(alpha=0.25)


def smooth(online: Tensor, window: Window) -> tuple[list[float], list[float]]:
    """Means over seeds and over spans of steps that grow as the steps do: middles, counted from 1, and values."""
    inner = {round(10 ** (power / 10)) for power in range(80)}  # ten spans for every factor of ten
    spans = list(pairwise(sorted({step for step in inner if window[0] < step < window[1]} | set(window))))
    return [((lo + 1) * hi) ** 0.5 for lo, hi in spans], [float(online[lo:hi].mean()) for lo, hi in spans]
