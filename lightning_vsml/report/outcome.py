"""What a run of one learner gave."""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

from rich.table import Table
from torch import Tensor

from lightning_vsml.algorithms.base import Algorithm


class Plan(NamedTuple):
    """A learner to run.

    Attributes:
        name: how tables and pictures call it.
        kind: ``"SGD"``, ``"Adam"``, ``"own"`` (the module's optimizers and schedulers as they are) or ``"algorithm"``.
        lr: its learning rate, where it has one.
        algorithm: of kind ``"algorithm"``.
    """

    name: str
    kind: str
    lr: float | None = None
    algorithm: Algorithm | None = None


class LayerStep(NamedTuple):
    """A layer's committed change beside the gradient step, at one step.

    Attributes:
        cosine: between the two.
        difference: ||change - gradient step|| / ||gradient step||.
        rate: ||change|| / ||gradient||, the learning rate that it comes to.
    """

    cosine: float
    difference: float
    rate: float


@dataclass
class Outcome:
    """Of one run.

    Attributes:
        plan: what ran.
        steps: how many batches it was to learn from.
        losses: of each batch, before learning from it.
        metrics: what the module logged besides, by name; NaN on steps without.
        seconds: of each step; NaN where it was measured as well.
        kept: numbers that the learner keeps for each weight, besides the weight.
        kept_bytes: the same of all weights together.
        peak_bytes: of GPU memory, the most that was allocated; 0 on a CPU.
        layers: measured steps by layer and step; none of optimizers, and none of algorithms without gradients.
        beyond: what ("input", "feedback", "weights") went beyond the algorithm's reach, and where.
        exact: by layer, on how many steps it took exact ticks.
        news: what the learner said.
        mapping: the table that VSMLLearner shows.
        stopped: why it ended early; empty where it did not.
        weights: at the end, by name, until distances are known.
        distance: ||weights - those of SGD at the same rate|| / ||the way that SGD's went||, where both ran.
    """

    plan: Plan
    steps: int
    losses: list[float] = field(default_factory=list)
    metrics: dict[str, list[float]] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    kept: float = math.nan
    kept_bytes: int = 0
    peak_bytes: int = 0
    layers: dict[str, dict[int, LayerStep]] = field(default_factory=dict)
    beyond: set[tuple[str, str]] = field(default_factory=set)
    exact: dict[str, int] = field(default_factory=dict)
    news: list[str] = field(default_factory=list)
    mapping: Table | None = None
    stopped: str = ""
    weights: dict[str, Tensor] = field(default_factory=dict)
    distance: float = math.nan

    @property
    def complete(self) -> bool:
        """Whether it ran to its end."""
        return not self.stopped and len(self.losses) == self.steps
