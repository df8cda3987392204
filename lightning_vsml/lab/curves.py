"""Learning curves of small networks, many seeds at once.

The K networks of K seeds are K groups of every synapse grid, so a learning algorithm runs them as one batch; torch's
optimizers, for comparison, run them as batched matrix products. The arithmetic is that of a fit, without a Trainer.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lightning_vsml.algorithms.cellular import LearningAlgorithm
from lightning_vsml.lab.datasets import Images
from lightning_vsml.lab.networks import Activation, Conv, Dense, Network, Weights, learn, loss

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
        network: their architecture.
    """

    def __init__(self, weights: Weights, network: Network) -> None:
        self.network = network

    @abstractmethod
    def step(self, x: Tensor, y: Tensor) -> Tensor:
        """Learn from inputs (S, K, *shape) and labels (S, K); returns the logits from before, (S, K, classes)."""

    @abstractmethod
    def weights(self) -> Weights:
        """The weights now."""


class ByAlgorithm(Learner):
    """Learns by a learning algorithm; ``lr`` as in :class:`~lightning_vsml.VSMLLearner`."""

    def __init__(
        self, weights: Weights, network: Network, algorithm: LearningAlgorithm, lr: float | None = None
    ) -> None:
        super().__init__(weights, network)
        self.algorithm, self.gain = algorithm, (algorithm.lr if lr is None else lr) / algorithm.lr
        self.states: list[Tensor] = [algorithm.encode(layer) for layer in weights]

    def step(self, x: Tensor, y: Tensor) -> Tensor:
        self.states, logits = learn(self.algorithm, self.network, self.states, x, y, self.gain)
        return logits

    def weights(self) -> Weights:
        return [self.algorithm.decode(state) for state in self.states]


class ByOptimizer(Learner):
    """Learns by an optimizer of torch, which gets ``settings``."""

    def __init__(
        self, weights: Weights, network: Network, optimizer: type[torch.optim.Optimizer], **settings: float
    ) -> None:
        super().__init__(weights, network)
        self.parameters = [nn.Parameter(layer.clone()) for layer in weights]
        self.optimizer = optimizer(self.parameters, **settings)  # type: ignore[arg-type]

    def step(self, x: Tensor, y: Tensor) -> Tensor:
        logits = self.network.outputs(self.parameters, x)
        self.optimizer.zero_grad()
        loss(logits, y).backward()
        self.optimizer.step()
        return logits.detach()

    def weights(self) -> Weights:
        return [parameter.detach() for parameter in self.parameters]


def learning_curves(
    learner: Callable[[Weights, Network], Learner],
    data: Images,
    hidden: Sequence[int | Conv] = (),
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
        hidden: hidden layers: how many units, or convolutions.
        steps: how many; batches are drawn with replacement, each seed its own.
        batch: S.
        seeds: of initialisation and batches, whatever the learner.
        at: steps after which to test; the last one always.
        activation: between layers.
        device: where it runs; data and weights go there.
        progress: goes through the steps, for a progress bar.
    """
    x, x_test = data.x.to(device), data.x_test.to(device)
    y, y_test = data.y.to(device), data.y_test.to(device)
    layers = (*hidden, int(data.y.max()) + 1)
    network = Network(tuple(Dense(layer) if isinstance(layer, int) else layer for layer in layers), activation)
    running = learner([layer.to(device) for layer in network.initial(x.shape[1:], seeds)], network)
    tested = tuple(sorted({step for step in at if 0 < step < steps} | {steps}))
    accuracy = []
    online = torch.zeros(steps, len(seeds))  # one tensor: small ones that stay would split the heap
    for step, chosen in progress(enumerate(batches(len(x), batch, steps, seeds), start=1)):
        chosen = chosen.to(device)
        logits = running.step(x[chosen], y[chosen])
        online[step - 1] = (logits.argmax(-1) == y[chosen]).float().mean(0)
        if step in tested:
            right = network.outputs(running.weights(), x_test.unsqueeze(1)).argmax(-1) == y_test.unsqueeze(1)
            accuracy.append(right.float().mean(0))
    return Curves(tested, torch.stack(accuracy).cpu(), online, running.weights())


def logarithmic(steps: int, points: int = 25) -> tuple[int, ...]:
    """Steps at which to test, evenly spread on a logarithmic axis."""
    return tuple(sorted({round(steps ** (place / (points - 1))) for place in range(points)}))


def batches(n: int, batch: int, steps: int, seeds: Sequence[int]) -> Iterator[Tensor]:
    """Indices of examples, ``(batch, K)``; each seed goes its own way."""
    generators = [torch.Generator().manual_seed(10_000 + seed) for seed in seeds]
    for _ in range(steps):
        yield torch.stack([torch.randint(n, (batch,), generator=generator) for generator in generators], dim=1)
