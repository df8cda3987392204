"""Learning curves on held-out tasks."""

import torch
from matplotlib.figure import Figure

from lightning_vsml.lab.curves import COLOURS
from lightning_vsml.meta.heldout import Standing


def draw(standing: Standing, names: list[str]) -> Figure:
    """One panel for each task, online accuracy against steps."""
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(4 * columns, 2.8 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    colours = {"meta-learned": COLOURS["meta-learned"], "SGD": "black", "Adam": "tab:gray"}
    for place, (panel, name) in enumerate(zip(panels, names, strict=False)):
        for label, curves in {**standing.baselines, "meta-learned": standing.accuracy}.items():
            panel.plot(range(1, curves.shape[1] + 1), _smooth(curves[place]), label=label, color=colours[label])
        panel.set_title(name, fontsize=7)
        panel.set(xscale="log", ylim=(0, 1))
        panel.grid(alpha=0.3)
    for panel in panels[len(names) :]:
        panel.set_visible(False)
    panels[0].legend(loc="lower right", fontsize=7)
    figure.supxlabel("learning step")
    figure.supylabel("online accuracy; SGD and Adam with the best learning rate for each task")
    return figure


def _smooth(curve: torch.Tensor) -> torch.Tensor:
    """Mean over the steps around each, a third of its number wide."""
    total = torch.cat([torch.zeros(1), curve.cumsum(0)])
    step = torch.arange(len(curve))
    first, last = (step - step // 6).clamp(min=0), (step + step // 6 + 1).clamp(max=len(curve))
    return (total[last] - total[first]) / (last - first)
