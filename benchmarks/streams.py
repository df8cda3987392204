"""Learning from streams of single examples: VSML from scratch against optimizers with the best of many learning rates.

python benchmarks/streams.py --dataset digits --look 7x7 --streams 4     # without any download
python benchmarks/streams.py                                            # digits, MNIST and Fashion-MNIST, all looks

Every learner is a fresh layer of ten outputs, gets the same examples in the same order, and is judged by its prediction
of each before it learns from it. SGD and Adam step after every example or after 16, and the best of all learning rates
and both batch sizes is taken for every figure by that very figure: this favours them. The others have no choice.
Nearest class mean and 1-NN remember all examples so far. "Behind by": how far the first learner is ahead in accuracy,
with the standard error over streams.
"""

import argparse
import csv
import time
from collections.abc import Iterator
from itertools import pairwise, product
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from baselines import GRIDS, NearestMean
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from side_by_side import SideBySide
from torch import Tensor

from lightning_vsml import checkpoints, datasets
from lightning_vsml.algorithms.emergent import Emergent
from lightning_vsml.algorithms.options import Parser, Refused, count, folder
from lightning_vsml.lab.curves import Learner
from lightning_vsml.lab.networks import Dense, Network
from lightning_vsml.meta.sequences.learning import Learning, unroll
from lightning_vsml.meta.sequences.looks import Stream

WINDOWS = ((0, 10), (10, 50), (50, 200), (200, 1000), (1000, 2000), (2000, 5000))
LOOKS = ("7x7", "14x14", "28x28", "7x7 standardised", "14x14 standardised", "14x14 projected to 32")
CLASSES = 10


class Run(NamedTuple):
    """What one learner did: cross-entropy (NaN where it has none) and whether it was right, ``(steps, streams)``."""

    setting: str
    loss: Tensor
    right: Tensor


def parse() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument(
        "--algorithm", nargs="+", default=["vsml_scratch"], help="names, or paths of .safetensors files"
    )
    parser.add_argument("--dataset", nargs="+", choices=datasets.NAMES, default=["digits", "mnist", "fashion_mnist"])
    parser.add_argument("--look", nargs="+", choices=LOOKS, default=list(LOOKS))
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="holds MNIST/raw/*.gz, or gets them")
    parser.add_argument("--hidden", type=count, nargs="*", default=[], help="sizes of hidden layers (default none)")
    parser.add_argument("--steps", type=count, default=2000, help="examples of a stream (default 2000)")
    parser.add_argument("--streams", type=count, default=16, help="(default 16)")
    parser.add_argument("--neighbour", action="store_true", help="with 1-NN")
    parser.add_argument("--run-dir", type=folder, default=Path("logs") / "streams")
    options = parser.parse_args()
    parser.without_effect(options.dataset == ["digits"], "with --dataset digits", "--data-dir")
    return options


def main() -> None:
    options = parse()
    try:
        algorithms = [checkpoints.load(name, kind=Emergent) for name in options.algorithm]
        data = {name: datasets.load(name, options.data_dir) for name in options.dataset}
    except (ValueError, datasets.DatasetError) as error:
        raise Refused(Path(__file__).name, str(error)) from error
    options.run_dir.mkdir(parents=True, exist_ok=True)
    console, panels = Console(width=None if Console().is_terminal else 140), {}
    with open(options.run_dir / "streams.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["dataset", "look", "window", *Standing._fields])
        for dataset, look in product(data, options.look):
            stream = examples(data[dataset], look, options.streams, options.steps)
            if stream is None:
                continue
            began, title = time.perf_counter(), f"{dataset}, {look}" + "".join(f", {h}" for h in options.hidden)
            runs = dict(contenders(stream, algorithms, tuple(options.hidden), options.neighbour))
            rows = [(f"{a}-{b}", row) for a, b in WINDOWS if b <= len(stream.x) for row in figures(runs, a, b)]
            writer.writerows([dataset, look, window, *row] for window, row in rows)
            file.flush()
            console.print(table(title, rows))
            console.print(f"{time.perf_counter() - began:.0f} s")
            panels[title] = runs
            draw(panels).savefig(options.run_dir / "streams.png", dpi=110)
    console.print(f"wrote streams.csv, streams.png to {options.run_dir}")


def examples(images: datasets.Images, look: str, streams: int, steps: int) -> Stream | None:
    """Training images in a random order for each stream, none twice; ``None`` if they are not of that look's size."""
    x, side = images.x, int(look.split("x")[0])
    if x.shape[-1] == 8:  # digits have a size of their own
        if look not in ("7x7", "7x7 standardised"):
            return None
    else:
        x = F.avg_pool2d(x, x.shape[-1] // side)
    x, draw = x.flatten(1), torch.Generator().manual_seed(20_011)
    if look.endswith("standardised"):
        x = (x - x.mean()) / x.std()
    if look.endswith("32"):
        x = x @ (torch.randn(x.shape[1], 32, generator=draw) / side)
    steps = min(steps, len(x))
    which = torch.stack([torch.randperm(len(x), generator=draw)[:steps] for _ in range(streams)], 1)
    return Stream(x[which], images.y[which])


def contenders(
    stream: Stream, algorithms: list[Emergent], hidden: tuple[int, ...], neighbour: bool
) -> Iterator[tuple[str, list[Run]]]:
    """Each learner with all its settings."""
    sizes = (stream.x.shape[2], *hidden, CLASSES)
    for algorithm in algorithms:
        with torch.no_grad():
            fresh = Learning(stream, sizes, len(stream.x), 1, 0).fresh(algorithm.cell._asdict())
            yield algorithm.name, [Run("as it is", *unroll(algorithm, fresh, stream)[:2])]
    network = Network(tuple(Dense(size) for size in sizes[1:]), torch.relu)
    weights = network.initial(stream.x.shape[2:], range(stream.x.shape[1]))
    for name in ("SGD", "Adam"):
        rates, runs = GRIDS[name].rates, []
        for batch in (1, 16):
            loss, right = judged(SideBySide(weights, network, rates, name == "Adam"), stream, batch)
            runs += [Run(f"lr {lr:g}, batch {batch}", loss[:, r], right[:, r]) for r, lr in enumerate(rates)]
        yield name, runs
    if not hidden:
        _, right = judged(NearestMean(weights, network), stream, 1)
        yield "nearest mean", [Run("", torch.full_like(right[:, 0], torch.nan), right[:, 0])]
    if neighbour:
        yield "1-NN", [nearest(stream)]


def judged(learner: Learner, stream: Stream, batch: int) -> tuple[Tensor, Tensor]:
    """Cross-entropy of predictions and whether they were right, ``(steps, settings, streams)``."""
    losses, right = [], []
    for x, y in zip(stream.x.split(batch), stream.y.split(batch), strict=True):
        logits = learner.step(x, y)
        logits = logits if logits.dim() == 4 else logits.unsqueeze(1)
        labels = y.unsqueeze(1).expand(logits.shape[:-1])
        losses.append(F.cross_entropy(logits.flatten(0, 2), labels.flatten(), reduction="none").view(labels.shape))
        right.append((logits.argmax(-1) == labels).float())
    return torch.cat(losses), torch.cat(right)


def nearest(stream: Stream) -> Run:
    """The label of the nearest example before; of none, the first."""
    right = torch.zeros(stream.y.shape)
    for column in range(stream.x.shape[1]):
        x, y = stream.x[:, column], stream.y[:, column]
        distances = torch.cdist(x, x).masked_fill(torch.ones(len(x), len(x)).triu().bool(), torch.inf)
        guess = y[distances.argmin(1)]
        guess[0] = 0
        right[:, column] = (guess == y).float()
    return Run("", torch.full_like(right, torch.nan), right)


class Standing(NamedTuple):
    """A learner in a window of examples: its best accuracy and loss, by which setting, and how far the first learner is
    ahead in accuracy, paired over streams, with the standard error.
    """

    learner: str
    accuracy: float
    accuracy_setting: str
    ahead: float
    ahead_error: float
    loss: float
    loss_setting: str


def figures(runs: dict[str, list[Run]], first: int, last: int) -> Iterator[Standing]:
    """All learners in a window; the first is the one that others are compared with."""
    reference: Tensor | None = None
    for name, settings in runs.items():
        right = [run.right[first:last].mean(0) for run in settings]
        loss = [run.loss[first:last].mean().item() for run in settings]
        best = max(range(len(right)), key=lambda r: right[r].mean().item())
        least = min(range(len(loss)), key=lambda r: loss[r] if loss[r] == loss[r] else float("inf"))
        reference = right[best] if reference is None else reference
        ahead = reference - right[best]
        error = (ahead.std() / len(ahead) ** 0.5).item() if len(ahead) > 1 else float("nan")
        yield Standing(
            name, right[best].mean().item(), settings[best].setting, ahead.mean().item(), error, loss[least],
            settings[least].setting,
        )  # fmt: skip


def table(title: str, rows: list[tuple[str, Standing]]) -> Table:
    shown = Table("examples", "learner", "accuracy, %", "by", "behind by", "cross-entropy", "by", title=title)
    for (window, row), following in zip(rows, [*rows[1:], None], strict=True):
        behind = f"{100 * row.ahead:+.1f} ± {100 * row.ahead_error:.1f}" if row.ahead_error > 0 else ""
        loss = f"{row.loss:.3f}" if row.loss == row.loss else ""
        accuracy = f"{100 * row.accuracy:.1f}"
        shown.add_row(window, row.learner, accuracy, row.accuracy_setting, behind, loss, row.loss_setting)
        if following and following[0] != window:
            shown.add_section()
    return shown


def draw(panels: dict[str, dict[str, list[Run]]]) -> Figure:
    """Accuracy along streams; of tuned learners the one that is best over the whole stream."""
    columns = min(3, len(panels))
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(1 + 4.2 * columns, 0.8 + 3.2 * lines), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False).flatten()
    styles = {"SGD": ("black", "--"), "Adam": ("black", ":"), "nearest mean": ("0.6", "-."), "1-NN": ("0.7", "-")}
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    for axis, (title, runs) in zip(axes, panels.items(), strict=False):
        for name, settings in runs.items():
            best = max(settings, key=lambda run: run.right.mean().item()).right.mean(1)
            edges = torch.unique(torch.logspace(0.7, torch.tensor(float(len(best))).log10(), 22).long())
            pieces = list(pairwise([0, *edges.tolist()]))
            x, y = [(a + b) / 2 for a, b in pieces], [best[a:b].mean() for a, b in pieces]
            colour, dashes = styles.get(name, ("tab:orange", "-"))
            axis.plot(x, y, color=colour, linestyle=dashes, label=name, linewidth=2 if name not in styles else 1.3)
        axis.set(title=title, xscale="log", ylim=(0, 1))
        axis.grid(alpha=0.3)
    axes[0].legend(frameon=False)
    figure.supxlabel("example")
    figure.supylabel("online accuracy")
    return figure


if __name__ == "__main__":
    main()
