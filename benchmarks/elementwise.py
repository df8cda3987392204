"""What an algorithm loses where it sees gradients, not samples: layers by grids of their own, and number by number.

    python benchmarks/elementwise.py --algorithm backprop cloned_backprop adaptive --data-dir data

A 784-32-10 perceptron learns from batches of 64. Once its weights are the layers' (a grid knows x of each sample), once
the same weights go through a function first (each number is a synapse fed with x = 1). Online accuracy in % and loss of
the predictions before learning from a batch, mean over seeds.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lightning_vsml import attach, datasets
from lightning_vsml.algorithms.options import Parser, count


class Apart(nn.Linear):
    """Its weights are used one by one, as parametrized ones are."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight * 1.0, None if self.bias is None else self.bias * 1.0)


def run(algorithm: str, layer: Callable[[int, int], nn.Module], data: datasets.Images, steps: int, seed: int) -> Tensor:
    """Accuracy and loss before each step, ``(steps, 2)``."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Flatten(), layer(784, 32), nn.Tanh(), layer(32, 10))
    found = torch.zeros(steps, 2)
    with attach(net, algorithm) as synapses:
        for step in range(steps):
            chosen = torch.randint(len(data.x), (64,))
            logits = net(data.x[chosen])
            loss = nn.functional.cross_entropy(logits, data.y[chosen])
            loss.backward()
            synapses.step()
            found[step] = torch.stack([(logits.argmax(1) == data.y[chosen]).float().mean() * 100, loss.detach()])
    return found


def main() -> None:
    """Command line."""
    parser = Parser(__doc__)
    parser.add_argument("--algorithm", nargs="+", default=["backprop", "cloned_backprop", "adaptive"])
    parser.add_argument("--dataset", choices=datasets.NAMES, default="mnist")
    parser.add_argument("--data-dir", default="data")
    parser.add_argument("--steps", type=count, default=300)
    parser.add_argument("--seeds", type=count, default=3)
    options = parser.parse_args()
    with parser.refusing(datasets.DatasetError):
        data = datasets.load(options.dataset, options.data_dir)
    windows = [(0, 50), (50, options.steps)]
    print("| algorithm | synapses | " + " | ".join(f"steps {a}-{b}: %, loss" for a, b in windows) + " |")
    print("|" + "---|" * (2 + len(windows)))
    for algorithm in options.algorithm:
        for name, layer in (("of layers", nn.Linear), ("number by number", Apart)):
            runs = torch.stack([run(algorithm, layer, data, options.steps, seed) for seed in range(options.seeds)])
            means = [runs[:, a:b].mean((0, 1)).tolist() for a, b in windows]
            print(f"| {algorithm} | {name} | " + " | ".join(f"{a:.1f}, {b:.3f}" for a, b in means) + " |", flush=True)


if __name__ == "__main__":
    main()
