"""A stream of single examples, each predicted before it is learned from: how many of the predictions are right so far.

python examples/online_learning.py                # states in which there is no weight to read, beside SGD and Adam
"""

from lightning_vsml.algorithms.options import Parser

if __name__ == "__main__":  # before torch is imported, so that --help and mistakes are answered at once
    parser = Parser(__doc__)
    parser.add_argument("--algorithm", default="vsml_scratch", help="name or path (default vsml_scratch)")
    parser.add_count("--examples", 1000, "of the stream, none twice")
    parser.add_seed()
    parser.add_run_dir("online_learning")
    options = parser.parse_args()

import argparse
from collections.abc import Iterator

import torch
from common import save, until_stopped
from matplotlib.figure import Figure
from rich import get_console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn

from lightning_vsml import attach, checkpoints, datasets

RATES = {"SGD": (0.01, 0.1, 1.0), "Adam": (0.001, 0.01, 0.1)}


def stream(x: Tensor, y: Tensor, name: str, lr: float | None, seed: int) -> Iterator[bool]:
    """Predict, be told, learn: whether each prediction was right."""
    torch.manual_seed(seed)
    net = nn.Linear(x.shape[1], 10)
    learner = attach(net, name) if lr is None else getattr(torch.optim, name)(net.parameters(), lr=lr)
    for example, label in zip(x.split(1), y.split(1), strict=True):
        logits = net(example)
        yield bool(logits.argmax() == label)
        nn.functional.cross_entropy(logits, label).backward()
        learner.step()
        learner.zero_grad()


def main(options: argparse.Namespace, parser: Parser) -> None:
    with parser.refusing(datasets.DatasetError):
        name, data = checkpoints.load(options.algorithm).name, datasets.load("digits")
        attach(nn.Linear(64, 10), options.algorithm).detach()
    parser.at_most("--examples", options.examples, len(data.x), "the training examples")
    order = torch.randperm(len(data.x), generator=torch.Generator().manual_seed(options.seed))[: options.examples]
    x, y = data.x[order].flatten(1), data.y[order]
    learners = [(options.algorithm, None), *((kind, lr) for kind, rates in RATES.items() for lr in rates)]
    right: dict[str, list[bool]] = {name if lr is None else f"{who}, lr {lr:g}": [] for who, lr in learners}
    with until_stopped():
        for (who, lr), (title, line) in zip(learners, right.items(), strict=True):
            for hit in track(stream(x, y, who, lr, options.seed), title, total=len(x)):
                line.append(hit)

    figure = Figure(figsize=(7, 4), layout="constrained")
    axis = figure.subplots()
    parts = [(a, b) for a, b in ((0, 50), (50, 200), (200, 500), (500, 1000), (1000, 1437)) if a < len(x)]
    table = Table("learner", *(f"{a}-{min(b, len(x))}" for a, b in parts), "all", title="right before learning, %")
    for title, line in right.items():
        hits = torch.tensor(line, dtype=torch.float)
        axis.plot(hits.cumsum(0) / torch.arange(1, len(hits) + 1), label=title, linewidth=2 if title == name else 1)
        means = [hits[a:b].mean() for a, b in parts] + [hits.mean()]
        table.add_row(title, *(f"{100 * mean:.1f}" for mean in means))
    axis.set(xlabel="example", ylabel="right so far (prequential accuracy)")
    axis.legend()
    get_console().print(table)
    save(figure, options.run_dir / "online_learning.png")


if __name__ == "__main__":
    main(options, parser)
