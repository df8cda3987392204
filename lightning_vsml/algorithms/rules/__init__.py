"""Local learning rules as plain equations, one a file."""

from lightning_vsml.algorithms.rules.base import Rule
from lightning_vsml.algorithms.rules.feedback_alignment import FeedbackAlignment
from lightning_vsml.algorithms.rules.hebb import Hebb
from lightning_vsml.algorithms.rules.oja import Oja
from lightning_vsml.algorithms.rules.plasticity import Plasticity
from lightning_vsml.algorithms.rules.three_factor import ThreeFactor

RULES: dict[str, type[Rule]] = {rule.family: rule for rule in (Hebb, Oja, FeedbackAlignment, Plasticity, ThreeFactor)}

__all__ = ["RULES", "FeedbackAlignment", "Hebb", "Oja", "Plasticity", "Rule", "ThreeFactor"]
