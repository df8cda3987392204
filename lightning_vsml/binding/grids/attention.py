"""``nn.MultiheadAttention``: its projections are dense layers within torch's own function, which is looked into."""

from collections.abc import Callable
from types import FunctionType
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from lightning_vsml.binding.grids.dense import LinearGrid


class AttentionGrid(LinearGrid):
    """Queries, keys and values by one weight. The output projection is a Linear layer like others."""

    def __init__(self, layer: nn.Module) -> None:
        self.kind, self.label = type(layer).__name__, f"{type(layer).__name__}.in_proj"
        self.weight, self.bias = layer.in_proj_weight, layer.in_proj_bias  # type: ignore[assignment]
        self._size()

    @staticmethod
    def obstacle(layer: nn.Module) -> str | None:
        return None if layer.in_proj_weight is not None else "keys or values of another size have weights of their own"

    def samples(self, x: Tensor, *_: Any, **__: Any) -> int:
        return x.shape[1] if x.dim() == 3 else 1  # torch puts the sequence first


def _with(function: Callable[..., Any], **names: Any) -> Callable[..., Any]:
    """A function of torch as it is, but for what some names in it mean."""
    return FunctionType(function.__code__, {**function.__globals__, **names}, function.__name__, function.__defaults__)


def _project(q: Tensor, k: Tensor, v: Tensor, w: Tensor, b: Tensor | None = None) -> list[Tensor]:
    """All projections of what is different; torch splits the weight instead, which then is no layer's any more."""
    different = {id(x): x for x in (q, k, v)}
    projected = {name: F.linear(x, w, b) for name, x in different.items()}
    return [projected[id(x)].chunk(3, -1)[place].contiguous() for place, x in enumerate((q, k, v))]


forward = _with(
    F.multi_head_attention_forward, has_torch_function=lambda tensors: False, _in_projection_packed=_project
)
"""``torch.nn.functional.multi_head_attention_forward``, within which calls of ``linear`` are seen."""
