"""Meta-training by gradients through what learners do, along streams or in a few steps."""

from lightning_vsml.meta.sequences.few_shot import Digits, FewShot, Sinusoids
from lightning_vsml.meta.sequences.functions import Functions
from lightning_vsml.meta.sequences.module import SequenceModule
from lightning_vsml.meta.sequences.problem import Episode, Problem
from lightning_vsml.meta.sequences.streams import Streams

__all__ = ["Digits", "Episode", "FewShot", "Functions", "Problem", "SequenceModule", "Sinusoids", "Streams"]
