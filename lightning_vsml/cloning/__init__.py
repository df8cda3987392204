"""Learning algorithm cloning: training a cell on random data until it does what a known learning rule does.

``python -m lightning_vsml.cloning --preset cpu --target sgd --out my.safetensors`` makes a checkpoint.
"""

from lightning_vsml.cloning.module import CloningModule
from lightning_vsml.cloning.recipes import PRESETS, Recipe
from lightning_vsml.cloning.targets import TARGETS, Response, Target

__all__ = ["PRESETS", "TARGETS", "CloningModule", "Recipe", "Response", "Target"]
