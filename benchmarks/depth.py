"""How the time of a step grows with depth: residual networks, by synapses and by SGD, in one run.

    python benchmarks/depth.py                       # 8, 64 and 256 layers of 64 units, batches of 64
    python benchmarks/depth.py --depths 8 1024 --units 16

A step is forward, backward and update. Times are medians in ms.
"""

import statistics
import time
from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor, nn

from lightning_vsml import attach
from lightning_vsml.algorithms.options import Parser, count


class Residual(nn.Module):
    """x + tanh(layer(x)) / 10, layer after layer."""

    def __init__(self, depth: int, units: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(units, units) for _ in range(depth))
        self.head = nn.Linear(units, 10)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = x + layer(x).tanh() / 10
        return self.head(x)


def median(step: Callable[[], None], steps: int) -> float:
    """Of the times of steps, in ms, after five that are not counted."""
    times = []
    for _ in range(5 + steps):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return statistics.median(times[5:]) * 1e3


def main() -> None:
    """Command line."""
    parser = Parser(__doc__)
    parser.add_argument("--depths", type=count, nargs="+", default=[8, 64, 256])
    parser.add_argument("--units", type=count, default=64)
    parser.add_argument("--batch-size", type=count, default=64)
    parser.add_argument("--steps", type=count, default=30)
    parser.add_argument("--threads", type=count, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    x, y = torch.randn(options.batch_size, options.units), torch.randint(0, 10, (options.batch_size,))
    print(f"torch {torch.__version__}, {options.threads} threads\n")
    print("| layers | synapses | SGD | synapses / SGD |\n|---|---|---|---|")
    for depth in options.depths:
        ours = Residual(depth, options.units)
        theirs = deepcopy(ours)
        optimizer = torch.optim.SGD(theirs.parameters(), lr=0.01)

        def by_sgd(net: nn.Module = theirs, optimizer: torch.optim.Optimizer = optimizer) -> None:
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x), y).backward()
            optimizer.step()

        with attach(ours, lr=0.01) as synapses:

            def by_synapses(net: nn.Module = ours, synapses: torch.optim.Optimizer = synapses) -> None:  # type: ignore[assignment]
                synapses.zero_grad()
                nn.functional.cross_entropy(net(x), y).backward()
                synapses.step()

            times = median(by_synapses, options.steps), median(by_sgd, options.steps)
        print(f"| {depth} | {times[0]:.1f} | {times[1]:.1f} | {times[0] / times[1]:.1f} |", flush=True)


if __name__ == "__main__":
    main()
