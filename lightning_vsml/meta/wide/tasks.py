"""A distribution of tasks as wide as use is: in data, targets, networks, batches, scales.

Task number n is the same whoever asks for it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from lightning_vsml.lab.datasets import Images
from lightning_vsml.lab.ensembles import Judge, binary, classification, regression
from lightning_vsml.meta.draw import Draw
from lightning_vsml.meta.looks import LOOKS
from lightning_vsml.meta.wide.families import FAMILIES, Problem, Ranges, numbers, text
from lightning_vsml.meta.wide.models import ACTIVATIONS, CharacterMLP, Transformer, cnn, mlp

SHARES = {
    "images": 0.4,
    "clusters": 0.07,
    "teacher": 0.07,
    "sparse": 0.07,
    "many": 0.03,
    "categories": 0.05,
    "regression": 0.08,
    "table": 0.12,
    "text": 0.11,
}
DEPTHS = (0, 0, 1, 1, 1, 2, 2, 3, 4)  # of MLPs, hidden layers
BATCHES = (8, 16, 32, 64)
CHANNELS = ((8,), (4, 8), (6, 12), (8, 16))
SMALL = 14  # height of images that are for convolutions and autoencoders


class Task(NamedTuple):
    """A problem, a network, and the batches it sees.

    Attributes:
        name: what it is, in words.
        make: the network, with initial weights from torch's generator.
        x, y: the examples, ``(n, ...)`` each.
        judge: loss and metric of outputs and targets.
        batch: S.
        seed: of initial weights and batches.
        blocks: whether 20 batches at a time are from a tenth of the examples.
        factor: initial weights of the first layer are over this.
    """

    name: str
    make: Callable[[], nn.Module]
    x: Tensor
    y: Tensor
    judge: Judge
    batch: int
    seed: int
    blocks: bool = False
    factor: float = 1.0

    def module(self) -> nn.Module:
        """The network as it begins."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            made = self.make()
        if self.factor != 1.0:
            first = next(layer for layer in made.modules() if isinstance(layer, nn.Linear | nn.Conv2d))
            with torch.no_grad():
                first.weight /= self.factor
        return made

    def batches(self, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs and targets of each step."""
        generator, n = torch.Generator().manual_seed(self.seed * 1_000_003 + 7), len(self.x)
        tenth = max(1, n // 10) if self.blocks else n
        for step in range(steps):
            first = step // 20 * tenth % (n - tenth + 1)
            chosen = first + torch.randint(tenth, (self.batch,), generator=generator)
            yield self.x[chosen], self.y[chosen]


@dataclass(frozen=True)
class Distribution:
    """Tasks by number.

    Args:
        datasets: image data sets, see :mod:`lightning_vsml.lab.datasets`; without any there are no images.
        shares: of families, which need not add up to 1: ``images``, ``text``, or of
            :data:`~lightning_vsml.meta.wide.families.FAMILIES`.
        sizes: height and width of images.
        widths: range of hidden layers' outputs, log-uniform.
        batch: range of batch sizes.
        scale: range of a factor of inputs, log-uniform.
        factors: range of a factor of inputs whose weights are divided by it, log-uniform.
        targets: range of the size of a regression's targets, log-uniform.
        classes: the most there are.
        examples: of a task.

    Raises:
        ValueError: an unknown name, an empty range, or a number out of its range.
    """

    datasets: Sequence[str] = ("mnist",)
    shares: dict[str, float] = field(default_factory=lambda: dict(SHARES))
    sizes: Sequence[int] = (7, 10, 14, 14, 20, 28)
    widths: tuple[int, int] = (8, 128)
    batch: tuple[int, int] = (1, 256)
    scale: tuple[float, float] = (0.25, 4.0)
    factors: tuple[float, float] = (0.01, 100.0)
    targets: tuple[float, float] = (0.01, 100.0)
    classes: int = 20
    examples: int = 4000

    def __post_init__(self) -> None:
        if unknown := set(self.shares) - {"images", "text", *FAMILIES}:
            known = ", ".join(("images", "text", *FAMILIES))
            raise ValueError(f"shares should be of {known}, got {', '.join(sorted(unknown))}.")
        if min(self.shares.values(), default=0.0) < 0 or not sum(self._shares.values()):
            raise ValueError(
                f"shares should be from 0, of something that is there (images need datasets), got {self.shares}."
            )
        if not self.sizes or min(self.sizes) < 3:
            given = ", ".join(map(str, self.sizes)) or "none"
            raise ValueError(f"sizes should be heights and widths of images from 3, got {given}.")
        for what, value, least in (("classes", self.classes, 2), ("examples", self.examples, 20)):
            if value < least:
                raise ValueError(f"{what} should be at least {least}, got {value}.")
        for what in ("widths", "batch", "scale", "factors", "targets"):
            low, high = getattr(self, what)
            if not 0 < low <= high:
                raise ValueError(f"{what} should be a range from small to large, got {low} to {high}.")

    @property
    def images(self) -> tuple[str, ...]:
        """The data sets that have to be loaded."""
        return tuple(self.datasets) if self._shares.get("images") else ()

    @property
    def _shares(self) -> dict[str, float]:
        return {name: share for name, share in self.shares.items() if name != "images" or self.datasets}

    def sample(self, number: int, images: Mapping[str, Images], seed: int = 0) -> Task:
        """Task ``number`` of the sequence ``seed``; ``images`` holds the data sets of :attr:`images`."""
        draw = Draw(torch.Generator().manual_seed(seed * 1_000_003 + number))
        names, shares = list(self._shares), torch.tensor(list(self._shares.values()))
        family = names[int(torch.multinomial(shares, 1, generator=draw.generator))]
        if family == "text":
            return self._text(draw)
        ranges = Ranges(self.examples, self.classes, self.targets)
        problem = self._image(draw, images, ranges) if family == "images" else FAMILIES[family](draw, ranges)
        return self._network(draw, problem)

    def _image(self, draw: Draw, images: Mapping[str, Images], ranges: Ranges) -> Problem:
        data = images[draw.one(self.datasets)]
        chosen = draw.permutation(len(data.x))[: self.examples]
        x, y, size = data.x[chosen], data.y[chosen], draw.one(self.sizes)
        if size < x.shape[-1]:
            x = interpolate(x, (size, size), mode="area")
        look = draw.one(("plain", "plain", "standardised", "standardised", "featured", "featured", "whitened", *LOOKS))
        x = {"featured": _featured, "whitened": _whitened}[look](x) if look not in LOOKS else LOOKS[look](draw, x)
        name, target = f"{data.name} {size} {look}", draw.uniform()
        if target < 0.12 and x[0].numel() <= SMALL**2:
            return Problem(f"{name} autoencoder", x, x.flatten(1), x[0].numel(), regression)
        if target < 0.2:
            labels = torch.stack([y % 2, y // 5, (y % 3 == 0).long()], -1).clamp(max=1).float()
            return Problem(f"{name} multilabel", x, labels, 3, binary)
        if target < 0.28:
            vectors = draw.normal(int(y.max()) + 1, draw.integer(2, 6))
            return numbers(draw, f"{name} numbers", x, vectors[y], ranges)
        if blocks := draw.uniform() < 0.06:
            order = y.argsort(stable=True)
            x, y, name = x[order], y[order], f"{name} blocks"
        return Problem(name, x, y, int(y.max()) + 1, classification, blocks)

    def _network(self, draw: Draw, problem: Problem) -> Task:
        x, outputs, activation = problem.x, problem.outputs, draw.one(tuple(ACTIVATIONS))
        batch = self._batch(round(draw.log_uniform(*self.batch)) if draw.uniform() < 0.5 else draw.one(BATCHES))
        scale = draw.log_uniform(*self.scale) if draw.uniform() < 0.5 else 1.0
        shift = draw.uniform(-1.0, 1.0) if draw.uniform() < 0.2 else 0.0
        factor = draw.log_uniform(*self.factors) if draw.uniform() < 0.15 else 1.0
        make: Callable[[], nn.Module]
        if x.dim() == 4 and x.shape[-1] <= SMALL and draw.uniform() < 0.3 and problem.judge is not regression:
            batch, channels = self._batch(min(max(batch, 4), 64)), draw.one(CHANNELS)
            normed = draw.one(("none", "none", "layer", "batch", "group"))
            make = partial(cnn, x.shape[1:], channels, outputs, activation, normed)
            network = f"cnn {'-'.join(map(str, channels))}"
        else:
            hidden = [round(draw.log_uniform(*self.widths)) for _ in range(draw.one(DEPTHS))]
            if outputs == x[0].numel() > 1 and problem.judge is regression:
                hidden = hidden or [self.widths[0]]
            normed = draw.one(("none", "none", "none", "layer", "batch"))
            normed = "none" if normed == "batch" and batch < 8 else normed
            sizes = (x[0].numel(), *hidden, outputs)
            make, network = partial(mlp, sizes, activation, normed), "-".join(map(str, sizes))
        network = f"{network} {activation} {normed}"
        words = f"{problem.name}, {network}, x{scale:.2g}{shift:+.1g} /{factor:.2g}, batch {batch}"
        x, y = (x * scale + shift) * factor, problem.y
        return Task(words, make, x, y, problem.judge, batch, draw.integer(0, 2**30), problem.blocks, factor)

    def _text(self, draw: Draw) -> Task:
        characters, context, width = draw.integer(8, 50), draw.one((4, 8, 12, 16)), draw.one((8, 16, 24))
        windows = text(draw, characters, self.examples + context).unfold(0, context + 1, 1)
        batch = self._batch(draw.one((4, 8, 16, 32)))
        make: Callable[[], nn.Module]
        if draw.uniform() < 0.5:
            make, network = partial(CharacterMLP, characters, width, context, draw.one((16, 32, 64))), "mlp"
            y = windows[:, -1]
        else:
            make, network = partial(Transformer, characters, width, context, draw.integer(1, 3)), "transformer"
            y = windows[:, 1:]
        words = f"text of {characters} characters, {network} {context}x{width}, batch {batch}"
        return Task(words, make, windows[:, :-1], y, classification, batch, draw.integer(0, 2**30))

    def _batch(self, batch: int) -> int:
        return min(max(batch, self.batch[0]), self.batch[1])


def _featured(x: Tensor) -> Tensor:
    """Each pixel standardised; those that hardly vary stay small."""
    return (x - x.mean(0)) / (x.std(0) + 0.05)


def _whitened(x: Tensor) -> Tensor:
    """Principal components that matter, of equal size; no image any more."""
    x = x.flatten(1) - x.flatten(1).mean(0)
    values, vectors = torch.linalg.eigh(x.T @ x / len(x))
    kept = values > 1e-3 * values[-1]
    return x @ vectors[:, kept] / values[kept].sqrt()
