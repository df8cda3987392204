"""Tasks for benchmarks alone: images, tables, texts, regressions, of networks of several kinds.

No search judges by them. Images of digits were among the tasks that the coordinates of ``adaptive`` were found on, and
what these tasks showed pointed at its power of depth (docs/adaptive.md).

Fashion-MNIST comes from a data directory; tables are scikit-learn's; the text is the docstrings of Python's standard
library. Networks start as torch initialises them, and batches are drawn with replacement, both from a seed.
"""

import ast
import importlib.util
import re
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, gelu

from lightning_vsml import datasets
from lightning_vsml.lab.curves import batches
from lightning_vsml.lab.ensembles import Judge, binary, classification, regression

Data = tuple[Tensor, Tensor]  # inputs and targets, of all examples

MODULES = (  # of the standard library, whose docstrings are the text
    *("argparse", "ast", "bisect", "calendar", "codecs", "collections", "configparser", "contextlib", "copy", "csv"),
    *("dataclasses", "difflib", "doctest", "enum", "fractions", "ftplib", "functools", "gettext", "heapq", "inspect"),
    *("ipaddress", "logging", "mailbox", "optparse", "pathlib", "pickletools", "pprint", "queue", "random", "shutil"),
    *("smtplib", "statistics", "string", "subprocess", "tarfile", "tempfile", "textwrap", "threading", "tokenize"),
    *("turtle", "typing", "urllib.request", "uuid", "zipfile"),
)
ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789 .,:;!?'\"()[]{}<>=+-*/_#"


class Task(NamedTuple):
    """Something to learn.

    Attributes:
        name: what is learned, and by which network.
        family: images, tabular, text, regression or autoencoder.
        build: makes the network.
        load: gets the data; its argument is the directory of data sets.
        judge: loss and accuracy.
        batch: examples at a time.
        reach: factor of the learning rates to choose from, for optimizers whose steps have no scale of the loss's own
            (Adam): that of the targets, where they are in natural units.
    """

    name: str
    family: str
    build: Callable[[], nn.Module]
    load: Callable[[Path], Data]
    judge: Judge
    batch: int
    reach: float = 1.0

    def module(self, seed: int) -> nn.Module:
        """The network before learning."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.build()

    def batches(self, data: Data, seed: int, steps: int) -> Iterator[Data]:
        """The same for every learner."""
        x, y = data
        for chosen in batches(len(x), self.batch, steps, [seed]):
            yield x[chosen[:, 0]], y[chosen[:, 0]]


# --- networks


def mlp(*sizes: int) -> nn.Sequential:
    """Fully connected, ReLU between layers."""
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def cnn(norm: bool) -> nn.Module:
    """1-8-16 channels on images of 28 x 28, 3 x 3 with stride 2, with or without batch norm."""
    layers: list[nn.Module] = []
    for inputs, outputs in ((1, 8), (8, 16)):
        layers.append(nn.Conv2d(inputs, outputs, 3, 2, 1))
        layers += [nn.BatchNorm2d(outputs, track_running_stats=False)] if norm else []
        layers.append(nn.ReLU())
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(784, 10))


def characters(context: int = 8, width: int = 16, hidden: int = 64) -> nn.Module:
    """Predicts the next character from those before it, by their vectors."""
    vocabulary = len(ALPHABET)
    return nn.Sequential(nn.Embedding(vocabulary, width), *mlp(context * width, hidden, vocabulary))


class Block(nn.Module):
    """Causal self-attention and a perceptron, each normalised and around what passes by."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.queries, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.queries(self.before(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        later = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        scores = (q @ k.mT / q.shape[-1] ** 0.5).masked_fill(later, -torch.inf)
        x = x + self.out((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))
        return x + self.down(gelu(self.up(self.between(x))))


class Transformer(nn.Module):
    """Predicts every next character; two layers, learned positions."""

    def __init__(self, context: int = 32, width: int = 32, heads: int = 2) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(ALPHABET), width)
        self.positions = nn.Parameter(0.02 * torch.randn(context, width))
        self.blocks = nn.Sequential(Block(width, heads), Block(width, heads))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, len(ALPHABET))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(self.embedding(x) + self.positions)))


# --- data


@lru_cache
def fashion(data_dir: Path) -> Data:
    """In [0, 1]."""
    images = datasets.load("fashion_mnist", data_dir)
    return images.x, images.y


@lru_cache
def standardised_fashion(data_dir: Path) -> Data:
    """By one mean and one standard deviation."""
    x, y = fashion(data_dir)
    return (x - x.mean()) / x.std(), y


@lru_cache
def small_fashion(data_dir: Path) -> Data:
    """Images of 14 x 14, which are their own targets."""
    x = adaptive_avg_pool2d(fashion(data_dir)[0], 14).flatten(1)
    return x, x


FROM_DIRECTORY = (fashion, standardised_fashion, small_fashion)  # what is not there without a data directory


def table(_: Path, *, name: str, standardise: bool = True, one: bool = False) -> Data:
    """A data set of scikit-learn, by feature of mean 0 and deviation 1, or as it is; ``one``: targets of one logit."""
    from sklearn import datasets as sklearn

    x, y = (torch.from_numpy(part) for part in getattr(sklearn, f"load_{name}")(return_X_y=True))
    x = (x - x.mean(0)) / x.std(0).clamp(min=1e-6) if standardise else x
    return x.float(), y.float().unsqueeze(1) if one else y.long()


def diabetes(_: Path, *, standardise: bool) -> Data:
    """Inputs as they ship; targets of mean 0 and deviation 1, or as they are: 25 to 346."""
    from sklearn.datasets import load_diabetes

    x, y = (torch.from_numpy(part) for part in load_diabetes(return_X_y=True))
    y = (y - y.mean()) / y.std() if standardise else y
    return x.float(), y.float().unsqueeze(1)


@lru_cache
def text() -> Tensor:
    """Characters of the docstrings of :data:`MODULES`, as places in :data:`ALPHABET`."""
    found = []
    for name in MODULES:
        spec = importlib.util.find_spec(name)
        if spec and spec.origin and spec.origin.endswith(".py"):
            tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
            documented = ast.Module | ast.ClassDef | ast.FunctionDef
            found += [ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, documented)]
    plain = re.sub(r"\s+", " ", " ".join(found).lower())
    place = {character: place for place, character in enumerate(ALPHABET)}
    return torch.tensor([place[character] for character in plain if character in place])


def windows(_: Path, *, context: int, every: bool) -> Data:
    """Pieces of the text, and the character that follows, or every one that follows another."""
    pieces = text().unfold(0, context + 1, 1)
    return pieces[:, :-1], pieces[:, 1:] if every else pieces[:, -1]


# --- tasks


def _images() -> Iterator[Task]:
    for look, load in (("raw", fashion), ("standardised", standardised_fashion)):
        for sizes in ((784, 10), (784, 64, 32, 10)):
            network = "-".join(map(str, sizes))
            yield Task(f"Fashion-MNIST {look}, {network}", "images", partial(mlp, *sizes), load, classification, 16)
    share = (standardised_fashion, classification)
    yield Task("Fashion-MNIST standardised, 784-64-32-10, 64", "images", partial(mlp, 784, 64, 32, 10), *share, 64)
    yield Task("Fashion-MNIST standardised, CNN", "images", partial(cnn, False), *share, 16)
    yield Task("Fashion-MNIST standardised, CNN with batch norm", "images", partial(cnn, True), *share, 16)
    yield Task("Fashion-MNIST standardised, CNN with batch norm, 64", "images", partial(cnn, True), *share, 64)
    build = partial(mlp, 196, 32, 196)
    yield Task("Fashion-MNIST 14 x 14, autoencoder 196-32-196", "autoencoder", build, small_fashion, regression, 16)


def _tables() -> Iterator[Task]:
    for name, sizes, batch in (
        ("wine", (13, 16, 3), 8),
        ("breast_cancer", (30, 16, 2), 8),
        ("digits", (64, 32, 10), 16),
        ("digits", (64, 10), 64),
        ("iris", (4, 8, 3), 8),
    ):
        network = "-".join(map(str, sizes)) + (", 64" if batch == 64 else "")
        load = partial(table, name=name)
        title = f"{name.replace('_', ' ')}, {network}"
        yield Task(title, "tabular", partial(mlp, *sizes), load, classification, batch)
    load = partial(table, name="wine", standardise=False)
    yield Task("wine raw, 13-16-3", "tabular", partial(mlp, 13, 16, 3), load, classification, 8)
    load = partial(table, name="breast_cancer", one=True)
    yield Task("breast cancer, one logit, 30-1", "tabular", partial(mlp, 30, 1), load, binary, 8)
    for units, reach in (("standardised", 1.0), ("raw", 64.0)):
        load = partial(diabetes, standardise=units == "standardised")
        title = f"diabetes, targets {units}, 10-16-1"
        yield Task(title, "regression", partial(mlp, 10, 16, 1), load, regression, 8, reach)


def _texts() -> Iterator[Task]:
    load = partial(windows, context=8, every=False)
    yield Task("docstrings, 8 characters, MLP", "text", characters, load, classification, 16)
    load = partial(windows, context=32, every=True)
    yield Task("docstrings, 32 characters, transformer", "text", Transformer, load, classification, 16)


TASKS = {task.name: task for task in (*_images(), *_tables(), *_texts())}
