"""Tasks that are learned from a few minibatches, which message passing protocols are meta-trained on."""

import math
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_vsml.algorithms.mplp import MPLP
from lightning_vsml.algorithms.mplp.initial import fresh
from lightning_vsml.algorithms.mplp.nodes import Sizes
from lightning_vsml.algorithms.mplp.statistics import is_trained
from lightning_vsml.lab import datasets
from lightning_vsml.meta.sequences.passing import Net, Passing, Shots, States, recorded, unroll
from lightning_vsml.meta.sequences.problem import Parameters, Problem

VALIDATION = 5000  # training images that are held out
SIDE = 12  # of digits
SMALL = Net((36, 16, 10), "sigmoid", "cross_entropy")
HELD_OUT = 2**40  # seed of held-out tasks; those of episodes are below


class FewShot(Problem):
    """Some learners, each with a task and initial weights of its own.

    Args:
        messages: M, numbers of a message.
        carry: K, numbers of a parameter's hidden state, more than M; 0 for stateless rules.
        hidden: units of the rules' hidden layers.
        sharing: see :class:`~lightning_vsml.algorithms.mplp.MPLP`.
        initial: ``"random"`` weights at every beginning, or ``"trained"``: meta-trained as well, as MAML does.
        steps: of a learner.
        examples: of a step.
        queries: unseen examples of the task that a learner is judged by.
        learners: side by side.

    Raises:
        ValueError: a value is out of range.
    """

    net: Net
    unit: float
    judges = 128  # learners that held-out tasks are given to

    def __init__(
        self,
        messages: int = 8,
        carry: int = 15,
        hidden: tuple[int, int] = (80, 40),
        sharing: str = "tensor",
        initial: str = "random",
        steps: int = 5,
        examples: int = 10,
        queries: int = 20,
        learners: int = 8,
    ) -> None:
        counts = {"messages": messages, "steps": steps, "examples": examples, "queries": queries, "learners": learners}
        for what, value in counts.items():
            if value < 1:
                raise ValueError(f"{what} should be at least 1, got {value}.")
        if carry and carry <= messages:
            raise ValueError(f"carry should be 0, or more than messages, {messages}, and hold them; got {carry}.")
        if initial not in ("random", "trained"):
            raise ValueError(f"initial should be 'random' or 'trained', got {initial!r}.")
        self.messages, self.carry, self.hidden, self.sharing, self.initial = messages, carry, hidden, sharing, initial
        self.steps, self.examples, self.queries, self.learners = steps, examples, queries, learners

    @property
    def rule_sizes(self) -> Sizes:
        """Of every node."""
        first, second = self.hidden
        return Sizes(self.messages, self.carry, (first, second))

    def shots(self, learners: int, generator: torch.Generator, held_out: bool = False) -> Shots:
        """Tasks for so many learners."""
        raise NotImplementedError

    def start(self, seed: int) -> dict[str, Tensor]:
        """Random rules, and statistics of the first minibatches."""
        generator = torch.Generator().manual_seed(seed)
        places = len(self.net.sizes) - 1
        kinds, sizes = (self.net.activation, self.net.loss), self.rule_sizes
        algorithm = MPLP("", fresh(sizes, kinds, self.sharing, places, generator), sizes, kinds, self.sharing, places)
        states = self.net.fresh(algorithm, 32, generator)
        V = recorded(algorithm, self.net, states, self.shots(32, generator))
        if self.initial == "trained":
            V |= {f"initial.{place}": state[0, 0].clone() for place, state in enumerate(states)}
        return V

    def is_trained(self, name: str) -> bool:
        """All but statistics."""
        return is_trained(name)

    def algorithm(self, V: Parameters, name: str, card: dict[str, Any]) -> MPLP:
        """The protocol that has these parameters."""
        kinds, sizes = (self.net.activation, self.net.loss), self.rule_sizes
        return MPLP(name, V, sizes, kinds, self.sharing, len(self.net.sizes) - 1, card)

    def learners_of(self, V: Parameters, learners: int, seed: int, net: Net | None = None) -> tuple[MPLP, States]:
        """The algorithm, and states of fresh learners."""
        algorithm, generator = self.algorithm(V, "", {}), torch.Generator().manual_seed(seed)
        if self.initial == "random":
            return algorithm, (net or self.net).fresh(algorithm, learners, generator)
        weights = [V[f"initial.{place}"] for place in range(len(self.net.sizes) - 1)]
        return algorithm, [algorithm.begin(w.unsqueeze(0).expand(learners, -1, -1)) for w in weights]

    def episode(self, number: int, progress: float, seed: int) -> Passing:
        """As many tasks as there are learners."""
        own = hash((seed, number)) % 2**40
        shots = self.shots(self.learners, torch.Generator().manual_seed(own))
        return Passing(self.net, self.learners_of, shots, self.unit, own + 1)

    @torch.no_grad()
    def held_out(self, V: Parameters) -> dict[str, float]:
        """Losses before and after a learner's steps on held-out tasks; "gain" is minus the last one's logarithm."""
        generator = torch.Generator().manual_seed(HELD_OUT)
        shots = self.shots(self.judges, generator, held_out=True)
        algorithm, states = self.learners_of(V, self.judges, HELD_OUT + 1)
        losses, y, _ = unroll(self.net, algorithm, states, shots)
        means = losses.mean(1).tolist()
        found = {f"loss_{step}": value for step, value in enumerate(means)}
        if self.net.loss == "cross_entropy":
            found["accuracy"] = float((y.argmax(-1) == shots.query).float().mean())
        return found | {"gain": -math.log(means[-1]) if means[-1] > 0 else -math.inf}


class Sinusoids(FewShot):
    """A sin(x + phase), A from 0.1 to 0.5, phase from 0 to pi, x in [-5, 5]; 1-20-20-1, ReLU.

    A loss is the squared error; a unit of it is the variance of the values, 0.05.
    """

    net = Net((1, 20, 20, 1), "relu", "mse_loss")
    unit = 0.05

    def shots(self, learners: int, generator: torch.Generator, held_out: bool = False) -> Shots:
        """Functions, and points of them."""
        count = self.steps * self.examples + self.queries
        amplitude = 0.1 + 0.4 * torch.rand(learners, 1, generator=generator)
        phase = math.pi * torch.rand(learners, 1, generator=generator)
        x = -5 + 10 * torch.rand(count, learners, 1, generator=generator)
        y = amplitude * torch.sin(x + phase)
        points = self.steps * self.examples
        (x, query_x), (y, query) = (part.split([points, self.queries]) for part in (x, y))
        shape = (self.steps, self.examples, learners, 1)
        return Shots(x.reshape(shape), y.reshape(shape), query_x, query)


class Digits(FewShot):
    """MNIST at 12 x 12 pixels, 144-50-10, sigmoid; initial weights differ, the task is the same.

    Args:
        data_dir: where MNIST is.
        small: until this share of the run, 36-16-10 and eight times as many learners; for the first third of that a
            quarter of the steps, then more and more, all of them after two thirds. Rules that begin with all of it
            stay at chance, or their gradients explode.
        others: of :class:`FewShot`.

    Raises:
        ValueError: a value is out of range.
    """

    net = Net((SIDE * SIDE, 50, 10), "sigmoid", "cross_entropy")
    unit = math.log(10)
    judges = 16

    def __init__(self, data_dir: Path = Path("data"), small: float = 0.0, **others: Any) -> None:
        super().__init__(**others)
        if not 0 <= small <= 1:
            raise ValueError(f"small should be from 0 to 1, got {small}.")
        self.data_dir, self.small = Path(data_dir), small

    def episode(self, number: int, progress: float, seed: int) -> Passing:
        """As many tasks as there are learners; at first more of them, of a smaller network."""
        if progress >= self.small:
            return super().episode(number, progress, seed)
        own, learners = hash((seed, number)) % 2**40, 8 * self.learners
        grown = min(1.0, max(0.0, 3 * progress / self.small - 1))
        steps = max(1, round(self.steps * (0.25 + 0.75 * grown)))
        shots = self.shots(learners, torch.Generator().manual_seed(own))
        pooled = (F.avg_pool2d(x.unflatten(-1, (SIDE, SIDE)).flatten(0, -3), 2) for x in (shots.x, shots.query_x))
        x, query_x = (p.view(*old.shape[:-1], -1) for p, old in zip(pooled, (shots.x, shots.query_x), strict=True))
        shots = Shots(x[:steps], shots.target[:steps], query_x, shots.query)
        return Passing(SMALL, partial(self.learners_of, net=SMALL), shots, self.unit, own + 1)

    def shots(self, learners: int, generator: torch.Generator, held_out: bool = False) -> Shots:
        """Training images, or validation images."""
        x, y = self._images
        x, y = (x[-VALIDATION:], y[-VALIDATION:]) if held_out else (x[:-VALIDATION], y[:-VALIDATION])
        count = self.steps * self.examples
        which = torch.randint(len(y), (count + self.queries, learners), generator=generator)
        (x, query_x), (y, query) = (part[which].split([count, self.queries]) for part in (x, y))
        shape = (self.steps, self.examples, learners)
        return Shots(x.reshape(*shape, -1), y.reshape(shape), query_x, query)

    @cached_property
    def _images(self) -> tuple[Tensor, Tensor]:
        images = datasets.load("mnist", self.data_dir)
        return F.adaptive_avg_pool2d(images.x, SIDE).flatten(1), images.y
