"""Where the synapses of a grid are used: one layout of inputs and outputs a file, with the three sums over them."""

from lightning_vsml.ticks.sites.base import Factor, Site, empty_grid
from lightning_vsml.ticks.sites.diagonal import Diagonal
from lightning_vsml.ticks.sites.images import Images
from lightning_vsml.ticks.sites.lookup import Lookup
from lightning_vsml.ticks.sites.rows import Rows

__all__ = ["Diagonal", "Factor", "Images", "Lookup", "Rows", "Site", "empty_grid"]
