"""One LSTM step of every synapse of a grid, in interchangeable implementations.

Every implementation is a module with two functions of the same signature,

* ``forward(cell, ticks, state, x) -> y``: run the forward ticks, read the forward message out;
* ``learn(cell, ticks, state, x, e) -> (change, message)``: run the learn ticks, read the summed state
  change and the backward message out.

``reference`` is the readable one and defines what is right; any other is tested against it.
"""

from types import ModuleType

from lightning_vsml.ticks import reference
from lightning_vsml.ticks.cell import Cell, State, Tick

IMPLEMENTATIONS: dict[str, ModuleType] = {"reference": reference}

__all__ = ["IMPLEMENTATIONS", "Cell", "State", "Tick"]
