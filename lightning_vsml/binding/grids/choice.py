"""Which layers map, and why others do not."""

from torch import nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from lightning_vsml.binding.grids.base import Grid
from lightning_vsml.binding.grids.convolution import ConvGrid, ConvTransposeGrid
from lightning_vsml.binding.grids.dense import EmbeddingGrid, LinearGrid
from lightning_vsml.binding.grids.norm import BatchNormGrid, GroupNormGrid, LayerNormGrid

GRIDS: dict[type[nn.Module], type[Grid]] = {
    nn.Linear: LinearGrid,
    nn.Conv1d: ConvGrid,
    nn.Conv2d: ConvGrid,
    nn.ConvTranspose2d: ConvTransposeGrid,
    nn.Embedding: EmbeddingGrid,
    nn.LayerNorm: LayerNormGrid,
    nn.RMSNorm: LayerNormGrid,
    nn.BatchNorm1d: BatchNormGrid,
    nn.BatchNorm2d: BatchNormGrid,
    nn.BatchNorm3d: BatchNormGrid,
    nn.GroupNorm: GroupNormGrid,
}
"""Which layer type becomes which grid; a subclass that keeps the layer's ``forward`` maps alike."""

REPLACEMENTS: dict[type[nn.Module], str] = {
    nn.MultiheadAttention: "nn.MultiheadAttention uses its weights without calling a layer; replace it by Linear "
    "layers for queries, keys, values and output around torch.nn.functional.scaled_dot_product_attention",
    nn.RNNBase: "it uses its weights for all time steps in one call; replace it by a loop over cells of Linear layers",
    nn.RNNCellBase: "it uses its weights without calling a layer; replace it by Linear layers",
    nn.SyncBatchNorm: "it averages over processes; leave sync_batchnorm out, or use GroupNorm",
}
"""What to do about types that people expect to map."""


def choose(layer: nn.Module) -> type[Grid] | str | None:
    """The grid that maps a layer, or why there is none; None where nothing is known about its type."""
    for layer_type, why in REPLACEMENTS.items():
        if isinstance(layer, layer_type):
            return why
    if isinstance(layer, NonDynamicallyQuantizableLinear):
        return REPLACEMENTS[nn.MultiheadAttention]  # part of one
    for layer_type, grid_type in GRIDS.items():
        if isinstance(layer, layer_type):
            return _obstacle(layer, layer_type) or grid_type.obstacle(layer) or grid_type
    return None


def _obstacle(layer: nn.Module, layer_type: type[nn.Module]) -> str | None:
    name = layer_type.__name__
    if type(layer).forward is not layer_type.forward:
        return f"{type(layer).__name__}.forward is not that of nn.{name}"
    if "forward" in vars(layer):  # somebody replaced it on the instance
        return f"its forward was replaced by another than that of nn.{name}"
    weight = layer._parameters.get("weight")
    if not isinstance(weight, nn.Parameter):
        return "its weight is computed from other parameters (a parametrization, weight or spectral norm); remove that"
    if not weight.is_floating_point():
        return f"its weight is of type {weight.dtype}; real floating-point numbers are expected"
    if not weight.numel():
        return f"its weight is empty, of shape {tuple(weight.shape)}"
    return None
