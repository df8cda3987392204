"""Outer optimizers: how a meta-learner moves through a search space.

All share one interface. ``step`` is given the problem and asks it to judge candidates, as many and as often as it
likes; everything it remembers is in ``state``, so that a run which was stopped goes on as if it had not been.
"""

from lightning_vsml.meta.outer.base import WORST, Outer, Problem
from lightning_vsml.meta.outer.bptt import BPTT
from lightning_vsml.meta.outer.cmaes import CMAES
from lightning_vsml.meta.outer.es import ES

__all__ = ["BPTT", "CMAES", "ES", "WORST", "Outer", "Problem"]
