"""Convolutions in one to three dimensions: every output position is one more use of the same synapses."""

import math
from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from lightning_vsml.binding.grids.base import Grid, Run, Use
from lightning_vsml.ticks.sites import Images

Sizes = int | Sequence[int]


class ConvGrid(Grid):
    """``nn.Conv1d`` to ``3d``, with any stride, padding, dilation and groups."""

    uses: tuple[Use, ...] = ((F.conv1d, 1, 2), (F.conv2d, 1, 2), (F.conv3d, 1, 2))

    def __init__(self, layer: nn.Module) -> None:
        super().__init__(layer)
        self.kernel = tuple(self.weight.shape[2:])
        self.dims, self.groups = len(self.kernel), int(layer.groups)  # type: ignore[arg-type]
        channels, outputs = int(layer.in_channels), int(layer.out_channels)  # type: ignore[arg-type]
        self.fan_in, self.fan_out = channels // self.groups * math.prod(self.kernel), outputs // self.groups
        self._channels, self._sample_dims = channels, self.dims + 1
        size = ", ".join(("depth", "height", "width")[3 - self.dims :]) if self.dims > 1 else "length"
        self._expected = f"(samples, {channels}, {size}), or without samples"

    def _fits(self, x: Tensor) -> bool:
        dims = self._sample_dims
        return x.dim() in (dims, dims + 1) and x.shape[-dims] == self._channels

    def call(
        self,
        run: Run,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Sizes = 1,
        padding: Sizes | str = 0,
        dilation: Sizes = 1,
        groups: int = 1,
    ) -> Tensor:
        apart = self._each(dilation)
        return self._at(run, input, self._padding(padding, apart), self._each(stride), apart)

    def _padding(self, padding: Sizes | str, apart: tuple[int, ...]) -> list[tuple[int, int]]:
        """Before and after, in each dimension."""
        if padding == "same":  # the odd one goes after, as in torch
            totals = [d * (k - 1) for d, k in zip(apart, self.kernel, strict=True)]
            return [(total // 2, total - total // 2) for total in totals]
        return [(p, p) for p in self._each(0 if isinstance(padding, str) else padding)]

    def _at(
        self, run: Run, input: Tensor, pads: list[tuple[int, int]], stride: tuple[int, ...], dilation: tuple[int, ...]
    ) -> Tensor:
        image = input if input.dim() > self._sample_dims else input.unsqueeze(0)
        if any(before or after for before, after in pads):
            image = F.pad(image, [side for pair in reversed(pads) for side in pair])
        site = Images(image, self.shape, self.bias is not None, kernel=self.kernel, stride=stride, dilation=dilation)
        y = run(site)
        return y if input.dim() > self._sample_dims else y.squeeze(0)

    def _each(self, sizes: Sizes) -> tuple[int, ...]:
        """One for each dimension."""
        if isinstance(sizes, int):
            return (sizes,) * self.dims
        return tuple(sizes) * (self.dims if len(sizes) == 1 else 1)


class ConvTransposeGrid(ConvGrid):
    """``nn.ConvTranspose1d`` to ``3d``: a convolution with the kernel turned over, of an image with zeros between its
    pixels.
    """

    uses: tuple[Use, ...] = ((F.conv_transpose1d, 1, 2), (F.conv_transpose2d, 1, 2), (F.conv_transpose3d, 1, 2))

    def call(  # type: ignore[override]
        self,
        run: Run,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Sizes = 1,
        padding: Sizes = 0,
        output_padding: Sizes = 0,
        groups: int = 1,
        dilation: Sizes = 1,
    ) -> Tensor:
        apart, step, more = self._each(dilation), self._each(stride), self._each(output_padding)
        around = [d * (k - 1) - p for d, k, p in zip(apart, self.kernel, self._each(padding), strict=True)]
        image = input
        if any(size > 1 for size in step):
            sizes = [(size - 1) * s + 1 for size, s in zip(input.shape[-self.dims :], step, strict=True)]
            image = input.new_zeros(*input.shape[: -self.dims], *sizes)
            places: list[Any] = [..., *(slice(None, None, s) for s in step)]
            image[tuple(places)] = input
        pads = [(width, width + extra) for width, extra in zip(around, more, strict=True)]
        return self._at(run, image, pads, self._each(1), apart)

    def _matrix(self, weight: Tensor) -> Tensor:
        # (in, out / groups, *kernel)
        split = weight.flip(*range(2, 2 + self.dims)).unflatten(0, (self.groups, -1))
        return split.movedim(2, -1).reshape(self.groups, self.fan_in, self.fan_out)

    def _weight(self, matrix: Tensor) -> Tensor:
        split = matrix.reshape(self.groups, -1, *self.kernel, self.fan_out)
        return split.movedim(-1, 2).flatten(0, 1).flip(*range(2, 2 + self.dims))
