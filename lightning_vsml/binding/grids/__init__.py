"""Synapse grids: which layer types map, and how each one's input, output and weights look as a grid of synapses."""

from lightning_vsml.binding.grids.base import Grid
from lightning_vsml.binding.grids.choice import GRIDS, choose

__all__ = ["GRIDS", "Grid", "choose"]
