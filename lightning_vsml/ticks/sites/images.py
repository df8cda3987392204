"""Convolutions: the three sums are torch's own convolution and its two adjoints, without unfolding."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_input, conv2d_weight

from lightning_vsml.ticks.sites.base import Site


class Images(Site):
    """``ra`` is ``(S, G C, H, W)``, padded; ``rb`` is ``(S, G B, H', W')``; A = C times the size of the kernel.

    Args:
        x: images as they are to be convolved; padding is done.
        shape: (G, A, B), A with the bias row.
        bias: whether there is one.
        kernel: height and width.
        stride: between positions.
        dilation: between the kernel's pixels.
    """

    def __init__(
        self,
        x: Tensor,
        shape: tuple[int, int, int],
        bias: bool,
        *,
        kernel: tuple[int, int],
        stride: tuple[int, int],
        dilation: tuple[int, int],
    ) -> None:
        super().__init__(x, shape, bias)
        self.kernel, self.stride, self.dilation = kernel, stride, dilation
        height, width = (
            (size - apart * (side - 1) - 1) // step + 1
            for size, side, step, apart in zip(x.shape[-2:], kernel, stride, dilation, strict=True)
        )
        self.output_size = (height, width)

    @property
    def rows(self) -> int:
        return self.x.shape[0] * self.output_size[0] * self.output_size[1]

    @property
    def output_shape(self) -> tuple[int, ...]:
        G, _, B = self.shape
        return (self.x.shape[0], G * B, *self.output_size)

    def as_rows(self, x: Tensor) -> Tensor:
        patches = F.unfold(x, self.kernel, dilation=self.dilation, stride=self.stride)  # (S, G A, P)
        return patches.unflatten(1, (self.shape[0], -1)).permute(0, 3, 1, 2).flatten(0, 1)

    def outputs_as_rows(self, y: Tensor) -> Tensor:
        return y.permute(0, 2, 3, 1).reshape(-1, self.shape[0], self.shape[2])

    def rows_as_outputs(self, y: Tensor) -> Tensor:
        S, channels, height, width = self.output_shape
        return y.reshape(S, height, width, channels).permute(0, 3, 1, 2).contiguous()

    def spread(self, groups: Tensor, shape: str) -> Tensor:
        if shape == "ab":
            return groups.view(-1, 1, 1)
        channels = self.x.shape[1] if shape == "ra" else self.output_shape[1]
        return groups.repeat_interleave(channels // len(groups)).view(1, -1, 1, 1)

    def _as_output(self, vector: Tensor) -> Tensor:
        return vector.reshape(1, -1, 1, 1)

    def _total(self, q: Tensor) -> Tensor:
        return q.sum((0, 2, 3)).view(self.shape[0], 1, -1)

    def _kernels(self, g: Tensor) -> Tensor:
        """(G, A, B) as a convolution's weight."""
        G, _, B = self.shape
        return g.mT.reshape(G * B, -1, *self.kernel)

    def _forward(self, p: Tensor, g: Tensor, alpha: float) -> Tensor:
        return _times(F.conv2d(p, self._kernels(g), None, self.stride, 0, self.dilation, self.shape[0]), alpha)

    def _backward(self, q: Tensor, g: Tensor, alpha: float) -> Tensor:
        return _times(
            conv2d_input(self.x.shape, self._kernels(g), q.contiguous(), self.stride, 0, self.dilation, self.shape[0]),
            alpha,
        )

    def _change(self, p: Tensor, q: Tensor, alpha: float, out: Tensor) -> None:
        G, A, B = out.shape
        size = (G * B, A // (self.kernel[0] * self.kernel[1]), *self.kernel)
        kernels = conv2d_weight(p, size, q.contiguous(), self.stride, 0, self.dilation, G)
        kernels = kernels.view(G, B, A).mT
        if kernels.requires_grad:
            out.copy_(kernels * alpha)
        else:
            torch.mul(kernels, alpha, out=out)


def _times(result: Tensor, alpha: float) -> Tensor:
    if alpha == 1.0:
        return result
    return result * alpha if result.requires_grad else result.mul_(alpha)
