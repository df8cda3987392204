"""Where rules begin before meta-training, and where models begin that learn by them."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightning_vsml.algorithms.mplp import nodes
from lightning_vsml.algorithms.mplp.nodes import Sizes


def fresh(
    sizes: Sizes, kinds: Sequence[str], sharing: str, places: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """Networks of all nodes of a model of so many layers, where meta-training begins."""
    V: dict[str, Tensor] = {}
    for kind in (*nodes.PARAMETERS, *kinds):
        own = sharing == "tensor" and kind not in nodes.LOSSES
        count = places if kind in nodes.PARAMETERS else places - 1
        for prefix in [f"{kind}.{place}" for place in range(count)] if own else [kind]:
            V |= nodes.fresh(kind, prefix, sizes, generator)
    return V


@torch.no_grad()
def initialise(model: nn.Module, initial: Sequence[Tensor], name: str) -> None:
    """Give a model the initial weights that were meta-trained with rules, layer by layer.

    Args:
        model: gets them.
        initial: of its dense layers, ``(A, B)`` with the bias as the last input.
        name: of the algorithm, for messages.

    Raises:
        ValueError: there are none, or the model's layers are others.
    """
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    want = [(A - 1, B) for A, B in (tuple(weights.shape) for weights in initial)]
    have = [(layer.in_features, layer.out_features) for layer in layers if layer.bias is not None]
    if not initial or want != have:
        raise ValueError(
            f"{name!r} has initial weights for dense layers with bias of "
            f"{', '.join(f'{a} x {b}' for a, b in want) or 'no size'}, the model has "
            f"{', '.join(f'{a} x {b}' for a, b in have) or 'none'}."
        )
    for layer, weights in zip(layers, initial, strict=True):
        layer.weight.copy_(weights[:-1].T)
        layer.bias.copy_(weights[-1])
