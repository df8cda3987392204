"""What :func:`parity` gives."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.text import Text

from lightning_vsml.report import tables
from lightning_vsml.report.batches import Batches
from lightning_vsml.report.outcome import Outcome
from lightning_vsml.report.verdict import Verdict, head, judge


@dataclass
class Parity:
    """Learners side by side.

    Attributes:
        module: the class's name.
        steps: how many batches each was to learn from.
        batches: those.
        weights: how many trainable numbers the module has.
        seed: of the order of batches.
        outcomes: of every run, in their order.
        stopped: whether Ctrl-C ended it early.
    """

    module: str
    steps: int
    batches: Batches
    weights: int
    seed: int
    outcomes: list[Outcome] = field(default_factory=list)
    stopped: bool = False

    @property
    def algorithms(self) -> list[Outcome]:
        """Runs of learning algorithms."""
        return [outcome for outcome in self.outcomes if outcome.plan.kind == "algorithm"]

    @property
    def verdicts(self) -> list[Verdict]:
        """Of each algorithm."""
        return [judge(outcome, self.outcomes) for outcome in self.algorithms]

    @property
    def verdict(self) -> str:
        """All in one paragraph."""
        lead = f"{self.conditions} {_capital(head(self.outcomes))}"
        early = " Ctrl-C ended it early; what was run is here." if self.stopped else ""
        return " ".join([lead + early, *(_capital(verdict.text) for verdict in self.verdicts)])

    @property
    def conditions(self) -> str:
        """What was run, in a sentence."""
        seen = "less than an epoch"
        if self.batches.whole:
            seen = f"{self.steps / self.batches.epoch:.3g} epochs"
        again = ""
        if not self.batches.whole and len(self.batches.kept) < self.steps:
            again = f": the first {len(self.batches.kept)}, which filled the memory for them, again and again"
        return (
            f"{self.module} ({self.weights:,} weights) learned from {self.steps} batches ({seen}{again}), "
            "each learner from the same weights and batches, one seed; losses are of each training batch before "
            "learning from it."
        )

    def tables(self) -> list[RenderableType]:
        """For a terminal."""
        parts: list[RenderableType] = [Text(self.verdict), tables.learners(self.outcomes), tables.costs(self.outcomes)]
        for outcome in self.algorithms:
            parts += [table for table in (outcome.mapping, tables.layers(outcome)) if table is not None]
        return parts

    def show(self, console: Console | None = None) -> None:
        """Print all of it."""
        (console or Console()).print(Group(*self.tables()))

    def write(self, folder: str | os.PathLike[str]) -> Path:
        """Write ``report.html`` (one file, which needs no network), ``curves.csv``, ``layers.csv`` and TensorBoard's
        files into a folder; returns the first.

        Raises:
            ReportError: the folder cannot be written, or holds a report already.
        """
        from lightning_vsml.report import writing

        return writing.write(self, Path(folder))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
