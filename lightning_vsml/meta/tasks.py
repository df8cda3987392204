"""What a learning algorithm is judged on in meta-training: a seeded distribution of small classification problems.

Task number n is the same whoever asks for it. The distribution is wide where tasks of use differ: in what inputs look
like, in how many there are, in their scale, in the number of classes, and in the network that learns.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from lightning_vsml.lab.datasets import Images
from lightning_vsml.lab.networks import Conv, Dense, Network, Shape
from lightning_vsml.meta.draw import Draw
from lightning_vsml.meta.looks import LOOKS
from lightning_vsml.meta.synthetic import SYNTHETIC

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "gelu": torch.nn.functional.gelu,
}


class Task(NamedTuple):
    """A problem, a network, and the batches it sees.

    Attributes:
        name: what it is, in words.
        x, y: the examples, ``(n, *shape)`` and ``(n,)``.
        network: who learns.
        batch: S.
        seed: of initial weights and batches.
    """

    name: str
    x: Tensor
    y: Tensor
    network: Network
    batch: int
    seed: int

    @property
    def shape(self) -> Shape:
        """Of an input."""
        return tuple(self.x.shape[1:])

    def batches(self, steps: int, networks: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of steps ``start`` to ``start + steps``: x ``(S, networks, *shape)``, y ``(S, networks)``."""
        for step in range(start, start + steps):
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
            chosen = torch.randint(len(self.x), (self.batch, networks), generator=generator)
            yield self.x[chosen], self.y[chosen]


@dataclass(frozen=True)
class Tasks:
    """The distribution.

    Args:
        datasets: names of image data sets, of ``"clusters"``, ``"teacher"``, ``"sparse"``; one is drawn for each task.
        sizes: heights and widths of images.
        looks: what is done to images; one is drawn, see :data:`LOOKS`.
        plain: how often images stay as they are.
        scale: range of a factor of all inputs, log-uniform.
        classes: least number of classes; the most is what the data has.
        shallow, cnn: how often the network has no hidden layer, and convolutions; else it has one or two hidden layers.
        hidden: range of the units of a hidden layer.
        activations: between layers.
        batch: range of batch sizes, log-uniform.
        examples: of a task.

    Raises:
        ValueError: an unknown name, an empty range, or a number out of its range.
    """

    datasets: Sequence[str] = ("mnist",)
    sizes: Sequence[int] = (7, 10, 14, 28)
    looks: Sequence[str] = tuple(LOOKS)
    plain: float = 0.25
    scale: tuple[float, float] = (0.5, 2.0)
    classes: int = 5
    shallow: float = 0.4
    cnn: float = 0.1
    hidden: tuple[int, int] = (8, 64)
    activations: Sequence[str] = ("tanh", "relu")
    batch: tuple[int, int] = (8, 64)
    examples: int = 4000

    def __post_init__(self) -> None:
        for what, given, known in (
            ("looks", self.looks, tuple(LOOKS)),
            ("activations", self.activations, tuple(ACTIVATIONS)),
        ):
            if not given or set(given) - set(known):
                raise ValueError(f"{what} should be some of {', '.join(known)}, got {', '.join(given) or 'none'}.")
        if not self.datasets:
            raise ValueError(f"datasets should name image data sets, or some of {', '.join(SYNTHETIC)}; got none.")
        if not self.sizes or min(self.sizes) < 3:
            given = ", ".join(map(str, self.sizes)) or "none"
            raise ValueError(f"sizes should be heights and widths of images from 3, got {given}.")
        for what, value in {"classes": self.classes, "examples": self.examples}.items():
            if value < 2:
                raise ValueError(f"{what} should be at least 2, got {value}.")
        for what, share in {"plain": self.plain, "shallow": self.shallow, "cnn": self.cnn}.items():
            if not 0 <= share <= 1:
                raise ValueError(f"{what} should be a share from 0 to 1, got {share}.")
        for what, (low, high) in {"scale": self.scale, "hidden": self.hidden, "batch": self.batch}.items():
            if not 0 < low <= high:
                raise ValueError(f"{what} should be a range from small to large, got {low} to {high}.")

    @property
    def images(self) -> tuple[str, ...]:
        """The data sets that have to be loaded."""
        return tuple(name for name in self.datasets if name not in SYNTHETIC)

    def sample(self, number: int, images: Mapping[str, Images], seed: int = 0) -> Task:
        """Task ``number`` of the sequence ``seed``; ``images`` holds the data sets of :attr:`images`."""
        draw = Draw(torch.Generator().manual_seed(seed * 1_000_003 + number))
        source = draw.one(self.datasets)
        if source in SYNTHETIC:
            x, y, look = *SYNTHETIC[source](draw, self.examples), "synthetic"
        else:
            x, y = self._examples(draw, images[source])
            look = "plain" if draw.uniform() < self.plain else draw.one(self.looks)
            x = LOOKS[look](draw, x)
        scale = draw.log_uniform(*self.scale)
        network, name = self._network(draw, tuple(x.shape[1:]), int(y.max()) + 1)
        batch = round(draw.log_uniform(*self.batch))
        words = f"{source} {'x'.join(map(str, x.shape[1:]))} {look} x{scale:.2g}, {int(y.max()) + 1} classes, {name}"
        return Task(f"{words}, batch {batch}", scale * x, y, network, batch, draw.integer(0, 2**30))

    def _examples(self, draw: Draw, data: Images) -> tuple[Tensor, Tensor]:
        """Some examples of some classes, in another size; labels are drawn anew."""
        total = int(data.y.max()) + 1
        kept = draw.permutation(total)[: draw.integer(min(self.classes, total), total + 1)]
        label = torch.full((total,), -1)
        label[kept] = torch.arange(len(kept))
        chosen = draw.permutation(len(data.y))
        chosen = chosen[label[data.y[chosen]] >= 0][: self.examples]
        x, size = data.x[chosen], draw.one(self.sizes)
        return interpolate(x, (size, size), mode="area") if size < x.shape[-1] else x, label[data.y[chosen]]

    def _network(self, draw: Draw, shape: Shape, classes: int) -> tuple[Network, str]:
        activation, kind = draw.one(self.activations), draw.uniform()
        if kind < self.shallow:
            return Network((Dense(classes),)), "shallow"
        if kind > 1 - self.cnn and len(shape) == 3:
            channels = draw.integer(4, 9)
            layers: tuple[Dense | Conv, ...] = (Conv(channels), Conv(2 * channels), Dense(classes))
            return Network(layers, ACTIVATIONS[activation]), f"{activation} cnn {channels}-{2 * channels}"
        hidden = [round(draw.log_uniform(*self.hidden)) for _ in range(draw.integer(1, 3))]
        layers = (*(Dense(units) for units in hidden), Dense(classes))
        return Network(layers, ACTIVATIONS[activation]), f"{activation} {'-'.join(map(str, hidden))}"
