"""What each coordinate of a meta-learned algorithm is worth: online accuracy with one of them put back to where the
search began.

python benchmarks/coordinates.py --algorithm my.safetensors --dataset digits
python benchmarks/coordinates.py --algorithm my.safetensors --dataset mnist --hidden 32 --data-dir ../shared/data
"""

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from comparison import windows
from rich import get_console
from rich.progress import track
from rich.table import Table

from lightning_vsml import checkpoints, datasets
from lightning_vsml.algorithms.options import Parser, Refused, count
from lightning_vsml.lab.curves import ByAlgorithm, learning_curves
from lightning_vsml.meta.spaces import SPACES


def parse() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("--algorithm", required=True, help="what a search in a space has found")
    parser.add_argument("--dataset", choices=datasets.NAMES, default="digits")
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--hidden", type=count, nargs="*", default=[], help="sizes of hidden layers")
    parser.add_argument("--batch-size", type=count, default=16)
    parser.add_argument("--steps", type=count, default=1000)
    parser.add_argument("--seeds", type=count, default=4)
    options = parser.parse_args()
    parser.without_effect(options.dataset == "digits", "with --dataset digits", "--data-dir")
    return options


def main() -> None:
    options = parse()
    try:
        name = options.algorithm
        card = checkpoints.load(Path(name) if "." in name else name).card
        data = datasets.load(options.dataset, options.data_dir)
    except (ValueError, datasets.DatasetError) as error:
        raise Refused(Path(__file__).name, str(error)) from error
    searched = card["made_by"].get("recipe", {}).get("space")
    if searched not in SPACES:
        raise Refused(
            Path(__file__).name, f"{name} was not found by a search in one of the spaces {', '.join(SPACES)}."
        )
    space = SPACES[searched]()
    found = card["made_by"]["coordinates"]
    names = [coordinate.name for coordinate in space.coordinates]
    u = torch.tensor([found[coordinate] for coordinate in names])
    variants = {"start": torch.zeros_like(u), "as found": u}
    for place, coordinate in enumerate(names):
        if found[coordinate]:
            variants[f"without {coordinate} ({found[coordinate]:+.2f})"] = u.clone().index_fill(
                0, torch.tensor(place), 0.0
            )

    shown = windows(options.steps)
    table = Table("", *(f"{first}-{last}" for first, last in shown), title=f"{options.dataset}, online accuracy in %")
    for variant, coordinates in track(variants.items(), description="variants", transient=True):
        algorithm = replace(space.algorithm(coordinates), name=variant)
        learner = partial(ByAlgorithm, algorithm=algorithm)
        curves = learning_curves(
            learner, data, options.hidden, steps=options.steps, batch=options.batch_size, seeds=range(options.seeds)
        )
        means = [100 * float(curves.online[first:last].mean()) for first, last in shown]
        table.add_row(variant, *(f"{mean:.2f}" for mean in means))
    get_console().print(table)


if __name__ == "__main__":
    main()
