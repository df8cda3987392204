"""Every family of learning algorithms on the same four tasks: size, cost of a step, and what it reaches.

python benchmarks/families.py

Writes rows ``algorithm,figure,value`` to ``logs/families/families.csv``. Accuracies are of test images, means over
seeds; a learning rate, where there is one, is the best of a quarter, one and four times the algorithm's own, by one
seed on training images that are held out. Rules that ignore the loss, and the one that hears of rewards, are in
benchmarks/rules.py.
"""

import argparse
import csv
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_vsml import attach, checkpoints, datasets
from lightning_vsml.algorithms.base import Pace
from lightning_vsml.algorithms.options import Parser, Refused, count, folder

Row = tuple[str, str, float]
ALGORITHMS = (
    "sgd",
    "backprop",
    "cloned_backprop",
    "adaptive",
    "vsml_scratch",
    "mplp_mnist",
    "feedback_alignment",
    "direct_feedback_alignment",
    "three_factor",
)
GRID, VALIDATION = (0.25, 1.0, 4.0), 300
WARM = 20  # steps that are not timed: what is planned and compiled


class Task(NamedTuple):
    """What is learned.

    Attributes:
        name: of it.
        data: a data set.
        side: of its images; None as they are.
        model: makes a network.
        batch, steps: of the run.
    """

    name: str
    data: str
    side: int | None
    model: Callable[[], nn.Module]
    batch: int
    steps: int


def mlp() -> nn.Module:
    """784-32-10."""
    return nn.Sequential(nn.Linear(784, 32), nn.ReLU(), nn.Linear(32, 10))


TASKS = (
    Task("digits, 64-32-10, 200 steps of 16", "digits", None, lambda: head(64, 32, nn.ReLU()), 16, 200),
    Task("MNIST 12 x 12, 144-50-10, 20 steps of 8", "mnist", 12, lambda: head(144, 50, nn.Sigmoid()), 8, 20),
    Task("MNIST, 784-32-10, 300 steps of 16", "mnist", None, mlp, 16, 300),
    Task("Fashion-MNIST, 784-32-10, 300 steps of 16", "fashion_mnist", None, mlp, 16, 300),
)


def head(inputs: int, hidden: int, activation: nn.Module) -> nn.Module:
    """One hidden layer, ten classes."""
    return nn.Sequential(nn.Linear(inputs, hidden), activation, nn.Linear(hidden, 10))


class Split(NamedTuple):
    """Inputs and labels."""

    x: Tensor
    y: Tensor


def parse() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="holds MNIST/raw/*.gz, or gets them")
    parser.add_argument("--algorithm", "--algorithms", nargs="+", default=list(ALGORITHMS))
    parser.add_argument("--seeds", type=count, default=3)
    parser.add_argument("--run-dir", type=folder, default=Path("logs") / "families")
    return parser.parse_args()


def main() -> None:
    options = parse()
    options.run_dir.mkdir(parents=True, exist_ok=True)
    try:
        with open(options.run_dir / "families.csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("algorithm", "figure", "value"))
            for row in rows(options.algorithm, options.data_dir, options.seeds):
                writer.writerow(row)
                file.flush()
                print(*row[:2], f"{row[2]:.4g}", flush=True)
    except datasets.DatasetError as error:
        raise Refused(Path(__file__).name, str(error)) from error


def rows(algorithms: list[str], data_dir: Path, seeds: int) -> Iterator[Row]:
    """Everything, as it comes."""
    for name in algorithms:
        if name != "sgd":
            algorithm = checkpoints.load(name)
            yield name, "|V_M|", algorithm.size
            yield name, "|V_L| of a weight", len(algorithm.layout.planes)
        yield name, "cost of a step over SGD's, 784-32-10, batches of 16", cost(name)
        for task in TASKS:
            train, validation, test = splits(task, data_dir)
            scores = {rate: accuracy(task, train, name, rate, 1000, validation) for rate in rates(name)}
            best = max(scores, key=lambda each: scores[each])
            found = [accuracy(task, train, name, best, seed, test) for seed in range(seeds)]
            yield name, task.name, sum(found) / seeds


def rates(name: str) -> list[float | None]:
    """What is tried."""
    if name == "sgd":
        return [0.1 * factor for factor in GRID]
    algorithm = checkpoints.load(name)
    if algorithm.pace in (Pace.NONE, Pace.COMMIT):  # none, or it chooses its steps by itself
        return [None]
    return [algorithm.lr * factor for factor in GRID]


def splits(task: Task, data_dir: Path) -> tuple[Split, Split, Split]:
    """Training, validation and test images as rows of pixels in [0, 1]."""
    images = datasets.load(task.data, data_dir)
    x, x_test = (
        (part if task.side is None else F.adaptive_avg_pool2d(part, task.side)).flatten(1)
        for part in (images.x, images.x_test)
    )
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    train, held_out = order[VALIDATION:], order[:VALIDATION]
    return Split(x[train], images.y[train]), Split(x[held_out], images.y[held_out]), Split(x_test, images.y_test)


def accuracy(task: Task, train: Split, name: str, lr: float | None, seed: int, split: Split) -> float:
    """Of a network that has learned."""
    torch.manual_seed(seed)
    net = task.model()
    batches = [torch.randint(len(train.y), (task.batch,)) for _ in range(task.steps)]

    @torch.no_grad()
    def judged() -> float:
        return float((net(split.x).argmax(1) == split.y).float().mean())

    if name == "sgd":
        optimizer = torch.optim.SGD(net.parameters(), lr=lr or 0.1)
        for which in batches:
            optimizer.zero_grad()
            F.cross_entropy(net(train.x[which]), train.y[which]).backward()
            optimizer.step()
        return judged()
    with attach(net, name, lr=lr) as synapses:
        for which in batches:
            F.cross_entropy(net(train.x[which]), train.y[which]).backward()
            synapses.step()
            synapses.zero_grad()
        net.eval()
        return judged()  # while attached: not every algorithm leaves weights behind


def cost(name: str) -> float:
    """A step's time over SGD's: median of steps in turns, on one thread."""
    torch.manual_seed(0)
    plain, net = mlp(), mlp()
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.01)
    synapses = None if name == "sgd" else attach(net, name)
    other = optimizer if synapses is None else synapses
    ratios = []
    with one_thread():
        for _ in range(WARM + 40):
            took, x, y = [], torch.rand(16, 784), torch.randint(10, (16,))
            for model, learner in ((plain, optimizer), (plain if synapses is None else net, other)):
                began = time.perf_counter()
                F.cross_entropy(model(x), y).backward()
                learner.step()
                learner.zero_grad()
                took.append(time.perf_counter() - began)
            ratios.append(took[1] / took[0])
    return median(ratios[WARM:])


@contextmanager
def one_thread() -> Iterator[None]:
    """Of torch's own."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


if __name__ == "__main__":
    main()
