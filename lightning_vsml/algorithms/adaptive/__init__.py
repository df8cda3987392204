"""A rule that chooses its own steps: as a formula, and as a program of the cell with coordinates to search."""

from lightning_vsml.algorithms.adaptive.coordinates import Coordinates
from lightning_vsml.algorithms.adaptive.program import adaptive

__all__ = ["Coordinates", "adaptive"]
