"""VSML from scratch: networks of fresh states learn MNIST, in many looks, from single examples."""

import math
from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_vsml.algorithms.emergent import Emergent, initial
from lightning_vsml.lab import datasets
from lightning_vsml.meta.draw import Draw
from lightning_vsml.meta.sequences.learning import Learning, moving, unroll
from lightning_vsml.meta.sequences.looks import Pool, Stream, stream
from lightning_vsml.meta.sequences.problem import Parameters, Problem
from lightning_vsml.ticks import Cell

VALIDATION = 10_000  # of the training images, the last ones
LATE = 0.75  # progress from which on first examples may weigh more
WINDOWS = ((0, 10), (10, 50), (50, 200), (200, 500))  # examples, of held-out streams


class Streams(Problem):
    """What an emergent algorithm is meta-trained on.

    Everything begins small, with two classes, few inputs and short segments, and grows over the first part of the run:
    ten classes, 49 inputs and 60 examples from the start stay at chance.

    Args:
        units: N, of a synapse.
        messages: M, numbers of a message.
        inputs: least and largest number of inputs.
        classes: least and largest number of classes.
        segment: least and largest number of examples between steps of the outer optimizer.
        carried: largest number of segments of a stream.
        hidden: sizes of hidden layers.
        deep: share of networks with hidden layers.
        thaw: shares of the run between which hidden layers begin to learn, see :func:`moving`.
        work: synapses times examples times learners of a segment, which sets how many learners there are.
        learners: least and largest number of learners at once.
        ramp: share of the run in which tasks grow.
        hard: share of learners whose images are blended with others, or have labels that are wrong.
        early: in the last quarter of the run example t weighs (1 + t / 10) ** -early, as first examples are few.
        tasks: how many different looks there are; 0: no two are alike.
        data_dir: where MNIST lies.

    Raises:
        ValueError: a value is out of range.
    """

    def __init__(
        self,
        units: int = 16,
        messages: int = 8,
        inputs: tuple[int, int] = (8, 64),
        classes: tuple[int, int] = (2, 10),
        segment: tuple[int, int] = (15, 100),
        carried: int = 8,
        hidden: Sequence[int] = (),
        deep: float = 0.0,
        thaw: tuple[float, float] = (0.0, 0.0),
        work: int = 300_000,
        learners: tuple[int, int] = (6, 16),
        ramp: float = 0.3,
        hard: float = 0.0,
        early: float = 0.0,
        tasks: int = 0,
        data_dir: Path = Path("data"),
    ) -> None:
        for what, (low, high), least, most in (
            ("inputs", inputs, 1, 784),
            ("classes", classes, 2, 10),
            ("segment", segment, 1, math.inf),
            ("learners", learners, 1, math.inf),
            ("thaw", thaw, 0, 1),
        ):
            if not least <= low <= high <= most:
                raise ValueError(f"{what} should be two numbers, {least} <= low <= high <= {most}, got {low}, {high}.")
        for what, value, end in (
            ("carried", carried, math.inf),
            ("deep", deep, 1),
            ("ramp", ramp, 1),
            ("early", early, 1),
            ("hard", hard, 1),
        ):
            least = 1 if what == "carried" else 0
            if not least <= value <= end:
                raise ValueError(f"{what} should be from {least} to {end}, got {value}.")
        self.units, self.messages, self.inputs, self.classes, self.segment = units, messages, inputs, classes, segment
        self.carried, self.hidden, self.deep, self.work, self.learners = carried, tuple(hidden), deep, work, learners
        self.ramp, self.tasks, self.data_dir, self.thaw, self.early, self.hard = (
            ramp,
            tasks,
            Path(data_dir),
            thaw,
            early,
            hard,
        )

    def start(self, seed: int) -> dict[str, Tensor]:
        """A random cell."""
        return initial(self.units, self.messages, seed)._asdict()

    def algorithm(self, V: Parameters, name: str, card: dict[str, Any]) -> Emergent:
        """What a cell is."""
        return Emergent(name, Cell(**V), card=card)

    def episode(self, number: int, progress: float, seed: int) -> Learning:
        """Streams of some learners of one size; what they are follows from number, progress and seed alone."""
        draw = Draw(torch.Generator().manual_seed(hash((seed, number)) % 2**63))
        grown = min(1.0, progress / self.ramp) if self.ramp else 1.0
        (low, high), (few, many), (short, long) = self.inputs, self.classes, self.segment
        classes = draw.integer(few, round(few + (many - few) * grown) + 1)
        inputs = round(draw.log_uniform(low, low + max(0, min(16, high) - low) + max(0, high - 16) * grown))
        steps = round(short + (long - short) * grown * draw.uniform())
        segments = max(1, round(draw.log_uniform(1, 1 + (self.carried - 1) * grown)))
        hidden = self.hidden if draw.uniform() < self.deep else ()
        sizes = (inputs, *hidden, classes)
        synapses = sum((a + 1) * b for a, b in pairwise(sizes))
        least, most = self.learners
        learners = max(least, min(most, self.work // (synapses * steps)))
        looks = [
            Draw(torch.Generator().manual_seed(draw.integer(0, self.tasks) if self.tasks else draw.integer(0, 2**62)))
            for _ in range(learners)
        ]
        examples = stream(self.training, looks, draw, inputs, classes, steps * segments, self.hard)
        early = self.early if progress >= LATE else 0.0
        seed_of_states = draw.integer(0, 2**62)
        return Learning(examples, sizes, steps, segments, seed_of_states, moving(progress, self.thaw), early)

    @torch.no_grad()
    def held_out(self, V: Parameters) -> dict[str, float]:
        """Cross-entropy and accuracy of streams of validation images, with ``hard`` also of blended ones; and "gain":
        minus the mean cross-entropy over windows of examples, which count the same.
        """
        found, total = {}, 0.0
        for name, examples in self._validation.items():
            sizes = (examples.x.shape[2], *self.hidden[: self.deep > 0], 10)
            learning = Learning(examples, sizes, len(examples.x), 1, 0)
            loss, right = unroll(self.algorithm(V, "", {}), learning.fresh(V), examples)[:2]
            for first, last in WINDOWS:
                found[f"{name}/loss_{first}_{last}"] = float(loss[first:last].mean())
                total += float(loss[first:last].mean())
            found[f"{name}/accuracy"] = float(right.mean())
        return found | {"gain": -total / len(WINDOWS) / len(self._validation)}

    @cached_property
    def training(self) -> Pool:
        """All but the validation images."""
        images = datasets.load("mnist", self.data_dir)
        return Pool.of(images.x[:-VALIDATION], images.y[:-VALIDATION])

    @cached_property
    def _validation(self) -> dict[str, Stream]:
        images = datasets.load("mnist", self.data_dir)
        x, y = images.x[-VALIDATION:], images.y[-VALIDATION:]
        streams = {}
        for name, side in (("mnist_7x7", 7), ("mnist_14x14", 14)):
            draw = Draw(torch.Generator().manual_seed(side))
            which = torch.stack([draw.permutation(len(y))[: WINDOWS[-1][1]] for _ in range(8)], 1)
            labels = torch.stack([draw.permutation(10)[y[one]] for one in which.T], 1)
            streams[name] = own = Stream(F.avg_pool2d(x, 28 // side).flatten(1)[which], labels)
            if self.hard:
                others = own.x[draw.permutation(len(own.x))]
                streams[f"{name}_blended"] = Stream(0.65 * own.x + 0.35 * others, labels)
        return streams
