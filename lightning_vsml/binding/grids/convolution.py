"""Convolutions: every output position is one more use of the same synapses."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_vsml.binding.grids.base import Grid
from lightning_vsml.ticks.sites import Images


class ConvGrid(Grid):
    """``nn.Conv1d`` and ``nn.Conv2d``, with any stride, padding, dilation and groups.

    A sequence is an image of height 1. Pairs are (of the height, of the width).
    """

    layer: nn.Conv1d | nn.Conv2d | nn.ConvTranspose2d

    def __init__(self, layer: nn.Module) -> None:
        super().__init__(layer)
        channels = self.layer.in_channels
        self.groups = self.layer.groups
        self.fan_in = channels // self.groups * self.layer.weight[0, 0].numel()
        self.fan_out = self.layer.out_channels // self.groups
        self.flat = len(self.layer.kernel_size) == 1
        self._sample_dims = 2 if self.flat else 3
        self._expected = f"(samples, {channels}, {'length' if self.flat else 'height, width'}), or without samples"
        self.kernel = (1, *self.layer.kernel_size)[-2:]
        self.dilation = (1, *self.layer.dilation)[-2:]
        self.stride = (1, *self.layer.stride)[-2:]
        self.apart: tuple[int, ...] = (1, 1)  # pixels of the input, with zeros between them
        self.padding = tuple(map(self._around, range(2)))
        self.mode = "constant" if self.layer.padding_mode == "zeros" else self.layer.padding_mode

    def _around(self, d: int) -> tuple[int, int]:
        """Padding before and after."""
        given = self.layer.padding
        if given == "valid":
            return 0, 0
        if given == "same":  # the odd one goes after, as in torch
            total = self.dilation[d] * (self.kernel[d] - 1)
            return total // 2, total - total // 2
        return ((0, *given)[-2:][d],) * 2

    def _fits(self, x: Tensor) -> bool:
        dims = self._sample_dims
        return x.dim() in (dims, dims + 1) and x.shape[-dims] == self.layer.in_channels

    def site(self, x: Tensor, dtype: torch.dtype) -> Images:
        image = self._image(x.to(dtype))
        if self.apart != (1, 1):
            down, right = self.apart
            spread = image.new_zeros(*image.shape[:2], *self._sizes(image))
            spread[..., ::down, ::right] = image
            image = spread
        (top, bottom), (left, right) = self.padding
        if self.flat and self.mode != "constant":  # torch refuses to pad a height of 1 along with it
            image = F.pad(image.squeeze(2), (left, right), mode=self.mode).unsqueeze(2)
        else:
            image = F.pad(image, (left, right, top, bottom), mode=self.mode) if any(sum(self.padding, ())) else image
        kernel, stride, dilation = (_pair(sizes) for sizes in (self.kernel, self.stride, self.dilation))
        return Images(image, self.shape, self.bias, kernel=kernel, stride=stride, dilation=dilation)

    def output(self, y: Tensor, x: Tensor) -> Tensor:
        image = y.squeeze(2) if self.flat else y
        return image if x.dim() > self._sample_dims else image.squeeze(0)

    def feedback(self, g: Tensor) -> Tensor:
        return self._image(g)

    def _image(self, x: Tensor) -> Tensor:
        """``(S, C, H, W)``."""
        x = x if x.dim() > self._sample_dims else x.unsqueeze(0)
        return x.unsqueeze(2) if self.flat else x

    def _sizes(self, image: Tensor) -> list[int]:
        """Height and width, with the zeros between pixels."""
        return [(size - 1) * apart + 1 for size, apart in zip(image.shape[-2:], self.apart, strict=True)]


class ConvTransposeGrid(ConvGrid):
    """``nn.ConvTranspose2d``: a convolution with the kernel turned over, of an image with zeros between its pixels."""

    layer: nn.ConvTranspose2d

    def __init__(self, layer: nn.Module) -> None:
        super().__init__(layer)
        self.apart, self.stride = self.stride, (1, 1)

    def _around(self, d: int) -> tuple[int, int]:
        width = self.dilation[d] * (self.kernel[d] - 1) - int(self.layer.padding[d])
        return width, width + self.layer.output_padding[d]

    def _matrix(self, weight: Tensor) -> Tensor:
        # (in, out / groups, height, width)
        split = weight.flip(2, 3).unflatten(0, (self.groups, -1))
        return split.movedim(2, -1).reshape(self.groups, self.fan_in, self.fan_out)

    def _weight(self, matrix: Tensor) -> Tensor:
        split = matrix.reshape(self.groups, -1, *self.kernel, self.fan_out)
        return split.movedim(-1, 2).flatten(0, 1).flip(2, 3)


def _pair(sizes: tuple[int, ...]) -> tuple[int, int]:
    height, width = sizes
    return height, width
