"""Learning curves of multilayer perceptrons, many seeds at once.

The K networks of K seeds are K groups of every synapse grid, so a learning algorithm runs them as one batch; torch's
optimizers, for comparison, run them as batched matrix products. The arithmetic is that of a fit, without a Trainer.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad

from lightning_vsml.algorithm import LearningAlgorithm
from lightning_vsml.datasets import Images
from lightning_vsml.ticks import State

Activation = Callable[[Tensor], Tensor]
Weights = list[Tensor]  # of each layer (K, A, B), with the bias as last of the A rows

COLOURS = {"constructed": "tab:green", "cloned": "tab:blue", "meta-learned": "tab:orange"}  # of lines, by a card's kind


class Curves(NamedTuple):
    """What was measured.

    Attributes:
        steps: after which steps there was a test.
        accuracy: on the test set, from 0 to 1, ``(len(steps), K)``.
        online: on each batch before learning from it, from 0 to 1, ``(all steps, K)``.
        weights: at the end.
    """

    steps: tuple[int, ...]
    accuracy: Tensor
    online: Tensor
    weights: Weights


class Learner(ABC):
    """K networks that learn.

    Args:
        weights: where they start.
        activation: between layers.
    """

    def __init__(self, weights: Weights, activation: Activation) -> None:
        self.activation = activation

    @abstractmethod
    def step(self, x: Tensor, y: Tensor) -> Tensor:
        """Learn from inputs (S, K, A) and labels (S, K); returns the logits from before, (S, K, classes)."""

    @abstractmethod
    def weights(self) -> Weights:
        """The weights now."""


class ByAlgorithm(Learner):
    """Learns by a learning algorithm; ``lr`` as in :class:`~lightning_vsml.VSMLLearner`."""

    def __init__(
        self, weights: Weights, activation: Activation, algorithm: LearningAlgorithm, lr: float | None = None
    ) -> None:
        super().__init__(weights, activation)
        self.algorithm, self.gain = algorithm, (algorithm.lr if lr is None else lr) / algorithm.lr
        self.states: list[State] = [algorithm.encode(layer) for layer in weights]

    def step(self, x: Tensor, y: Tensor) -> Tensor:
        algorithm, S, inputs, leaves = self.algorithm, len(x), [], []
        for state in self.states:  # forward: each layer's output is a leaf, what lies between layers is glue
            inputs.append(with_bias(x))
            with torch.no_grad():
                leaf = algorithm.forward(state, inputs[-1].detach())
            leaves.append(leaf.requires_grad_())
            x = self.activation(leaf)
        (g,) = torch.autograd.grad(loss(leaves[-1], y), leaves[-1])
        for layer in reversed(range(len(leaves))):
            with torch.no_grad():
                change, message = algorithm.learn(self.states[layer], inputs[layer].detach(), -S * self.gain * g, S)
                self.states[layer] = algorithm.commit(self.states[layer], change)
            if layer:
                (g,) = torch.autograd.grad(inputs[layer], leaves[layer - 1], message / (-S * self.gain))
        return leaves[-1].detach()

    def weights(self) -> Weights:
        return [self.algorithm.decode(state) for state in self.states]


class ByOptimizer(Learner):
    """Learns by an optimizer of torch, which gets ``settings``."""

    def __init__(
        self, weights: Weights, activation: Activation, optimizer: type[torch.optim.Optimizer], **settings: float
    ) -> None:
        super().__init__(weights, activation)
        self.parameters = [nn.Parameter(layer.clone()) for layer in weights]
        self.optimizer = optimizer(self.parameters, **settings)  # type: ignore[arg-type]

    def step(self, x: Tensor, y: Tensor) -> Tensor:
        logits = outputs(self.parameters, x, self.activation)
        self.optimizer.zero_grad()
        loss(logits, y).backward()
        self.optimizer.step()
        return logits.detach()

    def weights(self) -> Weights:
        return [parameter.detach() for parameter in self.parameters]


def learning_curves(
    learner: Callable[[Weights, Activation], Learner],
    data: Images,
    hidden: Sequence[int] = (),
    *,
    steps: int,
    batch: int = 64,
    seeds: Sequence[int] = range(10),
    at: Sequence[int] = (),
    activation: Activation = torch.tanh,
    device: torch.device | str = "cpu",
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> Curves:
    """Test accuracy over learning steps, for several seeds at once.

    Args:
        learner: bound to networks by this function, as ``partial(ByAlgorithm, algorithm=...)``.
        data: images in [0, 1] and labels.
        hidden: sizes of hidden layers.
        steps: how many; batches are drawn with replacement, each seed its own.
        batch: S.
        seeds: of initialisation and batches, whatever the learner.
        at: steps after which to test; the last one always.
        activation: between layers.
        device: where it runs; data and weights go there.
        progress: goes through the steps, for a progress bar.
    """
    x, x_test = data.x.flatten(1).to(device), data.x_test.flatten(1).to(device)
    y, y_test = data.y.to(device), data.y_test.to(device)
    sizes = (x.shape[1], *hidden, int(data.y.max()) + 1)
    running = learner([layer.to(device) for layer in initial(sizes, seeds)], activation)
    tested = tuple(sorted({step for step in at if 0 < step < steps} | {steps}))
    accuracy = []
    online = torch.zeros(steps, len(seeds))  # one tensor: small ones that stay would split the heap
    for step, chosen in progress(enumerate(batches(len(x), batch, steps, seeds), start=1)):
        chosen = chosen.to(device)
        logits = running.step(x[chosen], y[chosen])
        online[step - 1] = (logits.argmax(-1) == y[chosen]).float().mean(0)
        if step in tested:
            right = outputs(running.weights(), x_test.unsqueeze(1), activation).argmax(-1) == y_test.unsqueeze(1)
            accuracy.append(right.float().mean(0))
    return Curves(tested, torch.stack(accuracy).cpu(), online, running.weights())


def initial(sizes: Sequence[int], seeds: Sequence[int]) -> Weights:
    """As torch initialises ``nn.Linear``, each network from a seed of its own."""
    networks = []
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        for seed in seeds:
            torch.manual_seed(seed)
            linears = [nn.Linear(a, b) for a, b in pairwise(sizes)]
            networks.append([torch.cat([linear.weight.T, linear.bias.unsqueeze(0)]) for linear in linears])
    return [torch.stack(layers) for layers in zip(*networks, strict=True)]


def outputs(weights: Sequence[Tensor], x: Tensor, activation: Activation) -> Tensor:
    """Logits of plain networks: ``x`` (S, K or 1, inputs) -> ``(S, K, classes)``."""
    for place, layer in enumerate(weights):  # einsum makes one matrix product of an x that all share
        x = torch.einsum("ska,kab->skb", activation(x) if place else x, layer[:, :-1]) + layer[:, -1]
    return x


def with_bias(x: Tensor) -> Tensor:
    """Inputs of a grid: the last row of weights is fed with 1."""
    return pad(x, (0, 1), value=1.0)


def loss(logits: Tensor, y: Tensor) -> Tensor:
    """Sum over networks of their mean cross-entropies, so that each learns as if alone."""
    return cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="sum") / len(logits)


def logarithmic(steps: int, points: int = 25) -> tuple[int, ...]:
    """Steps at which to test, evenly spread on a logarithmic axis."""
    return tuple(sorted({round(steps ** (place / (points - 1))) for place in range(points)}))


def batches(n: int, batch: int, steps: int, seeds: Sequence[int]) -> Iterator[Tensor]:
    """Indices of examples, ``(batch, K)``; each seed goes its own way."""
    generators = [torch.Generator().manual_seed(10_000 + seed) for seed in seeds]
    for _ in range(steps):
        yield torch.stack([torch.randint(n, (batch,), generator=generator) for generator in generators], dim=1)
