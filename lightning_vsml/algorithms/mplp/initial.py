"""Where rules begin before meta-training, and where models begin that learn by them."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightning_vsml.algorithms.mplp import nodes
from lightning_vsml.algorithms.mplp.nodes import Sizes


def fresh(
    sizes: Sizes, kinds: Sequence[str], sharing: str, places: int, generator: torch.Generator | None
) -> dict[str, Tensor]:
    """Networks of all nodes of a model of so many layers, where meta-training begins."""
    V: dict[str, Tensor] = {}
    for kind in (*nodes.PARAMETERS, *kinds):
        own = sharing == "tensor" and kind not in nodes.LOSSES
        count = places if kind in nodes.PARAMETERS else places - 1
        for prefix in [f"{kind}.{place}" for place in range(count)] if own else [kind]:
            V |= nodes.fresh(kind, prefix, sizes, generator)
    return V


def shapes(sizes: Sizes, kinds: Sequence[str], sharing: str, places: int) -> dict[str, tuple[int, ...]]:
    """Of the tensors that a model of so many layers needs: networks, and statistics of what they are fed."""
    with torch.device("meta"):  # whatever a card says, no memory is taken
        networks = fresh(sizes, kinds, sharing, places, None)
    found = {name: tuple(tensor.shape) for name, tensor in networks.items()}
    for kind in (*nodes.PARAMETERS, *kinds):
        count = places if kind in nodes.PARAMETERS else places - 1
        own = sharing != "statistics" and kind not in nodes.LOSSES
        for prefix in [f"{kind}.{place}" for place in range(count)] if own else [kind]:
            found |= {f"{prefix}.statistics.{name}": (2, nodes.width(name, sizes)) for name in nodes.inputs(kind)}
            if kind in nodes.PARAMETERS:
                found |= {f"{prefix}.{name}": () for name in ("offset", "scale")}
    return found


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
