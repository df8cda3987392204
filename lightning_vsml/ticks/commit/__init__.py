"""Commit ticks: what all synapses of a grid do once on the merged state, and what neurons tell them on the way.

:class:`~lightning_vsml.ticks.commit.run.Commit` runs them as a few elementwise programs; ``reference`` is the readable
form, which it is tested against.
"""

from lightning_vsml.ticks.commit.plan import Told

__all__ = ["Told"]
