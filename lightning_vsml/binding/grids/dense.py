"""Layers with a weight for every pair of input and output."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_vsml.binding.grids.base import Grid, Run, Use
from lightning_vsml.ticks.sites import Rows


class LinearGrid(Grid):
    """``nn.Linear``: any leading dimensions are rows."""

    uses: tuple[Use, ...] = ((F.linear, 1, 2),)
    groups = 1
    _sample_dims = 1

    def __init__(self, layer: nn.Module) -> None:
        super().__init__(layer)
        self._size()

    def _size(self) -> None:
        self.fan_out, self.fan_in = self.weight.shape
        self._expected = f"(..., {self.fan_in})"

    def _fits(self, x: Tensor) -> bool:
        return x.dim() > 0 and x.shape[-1] == self.fan_in

    def call(self, run: Run, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        y = run(Rows(input.reshape(-1, 1, self.fan_in), self.shape, self.bias is not None))
        return y.reshape(*input.shape[:-1], self.fan_out)


class BilinearGrid(Grid):
    """``nn.Bilinear``: a dense layer of all products of an input of the one and an input of the other."""

    uses: tuple[Use, ...] = ((F.bilinear, 2, 3),)
    groups = 1
    _sample_dims = 1

    def __init__(self, layer: nn.Module) -> None:
        super().__init__(layer)
        self.fan_out, first, second = self.weight.shape
        self.fan_in = first * second
        self._first, self._second, self._expected = first, second, f"(..., {first}) and (..., {second})"

    def _fits(self, x: Tensor) -> bool:
        return x.dim() > 0 and x.shape[-1] == self._first

    def output_dtype(self, x: Tensor) -> torch.dtype:
        return torch.promote_types(x.dtype, self.weight.dtype)  # autocast takes it to the widest, if anywhere

    def call(self, run: Run, input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        if input2.shape != (*input1.shape[:-1], self._second):
            raise ValueError(
                f"{self.label} expects inputs of shape {self._expected}, got {tuple(input1.shape)} and "
                f"{tuple(input2.shape)}."
            )
        products = input1.unsqueeze(-1) * input2.to(input1.dtype).unsqueeze(-2)
        y = run(Rows(products.reshape(-1, 1, self.fan_in), self.shape, self.bias is not None))
        return y.reshape(*input1.shape[:-1], self.fan_out)
