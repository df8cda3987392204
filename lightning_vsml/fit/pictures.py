"""States as pictures and histograms, for loggers that can show them."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_vsml.ticks import Layout

WIDEST, SMALLEST = 160, 64  # pixels of one unit's map, its longer side
NEGATIVE, ZERO, POSITIVE = (0.13, 0.35, 0.72), (1.0, 1.0, 1.0), (0.78, 0.16, 0.13)


def heat_map(state: Tensor) -> Tensor:
    """What each plane of a state remembers, over the synapses of a layer: an image ``(3, height, width)`` with values
    in [0, 1].

    One panel for each unit's c, line by line, about a square together. Rows are a layer's outputs, columns its inputs
    (groups and the bias come last); red is positive, blue negative, and each panel has its own scale, which ends at
    its largest magnitude. Large layers are averaged down to 160 pixels.

    Args:
        state: of a layer, ``(P, G, A, B)``.
    """
    panels = []
    for plane in state.detach().float().cpu():  # (G, A, B)
        image = plane.permute(2, 0, 1).flatten(1)
        scale = image.abs().amax().clamp(min=torch.finfo(image.dtype).tiny)
        size = [min(side, WIDEST) for side in image.shape]
        image = F.interpolate((image / scale)[None, None], size, mode="area")[0]
        zoom = math.ceil(SMALLEST / max(size))  # small layers would be dots
        image = image.repeat_interleave(zoom, 1).repeat_interleave(zoom, 2)
        panels.append(F.pad(_coloured(image), (1, 1, 1, 1), value=0.5))
    _, height, width = panels[0].shape
    columns = min(len(panels), math.ceil(math.sqrt(len(panels) * height / width)))
    panels += [torch.full_like(panels[0], 0.5)] * (-len(panels) % columns)
    lines = [torch.cat(panels[first : first + columns], -1) for first in range(0, len(panels), columns)]
    return torch.cat(lines, -2)


def _coloured(image: Tensor) -> Tensor:
    """From [-1, 1], ``(1, height, width)``, to colours ``(3, height, width)``."""
    negative, zero, positive = (torch.tensor(colour).view(3, 1, 1) for colour in (NEGATIVE, ZERO, POSITIVE))
    return zero + image.clamp(min=0) * (positive - zero) - image.clamp(max=0) * (negative - zero)


def show(loggers: Iterable[Any], layout: Layout, states: Mapping[str, Tensor], step: int) -> None:
    """Histograms of planes and a heat map of every layer, on loggers with TensorBoard's methods; others get none."""
    for logger in loggers:
        board: Any = getattr(logger, "experiment", None)  # a logger of the user's may have none
        for name, state in states.items():
            if hasattr(board, "add_histogram"):
                for plane, values in zip(layout.planes, state, strict=True):
                    tag = f"vsml/{'hc'[plane.part]}{plane.unit}/{name}"
                    board.add_histogram(tag, values.detach().float().flatten().cpu(), step)
            if hasattr(board, "add_image"):
                board.add_image(f"vsml/states/{name}", heat_map(state), step)
