"""Which layers have a grid of their own."""

from torch import nn

from lightning_vsml.binding.grids.attention import AttentionGrid
from lightning_vsml.binding.grids.base import Grid
from lightning_vsml.binding.grids.convolution import ConvGrid, ConvTransposeGrid
from lightning_vsml.binding.grids.dense import BilinearGrid, LinearGrid
from lightning_vsml.binding.grids.embedding import EmbeddingBagGrid, EmbeddingGrid
from lightning_vsml.binding.grids.norm import (
    BatchNormGrid,
    GroupNormGrid,
    InstanceNormGrid,
    LayerNormGrid,
    RMSNormGrid,
)

GRIDS: dict[type[nn.Module], type[Grid]] = {
    nn.Linear: LinearGrid,
    nn.Bilinear: BilinearGrid,
    nn.Conv1d: ConvGrid,
    nn.Conv2d: ConvGrid,
    nn.Conv3d: ConvGrid,
    nn.ConvTranspose1d: ConvTransposeGrid,
    nn.ConvTranspose2d: ConvTransposeGrid,
    nn.ConvTranspose3d: ConvTransposeGrid,
    nn.Embedding: EmbeddingGrid,
    nn.EmbeddingBag: EmbeddingBagGrid,
    nn.MultiheadAttention: AttentionGrid,
    nn.LayerNorm: LayerNormGrid,
    nn.RMSNorm: RMSNormGrid,
    nn.BatchNorm1d: BatchNormGrid,
    nn.BatchNorm2d: BatchNormGrid,
    nn.BatchNorm3d: BatchNormGrid,
    nn.InstanceNorm1d: InstanceNormGrid,
    nn.InstanceNorm2d: InstanceNormGrid,
    nn.InstanceNorm3d: InstanceNormGrid,
    nn.GroupNorm: GroupNormGrid,
}
"""Which layer type becomes which grid; subclasses map alike."""


def choose(layer: nn.Module) -> Grid | None:
    """The grid of a layer; ``None`` where its parameters, if there are any, are synapses one by one."""
    for layer_type, grid_type in GRIDS.items():
        if isinstance(layer, layer_type) and grid_type.obstacle(layer) is None:
            name = "in_proj_weight" if grid_type is AttentionGrid else "weight"
            weight = layer._parameters.get(name)
            computed = getattr(layer, "bias", None) is not None and "bias" not in layer._parameters
            if weight is not None and weight.is_floating_point() and weight.numel() and not computed:
                return grid_type(layer)
    return None
