"""What one synapse of a learning algorithm computes, beside what it should (Figure 2 of arXiv 2012.14905).

python examples/neuronal_dynamics.py                              # the clone of backpropagation
python examples/neuronal_dynamics.py --algorithm backprop
"""

from lightning_vsml.algorithms.options import Parser, positive

if __name__ == "__main__":  # before torch is imported, so that --help and mistakes are answered at once
    parser = Parser(__doc__)
    parser.add_argument("--algorithm", default="cloned_backprop", help="name or path of the learning algorithm")
    parser.add_argument("--target", help="what it should do, as sgd, momentum or oja (default: its card's, else sgd)")
    parser.add_argument("--range", type=positive, default=4.0, help="x runs from - to + this value (default 4)")
    parser.add_run_dir("neuronal_dynamics", each=True)
    options = parser.parse_args()

import argparse
import csv

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from lightning_vsml import LearningAlgorithm, checkpoints
from lightning_vsml.cloning import TARGETS

WEIGHTS = (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0)
FEEDBACK = 0.5
# What is asked of a synapse, and how it appears in titles.
QUANTITIES = {"output": "y(x, w)", "change": f"change of w at e = {FEEDBACK}", "message": f"message at e = {FEEDBACK}"}


def synapses(algorithm: LearningAlgorithm, x: Tensor, w: Tensor) -> dict[str, Tensor]:
    """What single synapses do, each of ``x`` (X,) on each of ``w`` (W,): (X, W) of each quantity.

    The weights are W groups of 1 x 1 synapses, and every x is a sample of its own.
    """
    state = algorithm.encode(w.view(-1, 1, 1))
    fed, e = x.view(-1, 1, 1).expand(-1, len(w), 1), torch.full((len(x), len(w), 1), FEEDBACK)
    changes, messages = [], []
    for place in range(len(x)):
        change, message = algorithm.learn(state, fed[place : place + 1], e[place : place + 1], 1)
        changes.append((algorithm.decode(algorithm.commit(state, change)) - w.view(-1, 1, 1)).flatten())
        messages.append(message.flatten())
    return {
        "output": algorithm.forward(state, fed).squeeze(-1),
        "change": torch.stack(changes),
        "message": torch.stack(messages),
    }


def wanted(target: str, x: Tensor, w: Tensor) -> dict[str, Tensor]:
    """The same of the learning rule."""
    x, w, e = (*torch.broadcast_tensors(x.unsqueeze(1), w.unsqueeze(0)), torch.tensor(FEEDBACK))
    memories = (w, *[torch.zeros_like(w)] * (len(TARGETS[target].memories) - 1))
    response = TARGETS[target].rule(x, e, memories)
    return {"output": response.forward, "change": response.changes[0], "message": response.backward.expand_as(x)}


def main(options: argparse.Namespace, parser: Parser) -> None:
    with parser.refusing():
        algorithm = checkpoints.load(options.algorithm, kind=LearningAlgorithm)
    target = options.target or algorithm.card.get("target", "sgd")
    if target not in TARGETS:
        parser.error(f"argument --target: expected one of {', '.join(sorted(TARGETS))}, got {target!r}")
    x, grid = torch.linspace(-options.range, options.range, 81), torch.linspace(-2, 2, 81)
    few = torch.tensor(WEIGHTS)
    lines, right = synapses(algorithm, x, few), wanted(target, x, few)
    map_, map_right = synapses(algorithm, x, grid), wanted(target, x, grid)

    options.run_dir.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(13, 7.5), layout="constrained")
    figure.suptitle(f"{algorithm.name}: one synapse, as it is (lines) and should be (dotted); below, its error")
    colours = [f"C{place}" for place in range(len(WEIGHTS))]
    for place, (quantity, title) in enumerate(QUANTITIES.items()):
        above, below = (figure.add_subplot(2, len(QUANTITIES), row * len(QUANTITIES) + place + 1) for row in (0, 1))
        for column, (w, colour) in enumerate(zip(WEIGHTS, colours, strict=True)):
            above.plot(x, lines[quantity][:, column], color=colour, label=f"w = {w:g}")
            above.plot(x, right[quantity][:, column], color="black", linestyle=":", linewidth=1)
        above.set(title=title, xlabel="x")
        error = (map_[quantity] - map_right[quantity]).T
        limit = float(error.abs().max())
        extent = (-options.range, options.range, -2, 2)
        shown = below.imshow(
            error, origin="lower", extent=extent, aspect="auto", cmap="RdBu_r", vmin=-limit, vmax=limit
        )
        below.set(title=f"error of {quantity}", xlabel="x", ylabel="w")
        figure.colorbar(shown, ax=below)
        size = float(map_right[quantity].square().mean().sqrt())
        print(f"{quantity}: root mean square error {float(error.square().mean().sqrt()) / size:.2%} of its size")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(WEIGHTS))
    figure.savefig(options.run_dir / "neuronal_dynamics.png", dpi=150)
    with SummaryWriter(str(options.run_dir)) as writer:
        writer.add_figure("neuronal_dynamics", figure)
    with open(options.run_dir / "neuronal_dynamics.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["x", "w", *(f"{quantity}{kind}" for quantity in QUANTITIES for kind in ("", "_target"))])
        for row, at in enumerate(x.tolist()):
            for column, w in enumerate(grid.tolist()):
                values = [part[q][row, column].item() for q in QUANTITIES for part in (map_, map_right)]
                table.writerow([f"{at:.4g}", f"{w:.4g}", *(f"{value:.6g}" for value in values)])
    print(f"wrote neuronal_dynamics.png and .csv, and a TensorBoard image, to {options.run_dir}")


if __name__ == "__main__":
    main(options, parser)
