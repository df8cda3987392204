"""Convolutions in one to three dimensions: the three sums are torch's own convolution and its two adjoints."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import grad

from lightning_vsml.ticks.sites.base import Site

CONVOLVE = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TO_INPUT = {1: grad.conv1d_input, 2: grad.conv2d_input, 3: grad.conv3d_input}
TO_WEIGHT = {1: grad.conv1d_weight, 2: grad.conv2d_weight, 3: grad.conv3d_weight}


class Images(Site):
    """``ra`` is ``(S, G C, *size)``, padded; ``rb`` is ``(S, G B, *size')``; A = C times the size of the kernel.

    Args:
        x: images as they are to be convolved; padding is done.
        shape: (G, A, B), A with the bias row.
        bias: whether there is one.
        kernel: its size, in each dimension.
        stride: between positions.
        dilation: between the kernel's pixels.
    """

    def __init__(
        self,
        x: Tensor,
        shape: tuple[int, int, int],
        bias: bool,
        *,
        kernel: tuple[int, ...],
        stride: tuple[int, ...],
        dilation: tuple[int, ...],
    ) -> None:
        super().__init__(x, shape, bias)
        self.kernel, self.stride, self.dilation = kernel, stride, dilation
        self.dims, self.input_shape = len(kernel), x.shape
        self.output_size = tuple(
            (size - apart * (side - 1) - 1) // step + 1
            for size, side, step, apart in zip(x.shape[2:], kernel, stride, dilation, strict=True)
        )

    @property
    def rows(self) -> int:
        return self.input_shape[0] * math.prod(self.output_size)

    @property
    def output_shape(self) -> tuple[int, ...]:
        G, _, B = self.shape
        return (self.input_shape[0], G * B, *self.output_size)

    def as_rows(self, x: Tensor) -> Tensor:
        for dim, (side, step, apart) in enumerate(zip(self.kernel, self.stride, self.dilation, strict=True), start=2):
            x = x.unfold(dim, apart * (side - 1) + 1, step)[..., ::apart]  # (S, G C, *size', *kernel)
        patches = x.unflatten(1, (self.shape[0], -1)).movedim((1, 2), (self.dims + 1, self.dims + 2))
        return patches.flatten(self.dims + 2).flatten(0, self.dims)

    def outputs_as_rows(self, y: Tensor) -> Tensor:
        return y.movedim(1, -1).reshape(-1, self.shape[0], self.shape[2])

    def rows_as_outputs(self, y: Tensor) -> Tensor:
        S, channels, *size = self.output_shape
        return y.reshape(S, *size, channels).movedim(-1, 1).contiguous()

    def spread(self, groups: Tensor, shape: str) -> Tensor:
        if shape == "ab":
            return groups.view(-1, 1, 1)
        channels = (self.input_shape if shape == "ra" else self.output_shape)[1]
        return self._as_output(groups.repeat_interleave(channels // len(groups)))

    def _as_output(self, vector: Tensor) -> Tensor:
        return vector.reshape(1, -1, *[1] * self.dims)

    def _total(self, q: Tensor) -> Tensor:
        return q.sum((0, *range(2, q.dim()))).view(self.shape[0], 1, -1)

    def _kernels(self, g: Tensor) -> Tensor:
        """(G, A, B) as a convolution's weight."""
        G, _, B = self.shape
        return g.mT.reshape(G * B, -1, *self.kernel)

    def _forward(self, p: Tensor, g: Tensor, alpha: float) -> Tensor:
        y = CONVOLVE[self.dims](p, self._kernels(g), None, self.stride, 0, self.dilation, self.shape[0])
        return _times(y, alpha)

    def _backward(self, q: Tensor, g: Tensor, alpha: float) -> Tensor:
        settings = (self.stride, 0, self.dilation, self.shape[0])
        x = TO_INPUT[self.dims](self.input_shape, self._kernels(g), q.contiguous(), *settings)
        return _times(x, alpha)

    def _change(self, p: Tensor, q: Tensor, alpha: float, out: Tensor) -> None:
        G, A, B = out.shape
        size = (G * B, A // math.prod(self.kernel), *self.kernel)
        kernels = TO_WEIGHT[self.dims](p, size, q.contiguous(), self.stride, 0, self.dilation, G)
        kernels = kernels.view(G, B, A).mT
        if kernels.requires_grad:
            out.copy_(kernels * alpha)
        else:
            torch.mul(kernels, alpha, out=out)


def _times(result: Tensor, alpha: float) -> Tensor:
    if alpha == 1.0:
        return result
    return result * alpha if result.requires_grad else result.mul_(alpha)
