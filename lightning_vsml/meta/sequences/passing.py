"""Networks that learn from a few minibatches by passing messages, many of them side by side."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_vsml.algorithms.mplp import MPLP
from lightning_vsml.algorithms.mplp.statistics import Recording, pooled
from lightning_vsml.meta.sequences.problem import Episode, Parameters

States = Sequence[Tensor]  # of the layers, (1 + K, learners, A + 1, B)
Maker = Callable[[Parameters, int, int], tuple[MPLP, States]]


class Net(NamedTuple):
    """What learns.

    Attributes:
        sizes: of its layers.
        activation: between them.
        loss: behind the last.
    """

    sizes: tuple[int, ...]
    activation: str
    loss: str

    def fresh(self, algorithm: MPLP, learners: int, generator: torch.Generator) -> States:
        """Weights and biases as ``nn.Linear`` draws them."""
        return [
            algorithm.begin((2 * torch.rand(learners, a + 1, b, generator=generator) - 1) * a**-0.5)
            for a, b in pairwise(self.sizes)
        ]

    def predict(self, states: States, x: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Examples ``(R, learners, A)`` -> predictions ``(R, learners, B)``, and what each layer got and gave."""
        got, gave = [], []
        for state in states:
            got.append(x)
            weights = state[0]
            gave.append(torch.einsum("rga,gab->rgb", x, weights[:, :-1]) + weights[:, -1])
            x = getattr(torch, self.activation)(gave[-1])
        return gave[-1], got, gave

    def losses(self, y: Tensor, target: Tensor) -> Tensor:
        """Mean over examples, of each learner: ``(learners,)``."""
        if self.loss == "cross_entropy":
            each = F.cross_entropy(y.flatten(0, 1), target.flatten(), reduction="none").view(y.shape[:2])
        else:
            each = (y - target).square().mean(-1)
        return each.mean(0)

    def step(self, algorithm: MPLP, states: States, x: Tensor, target: Tensor) -> States:
        """A learning step from a minibatch."""
        y, got, gave = self.predict(states, x)
        flat = target.flatten() if self.loss == "cross_entropy" else target.flatten(0, 1)
        m = algorithm.judge(self.loss, y.flatten(0, 1), flat, y.new_ones(())).view(*y.shape, -1)
        after = []
        for place in reversed(range(len(states))):
            rules = algorithm.of_layer(place, len(states))
            change, m = rules.learn(states[place], got[place], m, len(x), message=place > 0)
            after.append(rules.commit(states[place], change))
            if place:
                before = algorithm.of_layer(place - 1, len(states))
                m = before.respond(self.activation, gave[place - 1], m)
        return after[::-1]


class Shots(NamedTuple):
    """What learners are given.

    Attributes:
        x, target: minibatches, ``(steps, R, learners, ...)``.
        query_x, query: what they are judged by, ``(Q, learners, ...)``.
    """

    x: Tensor
    target: Tensor
    query_x: Tensor
    query: Tensor


def unroll(net: Net, algorithm: MPLP, states: States, shots: Shots) -> tuple[Tensor, Tensor, States]:
    """Losses on the queries before and after every step, ``(steps + 1, learners)``; last predictions; and states."""
    y = net.predict(states, shots.query_x)[0]
    losses = [net.losses(y, shots.query)]
    for x, target in zip(shots.x, shots.target, strict=True):
        states = net.step(algorithm, states, x, target)
        y = net.predict(states, shots.query_x)[0]
        losses.append(net.losses(y, shots.query))
    return torch.stack(losses), y, states


class Passing(Episode):
    """Learners of one minibatch of tasks, from their beginning to their last step.

    Args:
        net: what learns.
        make: the algorithm that has parameters.
        shots: theirs.
        unit: a loss of this is 1.
        seed: of initial weights.
    """

    segments = 1

    def __init__(self, net: Net, make: Maker, shots: Shots, unit: float, seed: int) -> None:
        self.net, self.make, self.shots, self.unit, self.seed = net, make, shots, unit, seed

    def fresh(self, V: Parameters) -> Sequence[Tensor]:
        """Nothing is carried."""
        return ()

    def run(self, V: Parameters, state: Sequence[Tensor], segment: int) -> tuple[Tensor, Sequence[Tensor]]:
        """Half of it the loss after the last step, half those before, of which later ones count more."""
        algorithm, states = self.make(V, self.shots.x.shape[2], self.seed)
        losses = unroll(self.net, algorithm, states, self.shots)[0]
        *before, last = losses[1:].mean(1) / self.unit
        if not before:
            return last, ()
        weights = torch.arange(1, len(before) + 1).to(last)
        return (last + (torch.stack(before) * weights).sum() / weights.sum()) / 2, ()


def recorded(algorithm: MPLP, net: Net, states: States, shots: Shots, steps: int = 2) -> dict[str, Tensor]:
    """V with statistics of what nodes are fed and give in the first minibatches."""
    found: Recording = {}
    first = shots._replace(x=shots.x[:steps], target=shots.target[:steps])
    with torch.no_grad():
        unroll(net, algorithm.recorder(found), states, first)
    return {**algorithm.V, **pooled(found)}
