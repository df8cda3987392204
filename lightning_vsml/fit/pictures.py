"""States as pictures and histograms, for loggers that can show them."""

import importlib.util
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch.nn.functional as F
from torch import Tensor

from lightning_vsml.ticks import Layout

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LARGEST = 400  # numbers of a panel's side; larger layers are averaged
PANEL = 3.2  # inches


def can_draw() -> bool:
    """Whether Matplotlib is there, which the package does not depend on."""
    return importlib.util.find_spec("matplotlib") is not None


def heat_maps(title: str, layout: Layout, state: Tensor) -> "Figure":
    """What each plane of a state remembers, over the synapses of a layer.

    One panel for each plane, about a square together, with a colour scale of its own around 0. Rows are a layer's
    outputs, columns its inputs (groups and the bias come last).

    Args:
        title: of the figure.
        layout: of the algorithm's states.
        state: of a layer, ``(P, G, A, B)``.
    """
    from matplotlib.figure import Figure

    columns = math.ceil(math.sqrt(len(state)))
    rows = math.ceil(len(state) / columns)
    figure = Figure(figsize=(PANEL * columns, PANEL * rows + 0.4), layout="constrained")
    figure.suptitle(f"{title}: outputs x inputs")
    for place, values in enumerate(state.detach().float().cpu()):
        image = values.permute(2, 0, 1).flatten(1)
        image = F.interpolate(image[None, None], [min(side, LARGEST) for side in image.shape], mode="area")[0, 0]
        limit = float(image.abs().max()) or 1.0
        panel = figure.add_subplot(rows, columns, place + 1, title=plane_name(layout, place), xticks=[], yticks=[])
        shown = panel.imshow(
            image.numpy(), cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest"
        )
        figure.colorbar(shown, ax=panel, ticks=[-limit, 0, limit], format="%.2g", location="bottom", shrink=0.9)
    return figure


def plane_name(layout: Layout, place: int) -> str:
    """What a plane is, as curves and panels say it."""
    plane = layout.planes[place]
    return "weight" if plane.codes else f"{'hc'[plane.part]} of unit {plane.unit}"


def show(loggers: Iterable[Any], layout: Layout, states: Mapping[str, Tensor], step: int) -> None:
    """Histograms of planes and a heat map of every layer, on loggers with TensorBoard's methods; others get none.

    Pictures need Matplotlib (:func:`can_draw`).
    """
    for logger in loggers:
        board: Any = getattr(logger, "experiment", None)  # a logger of the user's may have none
        for name, state in states.items():
            if hasattr(board, "add_histogram"):
                for plane, values in zip(layout.planes, state, strict=True):
                    tag = f"vsml/{'hc'[plane.part]}{plane.unit}/{name}"
                    board.add_histogram(tag, values.detach().float().flatten().cpu(), step)
            if hasattr(board, "add_figure") and can_draw():
                board.add_figure(f"vsml/states/{name}", heat_maps(name, layout, state), step)
