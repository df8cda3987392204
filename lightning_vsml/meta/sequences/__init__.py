"""Meta-training of dense cells by gradients through long sequences."""

from lightning_vsml.meta.sequences.functions import Functions
from lightning_vsml.meta.sequences.module import SequenceModule
from lightning_vsml.meta.sequences.problem import Episode, Problem
from lightning_vsml.meta.sequences.streams import Streams

__all__ = ["Episode", "Functions", "Problem", "SequenceModule", "Streams"]
