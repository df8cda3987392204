"""A message passing learning protocol (Randazzo, Niklasson, Mordvintsev 2020, arXiv 2007.00970)."""

from lightning_vsml.algorithms.mplp.family import MPLP

__all__ = ["MPLP"]
