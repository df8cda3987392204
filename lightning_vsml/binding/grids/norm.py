"""The affine part of normalising layers: a diagonal grid, one synapse and one bias for each feature.

Normalising itself is glue. Each feature is a group of one input (and the bias) and one output.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_vsml.binding.grids.base import Grid, Run, Use
from lightning_vsml.ticks.sites import Diagonal


class NormGrid(Grid):
    """What normalising layers share."""

    fan_in = fan_out = 1
    centred = False
    strict = False  # torch takes half precision with statistics in float32

    def __init__(self, layer: nn.Module) -> None:
        super().__init__(layer)
        self.groups = self.weight.numel()

    def output_dtype(self, x: Tensor) -> torch.dtype:
        return x.dtype  # autocast leaves these layers alone, or takes them to float32

    def _affine(self, run: Run, normalised: Tensor, dim: int) -> Tensor:
        return run(Diagonal(normalised, self.shape, self.bias is not None, dim=dim))


class LayerNormGrid(NormGrid):
    """``nn.LayerNorm``: the features are the last dimensions."""

    uses: tuple[Use, ...] = ((F.layer_norm, 2, 3),)

    def __init__(self, layer: nn.Module) -> None:
        super().__init__(layer)
        self._sample_dims = self.weight.dim()
        self._expected = f"(..., {', '.join(map(str, self.weight.shape))})"

    def _fits(self, x: Tensor) -> bool:
        return x.shape[-self.weight.dim() :] == self.weight.shape

    def call(
        self,
        run: Run,
        input: Tensor,
        normalized_shape: Sequence[int],
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        eps: float = 1e-5,
    ) -> Tensor:
        return self._scaled(run, F.layer_norm(input, normalized_shape, eps=eps))

    def _scaled(self, run: Run, normalised: Tensor) -> Tensor:
        return self._affine(run, normalised.reshape(-1, self.groups), -1).reshape(normalised.shape)


class RMSNormGrid(LayerNormGrid):
    """``nn.RMSNorm``."""

    uses: tuple[Use, ...] = ((F.rms_norm, 2, None),)

    def call(  # type: ignore[override]
        self,
        run: Run,
        input: Tensor,
        normalized_shape: Sequence[int],
        weight: Tensor | None = None,
        eps: float | None = None,
    ) -> Tensor:
        return self._scaled(run, F.rms_norm(input, list(normalized_shape), eps=eps))


class ChannelNormGrid(NormGrid):
    """Where the features are the second dimension."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__(layer)
        self._sample_dims, self._expected = 1, f"(samples, {self.groups}, ...)"

    def _fits(self, x: Tensor) -> bool:
        return x.dim() >= 2 and x.shape[1] == self.groups


class GroupNormGrid(ChannelNormGrid):
    """``nn.GroupNorm``."""

    uses: tuple[Use, ...] = ((F.group_norm, 2, 3),)

    def call(
        self,
        run: Run,
        input: Tensor,
        num_groups: int,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        eps: float = 1e-5,
    ) -> Tensor:
        return self._affine(run, F.group_norm(input, num_groups, eps=eps), 1)


class BatchNormGrid(ChannelNormGrid):
    """``nn.BatchNorm1d`` to ``3d``."""

    uses: tuple[Use, ...] = ((F.batch_norm, 3, 4),)
    _normalise: Any = staticmethod(F.batch_norm)

    def call(
        self,
        run: Run,
        input: Tensor,
        running_mean: Tensor | None = None,
        running_var: Tensor | None = None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        *settings: Any,
        **named: Any,
    ) -> Tensor:
        kept = [running_mean, running_var]
        wide = [one if one is None else one.to(input.dtype) for one in kept]  # themselves, where they are of that type
        normalised = self._normalise(input, *wide, None, None, *settings, **named)
        if running_mean is not None and running_mean is not wide[0]:
            with torch.no_grad():  # they move with the rounding of their own type
                self._normalise(input.to(running_mean.dtype), *kept, None, None, *settings, **named)
        return self._affine(run, normalised, 1)


class InstanceNormGrid(BatchNormGrid):
    """``nn.InstanceNorm1d`` to ``3d``, whose function takes the same arguments."""

    uses: tuple[Use, ...] = ((F.instance_norm, 3, 4),)
    _normalise = staticmethod(F.instance_norm)
