"""What learning algorithms are compared with: torch's optimizers over grids of learning rates, and mere memory.

Nearest mean is a learner of :mod:`lightning_vsml.lab.curves` like any other, since it is linear in x. The nearest
neighbour has no weights; it gets the same batches. (Examples are drawn with replacement; it knows those that return.)
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from lightning_vsml.lab.curves import ByOptimizer, Learner, batches
from lightning_vsml.lab.datasets import Images
from lightning_vsml.lab.networks import Network, Weights

ROWS = 512  # queries at a time, against all examples seen


class Grid(NamedTuple):
    """An optimizer and the learning rates to choose from."""

    learner: Callable[..., Learner]  # gets (weights, network, lr=)
    rates: tuple[float, ...]


def doubling(first: float, points: int = 10) -> tuple[float, ...]:
    """Learning rates a factor of two apart.

    >>> doubling(0.1, 3)
    (0.1, 0.2, 0.4)
    """
    return tuple(first * 2**power for power in range(points))


GRIDS = {
    "SGD": Grid(partial(ByOptimizer, optimizer=torch.optim.SGD), doubling(0.016)),  # to 8.192
    "momentum": Grid(partial(ByOptimizer, optimizer=torch.optim.SGD, momentum=0.9), doubling(0.0016)),  # to 0.8192
    "Adam": Grid(partial(ByOptimizer, optimizer=torch.optim.Adam), doubling(0.0004)),  # to 0.2048
}


class NearestMean(Learner):
    """The class with the nearest mean of all examples seen: argmin |x - mean|² = argmax x · mean - |mean|² / 2.

    Only shapes are taken from ``weights``, of one layer. Without examples of any class it says the first one.
    """

    def __init__(self, weights: Weights, network: Network) -> None:
        super().__init__(weights, network)
        (layer,) = weights
        self.sums, self.counts = torch.zeros_like(layer[:, :-1]), torch.zeros_like(layer[:, -1])  # (K, A, B), (K, B)

    def step(self, x: Tensor, y: Tensor) -> Tensor:
        x = x.flatten(2)
        logits = self.network.outputs(self.weights(), x)
        labels = one_hot(y, self.counts.shape[-1]).to(x)
        self.sums += torch.einsum("ska,skb->kab", x, labels)
        self.counts += labels.sum(0)
        return logits

    def weights(self) -> Weights:
        means = self.sums / self.counts.clamp(min=1).unsqueeze(1)
        bias = torch.where(self.counts > 0, -means.square().sum(1) / 2, -torch.inf)
        return [torch.cat([means, bias.unsqueeze(1)], dim=1)]


def nearest_neighbour(
    data: Images,
    *,
    steps: int,
    batch: int,
    seeds: Sequence[int],
    device: torch.device | str = "cpu",
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> Tensor:
    """Online accuracy by the label of the nearest example of all batches before, ``(steps, K)``.

    Batches are those of :func:`~lightning_vsml.lab.curves.learning_curves`; in the first one it says the first class.
    """
    x, y = data.x.flatten(1).to(device), data.y.to(device)
    rows = max(1, ROWS // batch) * batch  # whole batches
    online = []
    for seed in seeds:
        order = torch.cat([chosen[:, 0] for chosen in batches(len(x), batch, steps, [seed])]).to(device)
        seen, labels = x[order], y[order]
        offset = -seen.square().sum(1) / 2
        right = []
        for start in progress(range(0, len(order), rows)):
            stop = min(start + rows, len(order))
            closeness = torch.addmm(offset[:stop], seen[start:stop], seen[:stop].T)  # argmax of it is the nearest
            own = torch.arange(stop - start, device=device) // batch  # batch within these rows
            closeness[:, start:].masked_fill_(own >= own.unsqueeze(1), -torch.inf)  # own batch and later: not yet seen
            guess = labels[closeness.argmax(1)]
            if not start:
                guess[:batch] = 0
            right.append(guess == labels[start:stop])
        online.append(torch.cat(right).float().unflatten(0, (steps, batch)).mean(1))
    return torch.stack(online, dim=1).cpu()
