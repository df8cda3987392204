"""What images of a task look like."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from lightning_vsml.meta.draw import Draw


def _texture(draw: Draw, x: Tensor) -> Tensor:
    """A smooth random image in [0, 1], one for all examples."""
    height, width = x.shape[-2:]
    coarse = draw.normal(1, 1, 3, 3)
    smooth = interpolate(coarse, (height, width), mode="bilinear") + 0.3 * draw.normal(1, 1, height, width)
    return torch.sigmoid(2 * smooth)


def _filled(draw: Draw, x: Tensor) -> Tensor:
    """A grey ground, and strokes of another grey."""
    ground, strokes = draw.uniform(), draw.uniform()
    return ground + (strokes - ground) * x


def _textured(draw: Draw, x: Tensor) -> Tensor:
    """A texture behind, or within, or both."""
    behind, within = (_texture(draw, x) * draw.uniform() for _ in range(2))
    return behind * (1 - x) + (draw.uniform() + within) * x


def _blurred(draw: Draw, x: Tensor) -> Tensor:
    for _ in range(draw.integer(1, 3)):
        x = avg_pool2d(x, 3, stride=1, padding=1)
    return x


def _projected(draw: Draw, x: Tensor) -> Tensor:
    """Random directions, as many as there were inputs or fewer; no image any more."""
    x = x.flatten(1)
    outputs = draw.integer(max(8, x.shape[1] // 4), x.shape[1] + 1)
    return x @ draw.normal(x.shape[1], outputs) / x.shape[1] ** 0.5


def _permuted(draw: Draw, x: Tensor) -> Tensor:
    return x.flatten(1)[:, draw.permutation(x[0].numel())]


LOOKS: dict[str, Callable[[Draw, Tensor], Tensor]] = {
    "plain": lambda draw, x: x,
    "inverted": lambda draw, x: 1 - x,
    "filled": _filled,
    "textured": _textured,
    "blurred": _blurred,
    "projected": _projected,
    "permuted": _permuted,
    "standardised": lambda draw, x: (x - x.mean()) / x.std(),
}
"""Images in [0, 1], ``(n, 1, height, width)``, to inputs of the task."""
