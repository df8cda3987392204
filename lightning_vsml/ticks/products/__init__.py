"""Ticks as matrix products: what a grid does in a step, without a value for every sample and synapse.

:mod:`~lightning_vsml.ticks.products.phases` runs the ticks on series (:mod:`~lightning_vsml.ticks.products.algebra`),
for the ranges that a call's tensors lie in; :mod:`~lightning_vsml.ticks.products.ranks` makes few products of the
result; :mod:`~lightning_vsml.ticks.products.values` and :mod:`~lightning_vsml.ticks.products.sites` compute them.
"""

from lightning_vsml.ticks.products.engine import Products

__all__ = ["Products"]
