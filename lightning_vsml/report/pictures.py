"""Pictures as SVG, whose inks are the page's."""

import io
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lightning_vsml.report.figures import best, final, metric_of, milliseconds, smooth, window
from lightning_vsml.report.outcome import Outcome
from lightning_vsml.report.tables import shown

INK, RULE = "#010203", "#040506"  # stand for the page's variables
PALETTE = ("#2f7ed8", "#e8833a", "#2e9e5b", "#b04fc4", "#d6456b", "#8a7a1f")  # legible on light and on dark
FIXED = {"SGD": (INK, "-"), "Adam": ("#8b8f98", "-"), "own": ("#8b8f98", "--")}
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "lightning_vsml",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": RULE,
    "legend.frameon": False,
}


def curves(outcomes: Sequence[Outcome]) -> str:
    """Losses against steps, and against seconds."""

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2, sharey=True)
        everything: list[float] = []
        for outcome, (colour, line) in styles(outcomes):
            curve = smooth(outcome.losses, window(outcome.steps))
            everything += curve
            steps = range(1, len(curve) + 1)
            left.plot(steps, curve, line, color=colour, label=outcome.plan.name, linewidth=_width(outcome))
            if math.isfinite(took := milliseconds(outcome)):
                right.plot([step * took / 1e3 for step in steps], curve, line, color=colour, linewidth=_width(outcome))
        _loss_axis(left, everything)
        _loss_axis(right, everything)
        left.set(xlabel="batches", ylabel="training loss")
        right.set(xlabel="seconds (steps times ms a step)", ylabel="")
        figure.legend(loc="outside lower center", ncols=3)

    return _svg(draw, (9, 3.9))


def metrics(outcomes: Sequence[Outcome]) -> str:
    """What the module logged besides the loss; empty if nothing."""
    names = metric_of(outcomes)[:3]

    def draw(figure: Figure) -> None:
        for panel, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
            for outcome, (colour, line) in styles(outcomes):
                if curve := outcome.metrics.get(name):
                    panel.plot(
                        range(1, len(curve) + 1),
                        smooth(curve, window(outcome.steps)),
                        line,
                        color=colour,
                        linewidth=_width(outcome),
                    )
            panel.set(xlabel="batches", ylabel=name)
            panel.grid(alpha=0.6)

    return _svg(draw, (9, 3)) if names else ""


def rates(outcomes: Sequence[Outcome]) -> str:
    """Final losses by learning rate, and those of learners without a grid."""

    def draw(figure: Figure) -> None:
        panel = figure.subplots()
        everything = []
        for outcome, (colour, line) in styles(outcomes):
            kind = outcome.plan.kind
            if kind in ("algorithm", "own"):
                if outcome.complete:
                    panel.axhline(final(outcome), color=colour, linestyle="--" if line == "-" else line)
                    everything.append(final(outcome))
                continue
            points = [(o.plan.lr, final(o)) for o in outcomes if o.plan.kind == kind and o.complete]
            everything += [loss for _, loss in points]
            panel.plot(*zip(*points, strict=True), "o-", color=colour, label=kind, markersize=4)
        panel.set(xscale="log", xlabel="learning rate", ylabel="final loss")
        _loss_axis(panel, everything)
        panel.set_xlabel("learning rate of SGD and Adam; others as lines across")
        if panel.get_legend_handles_labels()[0]:
            panel.legend()

    return _svg(draw, (4.4, 3.2))


def costs(outcomes: Sequence[Outcome]) -> str:
    """Milliseconds a step, and numbers kept for a weight."""

    def draw(figure: Figure) -> None:
        rows = [(outcome, colour) for outcome, (colour, _) in styles(outcomes) if outcome.losses][::-1]
        names = [outcome.plan.name for outcome, _ in rows]
        colours = [colour for _, colour in rows]
        left, right = figure.subplots(1, 2, sharey=True)
        for panel, label, values in (
            (left, "ms a step", [milliseconds(outcome) for outcome, _ in rows]),
            (right, "numbers kept a weight", [outcome.kept for outcome, _ in rows]),
        ):
            bars = panel.barh(names, [value if math.isfinite(value) else 0 for value in values], color=colours)
            panel.bar_label(bars, [f"{value:.3g}" for value in values], padding=3)
            panel.set(xlabel=label)
            panel.margins(x=0.2)

    return _svg(draw, (9, 0.8 + 0.36 * max(2, len(shown(outcomes)))))


def layers(outcome: Outcome) -> str:
    """Cosine of every layer's change to the gradient step, over steps; empty if there are none."""
    names = list(outcome.layers)
    steps = sorted({step for layer in outcome.layers.values() for step in layer})

    def draw(figure: Figure) -> None:
        panel = figure.subplots()
        values = [
            [outcome.layers[name][step].cosine if step in outcome.layers[name] else math.nan for step in steps]
            for name in names
        ]
        mesh = panel.pcolormesh(values, cmap="RdYlBu", vmin=-1, vmax=1, edgecolors="none")
        panel.set_xticks([place + 0.5 for place in range(len(steps))], [str(step) for step in steps])
        panel.set_yticks([place + 0.5 for place in range(len(names))], [name or "(model)" for name in names])
        panel.invert_yaxis()
        panel.set(xlabel="step (those that were measured)")
        for row, line in enumerate(values):
            for column, value in enumerate(line):
                if math.isfinite(value) and len(names) <= 40:
                    colour = "black" if abs(value) < 0.7 else "white"
                    panel.text(column + 0.5, row + 0.5, f"{value:.2f}", ha="center", va="center", color=colour, size=7)
        figure.colorbar(mesh, ax=panel, label="cosine", fraction=0.03)

    return _svg(draw, (9, 1.1 + 0.28 * len(names))) if names and steps else ""


def styles(outcomes: Sequence[Outcome]) -> list[tuple[Outcome, tuple[str, str]]]:
    """Learners that are shown, with colour and line; drawn in this order."""
    found, drawn = shown(outcomes), []
    algorithms = [outcome for outcome in found if outcome.plan.kind == "algorithm"]
    twins = {o.plan.lr for o in algorithms if o.distance == o.distance}
    best_sgd = best(o for o in outcomes if o.plan.kind == "SGD")
    found += [o for o in outcomes if o.plan.kind == "SGD" and o.plan.lr in twins and o is not best_sgd]
    for outcome in sorted(found, key=lambda o: o.plan.kind == "algorithm"):
        if outcome.plan.kind == "algorithm":
            place = algorithms.index(outcome)
            drawn.append((outcome, (PALETTE[place % len(PALETTE)], ("-", "--", ":")[place // len(PALETTE) % 3])))
        else:
            colour, line = FIXED[outcome.plan.kind]
            drawn.append((outcome, (colour, ":" if outcome.plan.kind == "SGD" and outcome is not best_sgd else line)))
    return drawn


def _width(outcome: Outcome) -> float:
    """Optimizers are broad and below, so that both are seen where an algorithm does the same."""
    return 1.2 if outcome.plan.kind == "algorithm" else 3.0


def _loss_axis(panel: Axes, values: Sequence[float]) -> None:
    """Logarithmic where losses span much; without what diverged."""
    finite = sorted(value for value in values if math.isfinite(value))
    panel.grid(alpha=0.6)
    if not finite:
        return
    middle = finite[len(finite) // 2]
    high = min(finite[-1], max(4 * abs(middle), finite[int(0.9 * (len(finite) - 1))]) * 1.1)
    if finite[0] > 0 and high / finite[0] > 4:
        panel.set_yscale("log")
        panel.set_ylim(finite[0] / 1.15, high * 1.15)
    elif high > finite[0]:
        panel.set_ylim(finite[0] - 0.05 * (high - finite[0]), high + 0.05 * (high - finite[0]))


def _svg(draw: Callable[[Figure], None], size: tuple[float, float]) -> str:
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "var(--ink)").replace(RULE, "var(--rule)")
    return re.sub(r' (width|height)="[\d.]+pt"', "", svg, count=2)
