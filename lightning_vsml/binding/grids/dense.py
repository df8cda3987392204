"""Layers with a weight for every pair of input and output."""

import torch
from torch import Tensor, nn

from lightning_vsml.binding.grids.base import Grid
from lightning_vsml.ticks.sites import Lookup, Rows


class LinearGrid(Grid):
    """``nn.Linear``: any leading dimensions are rows."""

    layer: nn.Linear
    _sample_dims = 1

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__(layer)
        self.groups, self.fan_in, self.fan_out = 1, layer.in_features, layer.out_features
        self._expected = f"(..., {layer.in_features})"

    def _fits(self, x: Tensor) -> bool:
        return x.dim() > 0 and x.shape[-1] == self.fan_in

    def site(self, x: Tensor, dtype: torch.dtype) -> Rows:
        return Rows(x.to(dtype).reshape(-1, 1, self.fan_in), self.shape, self.bias)

    def output(self, y: Tensor, x: Tensor) -> Tensor:
        return y.reshape(*x.shape[:-1], self.fan_out)

    def feedback(self, g: Tensor) -> Tensor:
        return g.reshape(-1, 1, self.fan_out)


class EmbeddingGrid(Grid):
    """``nn.Embedding``: indices are one-hot inputs, of which only those that occur cost anything.

    The padding index has no input at all: it learns nothing and gives the layer's own vector.
    """

    layer: nn.Embedding
    _sample_dims = 0

    def __init__(self, layer: nn.Embedding) -> None:
        super().__init__(layer)
        self.groups, self.fan_in, self.fan_out = 1, layer.num_embeddings, layer.embedding_dim

    @staticmethod
    def obstacle(layer: nn.Module) -> str | None:
        assert isinstance(layer, nn.Embedding)
        if layer.max_norm is not None:
            return "max_norm rescales weights behind the learner's back; leave it out"
        if layer.scale_grad_by_freq:
            return "scale_grad_by_freq changes gradients, which there are none of; leave it out"
        return None

    def check(self, x: Tensor) -> None:
        """Indices in range.

        Raises:
            TypeError: ``x`` has no integer type that indices have.
            IndexError: an index is out of range.
        """
        if x.dtype not in (torch.int32, torch.int64):
            raise TypeError(f"{self.layer} expects indices of type int64 or int32, got {x.dtype}. Use x.long().")
        if x.numel() and not (int(x.min()) >= 0 and int(x.max()) < self.fan_in):
            raise IndexError(
                f"{self.layer} expects indices from 0 to {self.fan_in - 1}, got {int(x.min())} to {int(x.max())}."
            )

    def site(self, x: Tensor, dtype: torch.dtype) -> Lookup:
        return Lookup(x.reshape(-1).long(), self.shape, dtype, self.layer.padding_idx)

    @torch.no_grad()
    def write(self, weights: Tensor, inputs: Tensor | None = None) -> None:
        if inputs is None:
            super().write(weights)
        else:
            self.layer.weight[inputs] = weights[0, inputs].to(self.layer.weight.dtype)

    def output(self, y: Tensor, x: Tensor) -> Tensor:
        vectors = y.reshape(*x.shape, self.fan_out)
        if (padding := self.layer.padding_idx) is not None:
            vectors = torch.where((x == padding).unsqueeze(-1), self.layer.weight[padding].to(y), vectors)
        return vectors

    def output_dtype(self, x: Tensor) -> torch.dtype:
        return self.layer.weight.dtype

    def feedback(self, g: Tensor) -> Tensor:
        return g.reshape(-1, 1, self.fan_out)

    def _matrix(self, weight: Tensor) -> Tensor:
        return weight.unsqueeze(0)

    def _weight(self, matrix: Tensor) -> Tensor:
        return matrix.squeeze(0)
