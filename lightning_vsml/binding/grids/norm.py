"""The affine part of normalising layers: a diagonal grid, one synapse and one bias for each feature.

Normalising itself is glue. Each feature is a group of one input (and the bias) and one output.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lightning_vsml.binding.grids.base import Grid
from lightning_vsml.ticks.sites import Diagonal


class NormGrid(Grid):
    """What normalising layers share. Subclasses normalise, and say where the features are."""

    fan_in = fan_out = 1

    def __init__(self, layer: nn.Module) -> None:
        super().__init__(layer)
        self.groups = self.layer.weight.numel()

    def output_dtype(self, x: Tensor) -> torch.dtype:
        return x.dtype  # autocast leaves these layers alone, or takes them to float32

    def _normalised(self, x: Tensor) -> Tensor:
        raise NotImplementedError


class LayerNormGrid(NormGrid):
    """``nn.LayerNorm`` and ``nn.RMSNorm``: the features are the last dimensions."""

    layer: nn.LayerNorm | nn.RMSNorm

    def __init__(self, layer: nn.Module) -> None:
        super().__init__(layer)
        self._features = tuple(self.layer.normalized_shape)
        self._sample_dims = len(self._features)
        self._expected = f"(..., {', '.join(map(str, self._features))})"

    def _fits(self, x: Tensor) -> bool:
        return tuple(x.shape[-len(self._features) :]) == self._features

    def site(self, x: Tensor, dtype: torch.dtype) -> Diagonal:
        return Diagonal(self.feedback(self._normalised(x.to(dtype))), self.shape, self.bias, dim=-1)

    def _normalised(self, x: Tensor) -> Tensor:
        if isinstance(self.layer, nn.RMSNorm):
            return F.rms_norm(x, self._features, eps=self.layer.eps)
        return F.layer_norm(x, self._features, eps=self.layer.eps)

    def output(self, y: Tensor, x: Tensor) -> Tensor:
        return y.reshape(x.shape)

    def feedback(self, g: Tensor) -> Tensor:
        return g.reshape(-1, self.groups)


class ChannelNormGrid(NormGrid):
    """Where the features are the second dimension."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__(layer)
        self._sample_dims = 1
        self._expected = f"(samples, {self.groups}, ...)"

    def _fits(self, x: Tensor) -> bool:
        return x.dim() >= 2 and x.shape[1] == self.groups

    def site(self, x: Tensor, dtype: torch.dtype) -> Diagonal:
        return Diagonal(self._normalised(x.to(dtype)), self.shape, self.bias, dim=1)

    def output(self, y: Tensor, x: Tensor) -> Tensor:
        return y

    def feedback(self, g: Tensor) -> Tensor:
        return g


class GroupNormGrid(ChannelNormGrid):
    """``nn.GroupNorm``."""

    layer: nn.GroupNorm

    def _normalised(self, x: Tensor) -> Tensor:
        return F.group_norm(x, self.layer.num_groups, eps=self.layer.eps)


class BatchNormGrid(ChannelNormGrid):
    """``nn.BatchNorm1d``, ``2d`` and ``3d``; the layer keeps its running statistics itself."""

    layer: _BatchNorm

    def __init__(self, layer: nn.Module) -> None:
        super().__init__(layer)
        dims = {nn.BatchNorm1d: (2, 3), nn.BatchNorm2d: (4,), nn.BatchNorm3d: (5,)}
        self._dims = next(d for kind, d in dims.items() if isinstance(layer, kind))

    def _fits(self, x: Tensor) -> bool:
        return x.dim() in self._dims and super()._fits(x)

    def observe(self, x: Tensor) -> None:
        if self.layer.training and self.layer.track_running_stats:
            type(self.layer).forward(self.layer, x)

    def _normalised(self, x: Tensor) -> Tensor:
        layer = self.layer
        mean, var = layer.running_mean, layer.running_var
        if layer.training or mean is None or var is None:
            return F.batch_norm(x, None, None, training=True, eps=layer.eps)
        return F.batch_norm(x, mean.to(x.dtype), var.to(x.dtype), eps=layer.eps)
