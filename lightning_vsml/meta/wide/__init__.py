"""A search over the coordinates of the adaptive rule, on a distribution of tasks as wide as use is."""

from lightning_vsml.meta.wide.search import WideModule
from lightning_vsml.meta.wide.tasks import Distribution, Task

__all__ = ["Distribution", "Task", "WideModule"]
