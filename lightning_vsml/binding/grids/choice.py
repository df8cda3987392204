"""Which layers have a grid of their own."""

from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from torch import nn

from lightning_vsml.algorithms import plugins
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
"""Which layer type becomes which grid; subclasses map alike, unless they have one of their own."""

GROUP = "lightning_vsml.grids"
SHIPPED = frozenset(GRIDS)


def choose(layer: nn.Module) -> Grid | None:
    """The grid of a layer; ``None`` where its parameters, if there are any, are synapses one by one.

    Raises:
        PluginError: see :func:`take_up`.
    """
    take_up()
    for layer_type in type(layer).__mro__:
        grid_type = GRIDS.get(layer_type)
        if grid_type is not None and grid_type.obstacle(layer) is None:
            name = "in_proj_weight" if grid_type is AttentionGrid else "weight"
            weight = layer._parameters.get(name)
            computed = getattr(layer, "bias", None) is not None and "bias" not in layer._parameters
            if weight is not None and weight.is_floating_point() and weight.numel() and not computed:
                return grid_type(layer)
    return None


@cache
def take_up() -> None:
    """Add the grids of other packages, each entry point a mapping like :data:`GRIDS`; once, if it succeeds.

    What the user's code has put into :data:`GRIDS` counts over a package's.

    Raises:
        PluginError: one cannot be imported, is no such mapping, or has a layer type that has a grid already.
    """
    added: dict[type[nn.Module], type[Grid]] = {}
    for entry in entry_points(group=GROUP):
        found = plugins.load(entry)
        if not isinstance(found, Mapping) or not all(
            _derives(layer, nn.Module) and _derives(grid, Grid) for layer, grid in found.items()
        ):
            raise plugins.PluginError(
                f"{plugins.described(entry)} should be a dict from layer types (nn.Module) to subclasses of "
                f"lightning_vsml.binding.grids.Grid, got {found!r}. Upgrade or uninstall that package."
            )
        if taken := [layer.__name__ for layer in found if layer in SHIPPED or layer in added]:
            raise plugins.PluginError(
                f"{plugins.described(entry)} is for {', '.join(taken)}, which has a grid already. Uninstall that "
                "package, or another that brings one."
            )
        added |= found
    GRIDS.update({layer: grid for layer, grid in added.items() if layer not in GRIDS})


def _derives(kind: Any, base: type) -> bool:
    return isinstance(kind, type) and issubclass(kind, base)
