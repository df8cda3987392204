"""Local learning rules as plain equations, one a file."""

from lightning_vsml.algorithms.rules.base import Rule
from lightning_vsml.algorithms.rules.direct_feedback import DirectFeedbackAlignment
from lightning_vsml.algorithms.rules.feedback_alignment import FeedbackAlignment
from lightning_vsml.algorithms.rules.hebb import Hebb
from lightning_vsml.algorithms.rules.oja import Oja
from lightning_vsml.algorithms.rules.plasticity import Plasticity
from lightning_vsml.algorithms.rules.reward import Reward
from lightning_vsml.algorithms.rules.three_factor import ThreeFactor

_ALL = (Hebb, Oja, FeedbackAlignment, DirectFeedbackAlignment, Plasticity, ThreeFactor, Reward)
RULES: dict[str, type[Rule]] = {rule.family: rule for rule in _ALL}

__all__ = [
    "RULES",
    "DirectFeedbackAlignment",
    "FeedbackAlignment",
    "Hebb",
    "Oja",
    "Plasticity",
    "Reward",
    "Rule",
    "ThreeFactor",
]
