"""Vectors that are looked up: indices are one-hot inputs, of which only those that occur cost anything."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_vsml.binding.grids.base import Grid, Run, Use
from lightning_vsml.ticks.sites import Lookup


class EmbeddingGrid(Grid):
    """``nn.Embedding``. The padding index has no input at all: it learns nothing and gives the layer's own vector."""

    uses: tuple[Use, ...] = ((F.embedding, 1, None),)
    groups = 1
    centred = False
    _sample_dims = 0

    def __init__(self, layer: nn.Module) -> None:
        super().__init__(layer)
        self.fan_in, self.fan_out = self.weight.shape

    @staticmethod
    def obstacle(layer: nn.Module) -> str | None:
        if getattr(layer, "max_norm", None) is not None:
            return "max_norm rescales weights"
        return "scale_grad_by_freq" if getattr(layer, "scale_grad_by_freq", False) else None

    def check(self, x: Tensor) -> None:
        """Indices in range.

        Raises:
            TypeError: ``x`` has no integer type that indices have.
            IndexError: an index is out of range.
        """
        if x.dtype not in (torch.int32, torch.int64):
            raise TypeError(f"{self.label} expects indices of type int64 or int32, got {x.dtype}. Use x.long().")
        if x.numel() and not (int(x.min()) >= 0 and int(x.max()) < self.fan_in):
            raise IndexError(
                f"{self.label} expects indices from 0 to {self.fan_in - 1}, got {int(x.min())} to {int(x.max())}."
            )

    def output_dtype(self, x: Tensor) -> torch.dtype:
        return self.weight.dtype

    def call(
        self, run: Run, input: Tensor, weight: Tensor, padding_idx: int | None = None, *_: Any, **__: Any
    ) -> Tensor:
        padding = None if padding_idx is None else padding_idx % self.fan_in
        vectors = self._vectors(run, input, padding).reshape(*input.shape, self.fan_out)
        if padding is not None:
            own = self.weight[padding].detach().to(vectors)
            vectors = torch.where((input == padding).unsqueeze(-1), own, vectors)
        return vectors

    def _vectors(self, run: Run, indices: Tensor, padding: int | None) -> Tensor:
        """``(R, B)``."""
        return run(Lookup(indices.reshape(-1).long(), self.shape, self.placement[1], padding)).squeeze(1)

    @torch.no_grad()
    def write(self, weights: Tensor, inputs: Tensor | None = None) -> None:
        if inputs is None:
            super().write(weights)
        else:
            self.weight[inputs] = weights[0, inputs].to(self.weight.dtype)

    def _matrix(self, weight: Tensor) -> Tensor:
        return weight.unsqueeze(0)

    def _weight(self, matrix: Tensor) -> Tensor:
        return matrix.squeeze(0)


class EmbeddingBagGrid(EmbeddingGrid):
    """``nn.EmbeddingBag``: sums, means or maxima of vectors that are looked up."""

    uses: tuple[Use, ...] = ((F.embedding_bag, 1, None),)

    def samples(self, x: Tensor, *more: Any, **named: Any) -> int:
        """The number of bags."""
        offsets = more[1] if len(more) > 1 else named.get("offsets")
        last = more[8] if len(more) > 8 else named.get("include_last_offset", False)
        return len(x) if offsets is None else len(offsets) - bool(last)

    def call(  # type: ignore[override]
        self,
        run: Run,
        input: Tensor,
        weight: Tensor,
        offsets: Tensor | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        per_sample_weights: Tensor | None = None,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
    ) -> Tensor:
        if input.dim() != (2 if offsets is None else 1):
            raise ValueError(
                f"{self.label} expects a row of indices for each bag, or all in one dimension with offsets, got "
                f"indices of shape {tuple(input.shape)} {'without' if offsets is None else 'with'} offsets."
            )
        flat = input.reshape(-1)
        if offsets is None:
            bags = len(input)
            bag = torch.arange(bags, device=flat.device).repeat_interleave(input.shape[1])
        else:
            starts = (offsets[:-1] if include_last_offset else offsets).contiguous()
            bags = len(starts)
            bag = torch.bucketize(torch.arange(len(flat), device=flat.device), starts, right=True) - 1
        padding = None if padding_idx is None else padding_idx % self.fan_in
        vectors = self._vectors(run, flat, padding)
        kept = torch.ones_like(flat, dtype=torch.bool) if padding is None else flat != padding
        vectors, bag = vectors[kept], bag[kept]
        if per_sample_weights is not None:
            vectors = vectors * per_sample_weights.reshape(-1)[kept].to(vectors).unsqueeze(-1)
        if mode == "max":
            empty = vectors.new_zeros(bags, self.fan_out)
            place = bag.unsqueeze(-1).expand_as(vectors)
            return empty.scatter_reduce(0, place, vectors, "amax", include_self=False)
        total = vectors.new_zeros(bags, self.fan_out).index_add(0, bag, vectors)
        if mode == "sum":
            return total
        return total / torch.bincount(bag, minlength=bags).clamp(min=1).unsqueeze(-1)
