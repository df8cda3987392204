"""Small tables, as they are and standardised, by an algorithm without a learning rate, beside SGD and Adam.

python examples/tabular.py            # SGD and Adam at three rates each; their best one by the test counts
"""

from lightning_vsml.algorithms.options import Parser

if __name__ == "__main__":  # before torch is imported, so that --help and mistakes are answered at once
    parser = Parser(__doc__)
    parser.add_argument("--algorithm", default="adaptive", help="name or path of the algorithm (default adaptive)")
    parser.add_count("--hidden", 32, "units of the hidden layer")
    parser.add_count("--steps", 100)
    parser.add_count("--batch-size", 16)
    parser.add_seeds(1)
    parser.add_run_dir("tabular")
    options = parser.parse_args()

import argparse
import csv
import warnings
from collections.abc import Iterator
from itertools import product

import torch
from common import until_stopped
from rich import get_console
from rich.progress import track
from rich.table import Table
from sklearn import datasets
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

from lightning_vsml import attach, checkpoints

TABLES = ("iris", "wine", "breast_cancer", "digits")
RATES = (0.001, 0.01, 0.1)
Split = tuple[Tensor, Tensor, Tensor, Tensor]  # inputs and classes to learn from, and to test by


def load(name: str, standardised: bool, seed: int) -> Split:
    """A quarter is for the test; features are of mean 0 and deviation 1, if they are to be."""
    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    x, x_test, y, y_test = train_test_split(x, y, random_state=seed, stratify=y)
    if standardised:
        mean, std = x.mean(0), x.std(0).clip(1e-6)
        x, x_test = (x - mean) / std, (x_test - mean) / std
    return torch.tensor(x).float(), torch.tensor(y), torch.tensor(x_test).float(), torch.tensor(y_test)


def learners(algorithm: str) -> Iterator[tuple[str, float | None]]:
    yield algorithm, None
    yield from product(("SGD", "Adam"), RATES)


def accuracy(data: Split, name: str, lr: float | None, options: argparse.Namespace, seed: int) -> float:
    """Of the test's classes, after learning."""
    torch.manual_seed(seed)
    x, y, x_test, y_test = data
    layers = nn.Linear(x.shape[1], options.hidden), nn.ReLU(), nn.Linear(options.hidden, int(y.max()) + 1)
    net = nn.Sequential(*layers)
    learner = attach(net, name) if lr is None else getattr(torch.optim, name)(net.parameters(), lr=lr)
    for _ in range(options.steps):
        chosen = torch.randint(len(x), (options.batch_size,))
        nn.functional.cross_entropy(net(x[chosen]), y[chosen]).backward()
        learner.step()
        learner.zero_grad()
    return float((net(x_test).argmax(1) == y_test).float().mean())


def main(options: argparse.Namespace, parser: Parser) -> None:
    with parser.refusing():
        name = checkpoints.load(options.algorithm, kind=checkpoints.LearningAlgorithm).name
    smallest = min(len(load(table, False, 0)[0]) for table in TABLES)
    parser.at_most("--batch-size", options.batch_size, smallest, "the training examples of the smallest table")
    warnings.filterwarnings("ignore", ".*reach.*")  # raw features may lie beyond an algorithm's
    rows: list[tuple[str, str, dict[str, float]]] = []
    with until_stopped():
        for table, look in track(list(product(TABLES, ("raw", "standardised"))), "tables"):
            found: dict[str, float] = {}
            for who, lr in learners(options.algorithm):
                share = (load(table, look == "standardised", seed) for seed in range(options.seeds))
                scores = [accuracy(data, who, lr, options, seed) for seed, data in enumerate(share)]
                who = name if lr is None else who
                found[who] = max(found.get(who, 0.0), sum(scores) / len(scores))
            rows.append((table, look, found))

    shown = Table("table", "features", name, "best SGD", "best Adam", title="test accuracy, %")
    options.run_dir.mkdir(parents=True, exist_ok=True)
    with open(options.run_dir / "tabular.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["table", "features", name, "SGD", "Adam"])
        for table, look, found in rows:
            shown.add_row(table, look, *(f"{100 * score:.1f}" for score in found.values()))
            writer.writerow([table, look, *(f"{score:.4f}" for score in found.values())])
    get_console().print(shown)
    print(
        f"{options.steps} steps of {options.batch_size}, {options.seeds} seeds; wrote {options.run_dir / 'tabular.csv'}"
    )


if __name__ == "__main__":
    main(options, parser)
