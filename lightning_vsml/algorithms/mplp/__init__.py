"""A message passing learning protocol (Randazzo, Niklasson, Mordvintsev 2020, arXiv 2007.00970)."""

from lightning_vsml.algorithms.mplp.family import MPLP
from lightning_vsml.algorithms.mplp.memory import with_memory

__all__ = ["MPLP", "with_memory"]
