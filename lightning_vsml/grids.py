"""Synapse grids: how a layer's input, output and weights look as messages and weights of a grid.

A grid has G groups of A x B synapses (A = fan-in, with the bias as a last input that is always 1; B = fan-out) and
sees R rows per call: samples times positions. Reshaping is all that happens here; it is differentiable, so
that the way back from a message to the layer's input is autograd's adjoint of the way there.
"""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Grid:
    """The synapses of one layer. Subclasses say how one layer type maps; see :data:`GRIDS`."""

    def __init__(self, layer: nn.Module) -> None:
        self.layer = layer

    groups: int
    fan_in: int  # without the bias row
    fan_out: int

    @property
    def bias(self) -> bool:
        """Whether a bias row follows the inputs."""
        return self.layer.bias is not None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(G, A, B)."""
        return self.groups, self.fan_in + self.bias, self.fan_out

    def messages(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """The layer's input as forward messages, ``(R, G, A)`` in ``dtype``; differentiable."""
        rows = self._rows(x.to(dtype))
        return F.pad(rows, (0, 1), value=1.0) if self.bias else rows

    def check(self, x: Tensor) -> None:
        """Say clearly what is wrong with an input.

        Raises:
            TypeError: ``x`` is not a floating-point tensor, or of another type than the weight without autocast.
            ValueError: ``x`` does not have the shape the layer takes.
        """
        if not x.is_floating_point():
            raise TypeError(f"{self.layer} expects a floating-point input, got {x.dtype}. Convert it, e.g. x.float().")
        if x.dtype != self.layer.weight.dtype and not torch.is_autocast_enabled(x.device.type):
            raise TypeError(
                f"{self.layer} expects an input of its weight's type, {self.layer.weight.dtype}, got {x.dtype}. "
                "Convert the input or the module."
            )
        if x.dim() not in self._dims(x) or x.shape[self._channel_dim] != self._channels:
            raise ValueError(f"{self.layer} expects an input of shape {self._expected}, got {tuple(x.shape)}.")

    def samples(self, x: Tensor) -> int:
        """S, the number of samples in the layer's input."""
        return x.shape[0] if x.dim() >= -self._channel_dim + 1 else 1

    def output(self, y: Tensor, x: Tensor) -> Tensor:
        """Forward messages out ``(R, G, B)`` as the layer's output for the input ``x``."""
        raise NotImplementedError

    def feedback(self, g: Tensor) -> Tensor:
        """A tensor of the output's shape as rows ``(R, G, B)``; the inverse of :meth:`output`."""
        raise NotImplementedError

    def read(self, dtype: torch.dtype) -> Tensor:
        """The layer's weight and bias as one tensor ``(G, A, B)``, a copy in ``dtype``."""
        weight = self.layer.weight.detach().reshape(self.groups, self.fan_out, self.fan_in).mT
        if self.bias:
            bias = self.layer.bias.detach().reshape(self.groups, 1, self.fan_out)
            weight = torch.cat([weight, bias], dim=1)
        return weight.to(dtype, copy=True)

    @torch.no_grad()
    def write(self, weights: Tensor) -> None:
        """Write ``weights`` (G, A, B) into the layer's own parameters, in place."""
        self.layer.weight.copy_(weights[:, : self.fan_in].mT.reshape(self.layer.weight.shape))
        if self.bias:
            self.layer.bias.copy_(weights[:, self.fan_in].reshape(self.layer.bias.shape))

    _channel_dim: ClassVar[int]  # counted from the end
    _expected: str

    @property
    def _channels(self) -> int:
        raise NotImplementedError

    def _dims(self, x: Tensor) -> tuple[int, ...]:
        raise NotImplementedError

    def _rows(self, x: Tensor) -> Tensor:
        raise NotImplementedError


class LinearGrid(Grid):
    """``nn.Linear``: any leading dimensions are rows."""

    layer: nn.Linear
    _channel_dim = -1

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__(layer)
        self.groups, self.fan_in, self.fan_out = 1, layer.in_features, layer.out_features
        self._expected = f"(..., {layer.in_features})"

    @property
    def _channels(self) -> int:
        return self.layer.in_features

    def _dims(self, x: Tensor) -> tuple[int, ...]:
        return (max(1, x.dim()),)

    def _rows(self, x: Tensor) -> Tensor:
        return x.reshape(-1, 1, self.fan_in)

    def output(self, y: Tensor, x: Tensor) -> Tensor:
        return y.reshape(*x.shape[:-1], self.fan_out)

    def feedback(self, g: Tensor) -> Tensor:
        return g.reshape(-1, 1, self.fan_out)


class Conv2dGrid(Grid):
    """``nn.Conv2d``: every output position is one more use of the same synapses."""

    layer: nn.Conv2d
    _channel_dim = -3

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__(layer)
        self.groups = layer.groups
        self.fan_in = layer.weight[0].numel()
        self.fan_out = layer.out_channels // layer.groups
        self._expected = f"(samples, {layer.in_channels}, height, width), or without samples"

    @property
    def _channels(self) -> int:
        return self.layer.in_channels

    def _dims(self, x: Tensor) -> tuple[int, ...]:
        return (3, 4)

    def _rows(self, x: Tensor) -> Tensor:
        layer = self.layer
        mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        padded = F.pad(x if x.dim() == 4 else x.unsqueeze(0), self._padding(), mode=mode)
        patches = F.unfold(padded, layer.kernel_size, dilation=layer.dilation, stride=layer.stride)  # (S, G A, P)
        return patches.unflatten(1, (self.groups, self.fan_in)).permute(0, 3, 1, 2).flatten(0, 1)

    def output(self, y: Tensor, x: Tensor) -> Tensor:
        left, right, top, bottom = self._padding()
        size = (x.shape[-2] + top + bottom, x.shape[-1] + left + right)
        height, width = (
            (size[d] - self.layer.dilation[d] * (self.layer.kernel_size[d] - 1) - 1) // self.layer.stride[d] + 1
            for d in range(2)
        )
        image = y.reshape(-1, height, width, self.layer.out_channels).permute(0, 3, 1, 2).contiguous()
        return image if x.dim() == 4 else image.squeeze(0)

    def feedback(self, g: Tensor) -> Tensor:
        image = g if g.dim() == 4 else g.unsqueeze(0)
        return image.permute(0, 2, 3, 1).reshape(-1, self.groups, self.fan_out)

    def _padding(self) -> list[int]:
        """As F.pad takes it: left, right, top, bottom."""
        layer, widths = self.layer, []
        for d in (1, 0):
            if layer.padding == "valid":
                before = after = 0
            elif layer.padding == "same":  # the odd one goes after, as in torch
                total = layer.dilation[d] * (layer.kernel_size[d] - 1)
                before, after = total // 2, total - total // 2
            else:
                before = after = layer.padding[d]
            widths += [before, after]
        return widths


GRIDS: dict[type[nn.Module], type[Grid]] = {nn.Linear: LinearGrid, nn.Conv2d: Conv2dGrid}
"""Which layer type becomes which grid; a subclass that keeps the layer's ``forward`` maps alike."""
