"""Test accuracy over learning steps, mean and standard deviation over seeds (Figure 3 of arXiv 2012.14905).

python examples/learning_curves.py --dataset digits               # without any download
python examples/learning_curves.py --hidden 32 --steps 10000      # MNIST and Fashion-MNIST, 784-32-10 with tanh
"""

from lightning_vsml.algorithms.options import Parser, count, positive

if __name__ == "__main__":  # before torch is imported, so that --help and mistakes are answered at once
    parser = Parser(__doc__)
    parser.add_dataset("mnist", "fashion_mnist")
    parser.add_data_dir()
    parser.add_argument(
        "--algorithm", nargs="+", help="names or paths (default: all shipped whose weights are readable)"
    )
    parser.add_argument("--lr", type=positive, default=0.1, help="of SGD and of the algorithms (default 0.1)")
    parser.add_argument("--hidden", type=count, nargs="*", default=[], help="sizes of hidden layers, tanh between them")
    parser.add_count("--steps", 1000)
    parser.add_count("--batch-size", 64)
    parser.add_seeds(10)
    parser.add_device()
    parser.add_run_dir("learning_curves", each=True)
    options = parser.parse_args()
    parser.without_effect(options.dataset == ["digits"], "with --dataset digits", "--data-dir")

import argparse
import csv
import time
from functools import partial

import torch
from common import until_stopped
from matplotlib.figure import Figure
from rich.progress import track
from torch.utils.tensorboard import SummaryWriter

from lightning_vsml import LearningAlgorithm, checkpoints, datasets
from lightning_vsml.lab.curves import COLOURS, ByAlgorithm, ByOptimizer, Curves, learning_curves, logarithmic


def main(options: argparse.Namespace, parser: Parser) -> None:
    with parser.refusing(datasets.DatasetError):
        names = options.algorithm or checkpoints.names("cellular")
        algorithms = [checkpoints.load(name, options.device, kind=LearningAlgorithm) for name in names]
        data = [datasets.load(name, options.data_dir) for name in options.dataset]
    parser.at_most("--batch-size", options.batch_size, min(len(images.x) for images in data), "the training images")
    lines = {f"{a.name} ({a.card['kind']})": partial(ByAlgorithm, algorithm=a, lr=options.lr) for a in algorithms}
    lines["SGD"] = partial(ByOptimizer, optimizer=torch.optim.SGD, lr=options.lr)

    options.run_dir.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(5.5 * len(data), 4), layout="constrained")
    panels = figure.subplots(1, len(data), squeeze=False)[0]
    with (
        SummaryWriter(str(options.run_dir)) as writer,
        open(options.run_dir / "learning_curves.csv", "w", newline="") as file,
    ):
        table = csv.writer(file)
        table.writerow(["dataset", "learner", "step", "accuracy_mean", "accuracy_std", "seeds"])
        with until_stopped():
            for images, panel in zip(data, panels, strict=True):
                network = "-".join(map(str, (images.x[0].numel(), *options.hidden, int(images.y.max()) + 1)))
                panel.set(
                    title=f"{images.name}, {network}", xlabel="learning step", ylabel="test accuracy", xscale="log"
                )
                for name, learner in lines.items():
                    start = time.perf_counter()
                    curves = learning_curves(
                        learner,
                        images,
                        options.hidden,
                        steps=options.steps,
                        batch=options.batch_size,
                        seeds=range(options.seeds),
                        at=logarithmic(options.steps),
                        device=options.device,
                        progress=partial(
                            track, description=f"{images.name}, {name}", total=options.steps, transient=True
                        ),
                    )
                    seconds = time.perf_counter() - start
                    mean, std = curves.accuracy.mean(1), curves.accuracy.std(1, correction=int(options.seeds > 1))
                    draw(panel, name, curves, mean, std)
                    for row in zip(curves.steps, mean.tolist(), std.tolist(), strict=True):
                        table.writerow([images.name, name, row[0], f"{row[1]:.5f}", f"{row[2]:.5f}", options.seeds])
                        file.flush()
                        writer.add_scalar(f"{images.name} {network}/{name}", row[1], row[0])
                    final = f"{mean[-1]:.2%} ± {std[-1]:.2%}, best {mean.max():.2%}"
                    print(
                        f"{images.name} {network}, {name}: {final}, {options.steps} steps, {seconds:.0f} s", flush=True
                    )
                low = min(line.get_ydata()[len(line.get_ydata()) // 3] for line in panel.lines)
                panel.set_ylim(max(0.0, low - 0.15))
                panel.grid(alpha=0.3)
                panel.legend(loc="lower right")
        figure.savefig(options.run_dir / "learning_curves.png", dpi=150)
        writer.add_figure("learning_curves", figure)
    print(f"wrote learning_curves.png and .csv, and TensorBoard curves, to {options.run_dir}")


def draw(panel, name: str, curves: Curves, mean: torch.Tensor, std: torch.Tensor) -> None:
    """A line and its band; SGD is dashed, on top of what follows it."""
    colour = next((colour for kind, colour in COLOURS.items() if f"({kind})" in name), "black")
    panel.plot(curves.steps, mean, label=name, color=colour, linestyle="--" if name == "SGD" else "-")
    panel.fill_between(curves.steps, mean - std, mean + std, color=colour, alpha=0.2, linewidth=0)


if __name__ == "__main__":
    main(options, parser)
