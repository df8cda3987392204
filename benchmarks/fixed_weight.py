"""Table 1 and Figure 3 of Younger, Hochreiter and Conwell (2001): learners that change no weight.

python benchmarks/fixed_weight.py

Functions are drawn apart from those of meta-training, 1024 streams of a function each. A learner is judged over the
whole sequence of the paper's length, from its first example on: once fresh, and once when it comes from another
function of the same length, of whose end nothing tells it. Cycles to learn: the first one from which on the mean
absolute error over streams stays below a fifth of the standard deviation of the family's values.
"""

import argparse
import csv
from pathlib import Path
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from torch import Tensor

from lightning_vsml import checkpoints
from lightning_vsml.algorithms.meta_rnn import MetaRNN
from lightning_vsml.algorithms.options import Parser, Refused, count, folder
from lightning_vsml.meta.draw import Draw
from lightning_vsml.meta.sequences.functions import FAMILIES, streams

SEED = 77_003  # of functions and inputs; meta-training and its held-out streams have others
LEARNED = 0.2
NAMED = {"XOR": (0.0, 1.0, 1.0, 0.0), "XNOR": (1.0, 0.0, 0.0, 1.0)}  # values at 00, 01, 10, 11


class Row(NamedTuple):
    """A row of Table 1: its name, family and length, and what the paper has."""

    name: str
    family: str
    length: int
    mse: float
    cycles: int
    units: str


PAPER = (
    Row("boolean", "boolean", 256, 0.0058, 10, "6 + 6"),
    Row("semilinear_64", "semilinear", 64, 0.0008, 10, "6 + 6"),
    Row("semilinear_1000", "semilinear", 1000, 0.0025, 50, "6 + 6"),
    Row("quadratic", "quadratic", 100, 0.00068, 35, "12 + 6 + 40"),
)


def parse() -> argparse.Namespace:
    parser = Parser(__doc__)
    for family in FAMILIES:
        parser.add_argument(f"--{family}", default=f"fixed_weight_{family}", help="name, or .safetensors file")
    parser.add_argument("--streams", type=count, default=1024)
    parser.add_argument("--run-dir", type=folder, default=Path("logs") / "fixed_weight")
    return parser.parse_args()


def main() -> None:
    options = parse()
    try:
        algorithms = {name: checkpoints.load(getattr(options, name), kind=MetaRNN) for name in FAMILIES}
    except ValueError as error:
        raise Refused(Path(__file__).name, str(error)) from error
    options.run_dir.mkdir(parents=True, exist_ok=True)
    shown = Table(
        "functions",
        "examples",
        "units",
        "MSE",
        "least possible",
        "after another",
        "cycles",
        "paper: units",
        "MSE",
        "cycles",
    )
    with open(options.run_dir / "fixed_weight.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["family", "mse", "cycles"])
        for row in PAPER:
            algorithm = algorithms[row.family]
            x, y = streams(row.family, draw(), options.streams, 2, row.length)
            error = (run(algorithm, x, y) - y).abs()
            fresh, after = error[: row.length], error[row.length :]
            cycles = learned(fresh, row.family)
            mse, carried = (float(part.square().mean()) for part in (fresh, after))
            writer.writerow([row.name, f"{mse:.3g}", cycles])
            least = bound(row.family, row.length)
            own = (str(algorithm.units), f"{mse:.3g}", f"{least:.3g}", f"{carried:.3g}", str(cycles))
            shown.add_row(row.name, str(row.length), *own, row.units, f"{row.mse:g}", str(row.cycles))
        for name, values in NAMED.items():
            x = FAMILIES["boolean"].inputs(draw(), 256, options.streams)
            y = FAMILIES["boolean"].value(torch.tensor(values).expand(options.streams, 4), x)
            error = (run(algorithms["boolean"], x, y) - y).abs()
            mse, cycles = float(error.square().mean()), learned(error, "boolean")
            writer.writerow([name, f"{mse:.3g}", cycles])
            own = (str(algorithms["boolean"].units), f"{mse:.3g}", "", "", str(cycles))
            shown.add_row(name, "256", *own, "", "", "about 10")
    shown.title = "Table 1 of Younger, Hochreiter and Conwell (2001), over whole sequences of new functions"
    Console(width=None if Console().is_terminal else 150).print(shown)
    x, y = streams("boolean", draw(), options.streams, 5, 256)
    figure(run(algorithms["boolean"], x, y), y).savefig(options.run_dir / "fixed_weight.png", dpi=120)
    print(f"wrote fixed_weight.csv, fixed_weight.png to {options.run_dir}")


def draw() -> Draw:
    return Draw(torch.Generator().manual_seed(SEED))


@torch.no_grad()
def run(algorithm: MetaRNN, x: Tensor, y: Tensor) -> Tensor:
    return algorithm.run(algorithm.fresh(x.shape[1]), x, y)[0]


def bound(family: str, length: int, functions: int = 2000, samples: int = 100_000) -> float:
    """The least mean squared error over a sequence: of the mean over all functions of the family that agree with what
    was told so far.

    Values tell a linear function of the parameters without noise, so that as many examples as there are parameters
    tell all. Boolean: a value that was not told is 0 or 1. Semi-linear: from samples of functions that agree up to a
    small difference. Quadratic: the best linear estimate, for the covariance of the parameters; Bayes' may be smaller.
    """
    generator = torch.Generator().manual_seed(1)
    if family == "boolean":
        return sum(0.25 * 0.75**step for step in range(length)) / length
    if family == "quadratic":
        x = FAMILIES[family].inputs(Draw(generator), 9, functions)
        a, b = x.unbind(-1)
        terms = 0.05 * torch.stack([a * a, b * b, a * b, a, b, torch.ones_like(a)], -1).double()
        covariance, total = (torch.eye(6).double() / 3).expand(functions, 6, 6), 0.0
        for term in terms:
            told = covariance @ term.unsqueeze(-1)
            variance = (term.unsqueeze(-2) @ told).clamp(min=1e-12)
            total += float(variance.mean())
            covariance = covariance - told @ told.mT / variance
        return total / length
    w, x = (2 * torch.rand(*shape, 3, generator=generator) - 1 for shape in ((samples,), (4, 200)))
    x[..., 2] = 1
    values, total = torch.tanh(x @ w.T) / 2, 0.0  # (4, 200, samples)
    true = torch.tanh((x * (2 * torch.rand(200, 3, generator=generator) - 1)).sum(-1)) / 2
    agree = torch.ones(200, samples, dtype=torch.bool)
    for step in range(3):
        count = agree.sum(1)
        guess = (values[step] * agree).sum(1) / count.clamp(min=1)
        total += float((guess - true[step])[count > 0].square().mean())
        agree &= (values[step] - true[step].unsqueeze(1)).abs() < 0.01
    return total / length


def learned(error: Tensor, family: str) -> int:
    """The first cycle (from 1) from which on errors (steps, streams) stay small."""
    small = LEARNED * FAMILIES[family].variance ** 0.5
    late = (error.mean(1) > small).nonzero()
    return int(late.max()) + 2 if len(late) else 1


def figure(predicted: Tensor, y: Tensor) -> Figure:
    """Absolute error over time as in Figure 3: of one stream, and of the mean over all; a mapping ends every 256."""
    made = Figure(figsize=(9, 4.2), layout="constrained")
    one, mean = made.subplots(2, 1, sharex=True)
    error = (predicted - y).abs()
    one.plot(error[:, 0], color="black", linewidth=0.8)
    mean.plot(error.mean(1), color="tab:orange", linewidth=1.2)
    one.set(ylabel="one stream", title="Boolean functions: absolute error, a new function every 256 examples")
    mean.set(ylabel=f"mean of {error.shape[1]}", xlabel="example")
    for axis in (one, mean):
        axis.set(xlim=(0, len(y)), ylim=(0, 1))
        for change in range(256, len(y), 256):
            axis.axvline(change, color="0.8", linewidth=0.8, zorder=0)
    return made


if __name__ == "__main__":
    main()
