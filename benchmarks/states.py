"""What synapses keep: every number of a hidden layer's states after some steps, drawn as the image that a neuron sees.

    python benchmarks/states.py --algorithm adaptive --data-dir data --out docs/images/states.png

A 784-32-10 perceptron learns from batches of 64. One column for each number of a synapse that is not 0 everywhere, one
line for each of some hidden neurons; a column has one scale, red is positive and blue negative.
"""

from pathlib import Path

import matplotlib
import torch
from torch import Tensor, nn

from lightning_vsml import LearningAlgorithm, attach, checkpoints, datasets
from lightning_vsml.algorithms.adaptive.sheet import UNITS
from lightning_vsml.algorithms.options import Parser, count, file_to_write, seed

NEURONS = 4


def learn(algorithm: LearningAlgorithm, data: datasets.Images, steps: int, seed: int) -> Tensor:
    """The states of the hidden layer after ``steps``, ``(P, 32, height, width)``; without the bias."""
    torch.manual_seed(seed)
    height, width = data.x.shape[-2:]
    net = nn.Sequential(nn.Flatten(), nn.Linear(height * width, 32), nn.ReLU(), nn.Linear(32, 10))
    with attach(net, algorithm) as synapses:
        for _ in range(steps):
            chosen = torch.randint(len(data.x), (64,))
            nn.functional.cross_entropy(net(data.x[chosen]), data.y[chosen]).backward()
            synapses.step()
            synapses.zero_grad()
        states = synapses.changes.states.items()
    state = dict(states)["1"]  # (P, 1, A, B), the bias last
    return state[:, 0, :-1].transpose(1, 2).unflatten(-1, (height, width))


def names(algorithm: LearningAlgorithm) -> list[str]:
    """Of the planes: what the rule calls them, where a program says so, else the LSTM's own part and unit."""
    program = algorithm.name == "adaptive"
    return [
        "weight" if plane.codes else UNITS[plane.unit] if program else f"{'hc'[plane.part]} of unit {plane.unit}"
        for plane in algorithm.layout.planes
    ]


def draw(planes: Tensor, titles: list[str], out: Path) -> None:
    """Columns of planes, lines of neurons."""
    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    shown = [place for place, plane in enumerate(planes) if bool(plane.any())]
    figure, axes = plt.subplots(
        NEURONS, len(shown), figsize=(2 * len(shown), 1.9 * NEURONS + 0.6), squeeze=False, layout="constrained"
    )
    for column, place in zip(axes.T, shown, strict=True):
        limit = float(planes[place, :NEURONS].abs().max())
        for axis, plane in zip(column, planes[place], strict=False):
            image = axis.imshow(plane.numpy(), cmap="RdBu_r", vmin=-limit, vmax=limit)
            axis.set(xticks=[], yticks=[])
        column[0].set_title(titles[place])
        scale = {"ticks": [-limit, limit], "format": "%.0e", "aspect": 12}
        bar = figure.colorbar(image, ax=list(column), location="bottom", **scale)
        bar.ax.tick_params(labelsize=8)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=90)


def main() -> None:
    """Command line."""
    parser = Parser(__doc__)
    parser.add_argument("--algorithm", default="adaptive", help="name or path, of a cell whose weights can be read")
    parser.add_argument("--dataset", default="mnist", choices=datasets.NAMES)
    parser.add_argument("--data-dir", default="data")
    parser.add_argument("--steps", type=count, default=300)
    parser.add_argument("--seed", type=seed, default=0)
    parser.add_argument("--out", type=file_to_write(), default=Path("states.png"))
    options = parser.parse_args()
    with parser.refusing(datasets.DatasetError):
        algorithm = checkpoints.load(options.algorithm, kind=LearningAlgorithm)
        data = datasets.load(options.dataset, options.data_dir)
    draw(learn(algorithm, data, options.steps, options.seed), names(algorithm), options.out)
    print(f"{options.out}: what {algorithm.name} keeps after {options.steps} steps")


if __name__ == "__main__":
    main()
