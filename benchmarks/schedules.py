"""What schedules of an optimizer that is followed do to an algorithm's curve: warm-ups, cycles, falls.

python benchmarks/schedules.py --algorithm adaptive --seeds 2

Digits, 64-32-10 with ReLU. Mean losses of batches before learning from them, in windows of steps, one seed beside the
other.
"""

from collections.abc import Callable
from itertools import pairwise

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Optimizer
from torch.optim import lr_scheduler as schedulers
from torch.optim.lr_scheduler import LRScheduler

from lightning_vsml import attach, checkpoints, datasets
from lightning_vsml.algorithms.options import Parser

LR = 0.1  # the optimizer's, to which its schedule is relative
EDGES = (0, 50, 100, 200, 342)
BATCH = 32
SCHEDULES: dict[str, Callable[[Optimizer], LRScheduler]] = {
    "none": lambda optimizer: schedulers.ConstantLR(optimizer, 1.0),
    "warm-up from 0.1 in 10 steps": lambda optimizer: schedulers.LinearLR(optimizer, 0.1, 1.0, 10),
    "warm-up from 0.01 in 100 steps": lambda optimizer: schedulers.LinearLR(optimizer, 0.01, 1.0, 100),
    "OneCycleLR": lambda optimizer: schedulers.OneCycleLR(optimizer, LR, EDGES[-1]),
    "cosine to 0": lambda optimizer: schedulers.CosineAnnealingLR(optimizer, EDGES[-1]),
    "cosine, restarts every 60": lambda optimizer: schedulers.CosineAnnealingWarmRestarts(optimizer, 60),
    "a tenth from every 100th step on": lambda optimizer: schedulers.StepLR(optimizer, 100, 0.1),
}


def curve(algorithm: str, lr: float | None, make: Callable[[Optimizer], LRScheduler], seed: int) -> Tensor:
    """The loss of each batch, ``(steps,)``."""
    data, generator = datasets.load("digits"), torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    optimizer = SGD(net.parameters(), lr=LR)
    schedule, losses = make(optimizer), []
    with attach(net, algorithm, lr=lr) as synapses:
        synapses.follow(optimizer, schedulers=[schedule])
        for _ in range(EDGES[-1]):
            chosen = torch.randint(len(data.x), (BATCH,), generator=generator)
            loss = cross_entropy(net(data.x[chosen]), data.y[chosen])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            losses.append(loss.detach())
    return torch.stack(losses)


def main() -> None:
    parser = Parser(__doc__)
    parser.add_algorithm("adaptive")
    parser.add_seeds(2)
    options = parser.parse_args()
    with parser.refusing():
        checkpoints.load(options.algorithm)
    torch.set_num_threads(1)
    table = Table("schedule", *(f"seed {seed}" for seed in range(options.seeds)), title=options.algorithm)
    for name, make in SCHEDULES.items():
        curves = [curve(options.algorithm, options.lr, make, seed) for seed in range(options.seeds)]
        means = [[loss[first:last].mean() for first, last in pairwise(EDGES)] for loss in curves]
        table.add_row(name, *(", ".join(f"{mean:.3f}" for mean in row) for row in means))
    console = Console()
    console.width = max(console.width, 100)  # also in a file
    console.print(table)


if __name__ == "__main__":
    main()
