"""Which layers become grids of synapses, and how the functions that they call run by them."""

from lightning_vsml.binding.grids import attention
from lightning_vsml.binding.grids.base import Grid, Run
from lightning_vsml.binding.grids.choice import GRIDS, choose
from lightning_vsml.binding.grids.elementwise import ParameterGrid

__all__ = ["GRIDS", "Grid", "ParameterGrid", "Run", "attention", "choose"]
