"""Message passing protocols at what they were meta-trained for: sinusoids in five steps, MNIST in twenty.

python benchmarks/mplp.py
python benchmarks/mplp.py --ablation

Writes rows ``experiment,figure,value`` to ``logs/mplp/mplp.csv`` and the picture ``sinusoids.png``. Tasks are fresh;
images are MNIST's test images, which neither meta-training nor the choice of parameters has seen. ``--ablation``
meta-trains small budgets of its own instead, ``ablation.csv``: message sizes and what is shared, over seeds.
"""

import argparse
import csv
import math
from collections.abc import Iterator
from pathlib import Path

import matplotlib
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_vsml import attach, checkpoints, datasets
from lightning_vsml.algorithms.mplp import MPLP
from lightning_vsml.algorithms.options import Parser, Refused, count, folder
from lightning_vsml.meta import Sinusoids
from lightning_vsml.meta.sequences.outer import bptt

matplotlib.use("Agg")
from matplotlib import pyplot as plt

Row = tuple[str, str, float]
STEPS, EXAMPLES, SIDE = 20, 8, 12  # of MNIST
RATES = {"sgd": (0.1, 0.3, 1.0, 3.0, 10.0, 30.0), "adam": (0.003, 0.01, 0.03, 0.1, 0.3)}
OPTIMIZERS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}
VALIDATION = 5000
BUDGET = {"messages": (1, 4, 8), "sharing": ("tensor", "kind", "statistics")}


def parse() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="holds MNIST/raw/*.gz, or gets them")
    parser.add_argument("--tasks", type=count, default=1000, help="sinusoids")
    parser.add_argument("--runs", type=count, default=100, help="networks that learn MNIST")
    parser.add_argument("--protocols", nargs="*", default=["mplp_mnist"])
    parser.add_argument("--ablation", action="store_true", help="meta-train instead")
    parser.add_argument("--seeds", type=count, default=3, help="of the ablation")
    parser.add_argument("--meta-steps", type=count, default=300, help="of the ablation")
    parser.add_argument("--run-dir", type=folder, default=Path("logs") / "mplp")
    options = parser.parse_args()
    others = ("--data-dir", "--tasks", "--runs", "--protocols")
    parser.without_effect(options.ablation, "with --ablation", *others)
    parser.without_effect(not options.ablation, "without --ablation", "--seeds", "--meta-steps")
    return options


def main() -> None:
    options = parse()
    options.run_dir.mkdir(parents=True, exist_ok=True)
    rows = ablation(options.seeds, options.meta_steps) if options.ablation else everything(options)
    try:
        with open(options.run_dir / ("ablation.csv" if options.ablation else "mplp.csv"), "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("experiment", "figure", "value"))
            for row in rows:
                writer.writerow(row)
                file.flush()
                print(*row[:2], f"{row[2]:.5f}", flush=True)
    except datasets.DatasetError as error:
        raise Refused(Path(__file__).name, str(error)) from error


def everything(options: argparse.Namespace) -> Iterator[Row]:
    """Sinusoids, then MNIST."""
    yield from sinusoids(options.tasks, options.run_dir / "sinusoids.png")
    yield from digits(options.data_dir, options.runs, options.protocols)


# --- sinusoids


def network(algorithm: MPLP) -> nn.Sequential:
    """1-20-20-1 with the initial weights that were meta-trained."""
    net = nn.Sequential(nn.Linear(1, 20), nn.ReLU(), nn.Linear(20, 20), nn.ReLU(), nn.Linear(20, 1))
    algorithm.initialise(net)
    return net


def sinusoids(tasks: int, picture: Path) -> Iterator[Row]:
    """Mean squared error on 100 points after each of five steps from 10 points, by ``attach`` on a plain module."""
    algorithm = checkpoints.load("mplp_sinusoid", kind=MPLP)
    shots = Sinusoids(queries=100).shots(tasks, torch.Generator().manual_seed(2**50))
    errors = torch.zeros(tasks, 6)
    axes = plt.subplots(1, 3, figsize=(12, 3.2), sharey=True)[1]
    grid = torch.linspace(-5, 5, 201).unsqueeze(1)
    for task in range(tasks):
        net = network(algorithm)
        with attach(net, algorithm) as synapses:
            for step in range(6):
                with torch.no_grad():
                    errors[task, step] = F.mse_loss(net(shots.query_x[:, task]), shots.query[:, task])
                    if task < 3 and step in (0, 1, 2, 5):
                        axes[task].plot(grid, net(grid), label=f"after {step}", color=plt.cm.viridis(step / 6))
                if step < 5:
                    F.mse_loss(net(shots.x[step, :, task]), shots.target[step, :, task]).backward()
                    synapses.step()
        if task < 3:
            order = shots.query_x[:, task, 0].argsort()
            axes[task].plot(shots.query_x[order, task], shots.query[order, task], "k--", label="function")
            axes[task].plot(shots.x[:, :, task].flatten(), shots.target[:, :, task].flatten(), "r.", label="examples")
            axes[task].set_xlabel("x")
    axes[0].set_ylabel("y")
    axes[0].legend(fontsize=7)
    axes[0].figure.tight_layout()
    axes[0].figure.savefig(picture, dpi=120)
    for step in range(6):
        yield "sinusoid", f"mean squared error after {step} steps", float(errors[:, step].mean())
    yield "sinusoid", "mean squared error after 5 steps, median task", float(errors[:, 5].median())
    yield "sinusoid", "half of it, as the paper's loss has it", float(errors[:, 5].mean()) / 2


def ablation(seeds: int, meta_steps: int) -> Iterator[Row]:
    """Held-out error after five steps, by rules that were meta-trained from scratch."""
    usual = {"messages": 8, "sharing": "tensor"}
    done = set()
    for what, values in BUDGET.items():
        for value in values:
            settings = usual | {what: value}
            if str(settings) in done:
                continue
            done.add(str(settings))
            for seed in range(seeds):
                error = meta_trained(seed, meta_steps, **settings)
                yield f"messages of {settings['messages']}, shared by {settings['sharing']}", f"seed {seed}", error


def meta_trained(seed: int, steps: int, **settings: object) -> float:
    """A small budget, by the same recipe as the checkpoint's."""
    problem = Sinusoids(learners=4, initial="trained", **settings)  # type: ignore[arg-type]
    V = problem.start(seed)
    trained = {name: tensor.requires_grad_() for name, tensor in V.items() if problem.is_trained(name)}
    fixed = {name: tensor for name, tensor in V.items() if name not in trained}
    optimizer = torch.optim.Adam(trained.values(), 1e-3)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 5e-4 * (1 + math.cos(math.pi * step / steps))
        found = bptt(trained, fixed, problem.episode(step, 0.0, seed), (), 0)
        for name, parameter in trained.items():
            parameter.grad = found.gradients[name]
        torch.nn.utils.clip_grad_norm_(trained.values(), 1.0)
        optimizer.step()
    return problem.held_out({**trained, **fixed})["loss_5"]


# --- MNIST


class Shrunk:
    """MNIST at a number of pixels, training and validation images apart."""

    def __init__(self, images: datasets.Images, side: int) -> None:
        x, x_test = (F.adaptive_avg_pool2d(part, side).flatten(1) for part in (images.x, images.x_test))
        self.train = x[:-VALIDATION], images.y[:-VALIDATION]
        self.validation, self.test = (x[-VALIDATION:], images.y[-VALIDATION:]), (x_test, images.y_test)


def digits(data_dir: Path, runs: int, protocols: list[str]) -> Iterator[Row]:
    """Test accuracy after 20 steps of 8 examples: mean and standard deviation over networks."""
    images = datasets.load("mnist", data_dir)
    for side, hidden in ((SIDE, 50), (28, 100)):
        data, name = Shrunk(images, side), f"MNIST {side} x {side}, {side * side}-{hidden}-10"
        for protocol in protocols:
            found = torch.tensor([learned(data, hidden, seed, protocol) for seed in range(runs)])
            yield name, f"{protocol}, accuracy after 20 steps", float(found.mean())
            yield name, f"{protocol}, standard deviation", float(found.std())
        for optimizer, rates in RATES.items():
            few = range(1000, 1000 + max(1, runs // 5))
            scores = {r: sum(learned(data, hidden, s, optimizer, r, validate=True) for s in few) for r in rates}
            rate = max(scores, key=lambda each: scores[each])
            found = torch.tensor([learned(data, hidden, seed, optimizer, rate) for seed in range(runs)])
            yield name, f"{optimizer}, learning rate {rate}, accuracy after 20 steps", float(found.mean())
            yield name, f"{optimizer}, standard deviation", float(found.std())


def learned(data: Shrunk, hidden: int, seed: int, how: str, lr: float = 0.0, validate: bool = False) -> float:
    """Accuracy of a network after its steps."""
    torch.manual_seed(seed)
    pixels = data.train[0].shape[1]
    net = nn.Sequential(nn.Linear(pixels, hidden), nn.Sigmoid(), nn.Linear(hidden, 10))
    which = torch.randint(len(data.train[1]), (STEPS, EXAMPLES))
    batches = [(data.train[0][part], data.train[1][part]) for part in which]
    if how in OPTIMIZERS:
        optimizer = OPTIMIZERS[how](net.parameters(), lr=lr)
        for x, y in batches:
            optimizer.zero_grad()
            F.cross_entropy(net(x), y).backward()
            optimizer.step()
    else:
        with attach(net, how) as synapses:
            for x, y in batches:
                F.cross_entropy(net(x), y).backward()
                synapses.step()
    return accuracy(net, *(data.validation if validate else data.test))


@torch.no_grad()
def accuracy(net: nn.Module, x: Tensor, y: Tensor) -> float:
    """Share of labels that are right."""
    return float((net(x).argmax(1) == y).float().mean())


if __name__ == "__main__":
    main()
