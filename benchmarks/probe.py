"""What changes of the adaptive rule's coordinates do to curves, by the formula, on tasks of the wide search.

python benchmarks/probe.py travel50=-0.25 travel50=-0.5 travel=0.3,travel_noise=-0.13
python benchmarks/probe.py travel50=-0.4 --layers "qkv|hidden" --tasks 12 --steps 1500 --data-dir data

Each change is added to the coordinates as they are, of all layers or of those whose names match ``--layers``. Figures
are mean log(loss / loss as it is) in windows of steps, less than 0 is better, by family of tasks. Tasks are new ones
for each ``--seed``, and none of benchmarks/unseen.py.
"""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from lightning_vsml import datasets
from lightning_vsml.algorithms.adaptive import Coordinates
from lightning_vsml.algorithms.options import Parser, count
from lightning_vsml.lab.ensembles import Ensemble
from lightning_vsml.meta.wide.learning import ByFormula
from lightning_vsml.meta.wide.objective import EDGES, compared, windows
from lightning_vsml.meta.wide.tasks import Distribution, Task

OWN = Coordinates()


def change(text: str) -> Coordinates:
    """``name=number,...`` -> what is added to the coordinates."""
    parts = dict(part.split("=", 1) for part in text.split(",") if "=" in part)
    if not parts or set(parts) - set(OWN._fields):
        raise argparse.ArgumentTypeError(f"expected name=number,... of {', '.join(OWN._fields)}, got {text!r}")
    try:
        values = {name: float(value) for name, value in parts.items()}
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected numbers, got {text!r}") from None
    return Coordinates(*(values.get(name, 0.0) for name in OWN._fields))


def parse() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("changes", nargs="+", type=change, metavar="name=number,...")
    parser.add_argument("--layers", default="", help="a regular expression; default: all")
    parser.add_argument("--tasks", type=count, default=20)
    parser.add_argument("--steps", type=count, default=1000)
    parser.add_seed()
    parser.add_argument("--data-dir", type=Path, help="holds MNIST/raw/*.gz; default: no tasks of images")
    options = parser.parse_args()
    try:
        re.compile(options.layers)
    except re.error as error:
        parser.error(f"argument --layers: expected a regular expression, got {options.layers!r} ({error})")
    return options


@torch.no_grad()
def curves(task: Task, changes: list[Coordinates], layers: str, steps: int) -> Tensor:
    """Losses as it is, then with each change, ``(steps, 1 + changes)``."""
    own = torch.tensor([OWN] * (1 + len(changes)), dtype=torch.float64)
    moved = own + torch.tensor([[0.0] * len(OWN), *changes], dtype=torch.float64)
    learner = ByFormula(Ensemble(task.module(), task.judge, len(own)), own)
    for grid in learner.grids:
        if re.search(layers, grid.layer):
            learner.choose(grid.layer, moved)
    return torch.stack([learner.step(x, y)[0] for x, y in task.batches(steps)])


def family(task: Task) -> str:
    """Of a task, by its name."""
    if "text of" in task.name:
        return "transformers" if "transformer" in task.name else "text"
    return "images" if task.name.startswith("mnist") else task.name.split()[0].strip(",")


def found(options: argparse.Namespace) -> Iterator[tuple[str, Tensor]]:
    """Family, and log ratios ``(windows, changes)``, of each task."""
    images = {"mnist": datasets.load("mnist", options.data_dir)} if options.data_dir else {}
    distribution = Distribution(datasets=tuple(images))
    for number in track(range(options.tasks), "tasks", console=Console(stderr=True)):
        task = distribution.sample(number, images, options.seed)
        loss = curves(task, options.changes, options.layers, options.steps)
        means = windows(loss)
        yield family(task), compared(means[:, 1:], means[:, :1], loss[0, 0])


def main() -> None:
    options = parse()
    results: dict[str, list[Tensor]] = {}
    for name, ratios in found(options):
        results.setdefault("all", []).append(ratios)
        results.setdefault(name, []).append(ratios)
    reached = len(results["all"][0])
    table = Table("change", "family", "tasks", *(f"from step {edge}" for edge in EDGES[:reached]))
    for place, added in enumerate(options.changes):
        words = ", ".join(f"{name} {value:+g}" for name, value in added._asdict().items() if value)
        for name, ratios in results.items():
            means = torch.stack(ratios).mean(0)[:, place]
            table.add_row(words, name, str(len(ratios)), *(f"{value:+.3f}" for value in means.tolist()))
    console = Console()
    console.width = max(console.width, 100)  # also in a file
    console.print(table)


if __name__ == "__main__":
    main()
