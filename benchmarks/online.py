"""Learning online: learning algorithms, as they are, against optimizers with the best learning rate of a grid.

python benchmarks/online.py --dataset digits --no-neighbour                    # without any download
python benchmarks/online.py --algorithm my.safetensors --hidden "" 32 64,32    # MNIST and Fashion-MNIST
python benchmarks/online.py --hidden c8 c8,c16 --size 14 --no-race             # convolutions

Online accuracy is that of the predictions on each batch before learning from it. All learners get the same initial
networks and batches. Of SGD, momentum (0.9) and Adam the best learning rate is taken for every data set, network, batch
size and window of steps, by the very figure that is reported: this favours them. Learning algorithms have no choice.
Nearest class mean and 1-NN remember all examples so far.
"""

import argparse
import csv
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from baselines import GRIDS
from comparison import table, windows
from figure import Panel, draw
from group import RACE, TESTED, Group, Row
from rich.console import Console
from rich.table import Table
from torch.nn.functional import adaptive_avg_pool2d

from lightning_vsml import LearningAlgorithm, checkpoints, datasets
from lightning_vsml.algorithms.options import Parser, Refused, count, device, folder, natural
from lightning_vsml.lab.networks import Conv


def sizes(text: str) -> tuple[int | Conv, ...]:
    """Of hidden layers; c8 is a convolution with 8 channels, 3 x 3 with stride 2.

    >>> sizes("64,32"), sizes(""), sizes("c8,32")
    ((64, 32), (), (Conv(channels=8, kernel=3, stride=2), 32))
    """
    try:
        found = [(size[0] == "c", count(size.removeprefix("c"))) for size in text.split(",") if size]
        return tuple(Conv(size) if convolves else size for convolves, size in found)
    except argparse.ArgumentTypeError:
        wanted = "sizes of hidden layers joined by commas, as 64,32 or c8,32, or '' for none"
        raise argparse.ArgumentTypeError(f"expected {wanted}, got {text!r}") from None


def parse() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("--dataset", nargs="+", choices=datasets.NAMES, default=["mnist", "fashion_mnist"])
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="holds MNIST/raw/*.gz, or gets them")
    parser.add_argument("--algorithm", nargs="+", default=checkpoints.names("cellular"), help="default: all shipped")
    parser.add_argument("--batch-size", type=count, nargs="+", default=[16, 64])
    parser.add_argument("--hidden", type=sizes, nargs="+", action="extend", help='as "" 32 64,32; default: "" 32')
    parser.add_argument("--size", type=count, help="of images, in pixels; default: as they are")
    parser.add_argument("--seeds", type=count, default=8)
    parser.add_argument("--steps", type=count, default=1000, help=f"below {RACE}: without the race to Adam")
    parser.add_argument("--long", type=natural, default=0, help="test the algorithms and SGD after so many steps, too")
    parser.add_argument("--no-race", action="store_true", help="without the race to Adam, which tests often")
    parser.add_argument("--no-neighbour", action="store_true", help="without 1-NN, which takes the longest")
    parser.add_argument("--device", type=device, default="auto")
    parser.add_argument("--run-dir", type=folder, default=Path("logs") / "online")
    options = parser.parse_args()
    parser.without_effect(options.dataset == ["digits"], "with --dataset digits", "--data-dir")
    parser.without_effect(options.steps < RACE, f"with fewer steps than {RACE}", "--no-race")
    return options


def main() -> None:
    options = parse()
    try:
        algorithms = [checkpoints.load(name, options.device, kind=LearningAlgorithm) for name in options.algorithm]
        data = [resized(datasets.load(name, options.data_dir), options.size) for name in options.dataset]
    except (ValueError, datasets.DatasetError) as error:
        raise Refused(Path(__file__).name, str(error)) from error
    options.run_dir.mkdir(parents=True, exist_ok=True)
    for name in ("online", "race", "long"):  # of a run before
        (options.run_dir / f"{name}.csv").unlink(missing_ok=True)
    console = Console(width=None if Console().is_terminal else 140)
    panels: list[Panel] = []
    for images, batch in product(data, options.batch_size):
        share = (batch, options.steps, range(options.seeds), options.device)
        memories = list(Group(images, (), *share).memories(not options.no_neighbour))
        for hidden in options.hidden or [(), (32,)]:
            group = Group(images, hidden, *share)
            columns = {"dataset": images.name, "network": group.network, "batch": batch}
            optimizers = list(group.optimizers())
            contenders = [*optimizers, *memories, *group.algorithms(algorithms)]
            rows = [row for window in windows(options.steps) for row in table(contenders, window, list(GRIDS))]
            append(options.run_dir / "online.csv", columns, rows)
            console.print(online_table(f"{images.name}, {group.network}, batches of {batch}", rows))
            for row in rows:
                if row["lr_at_edge"]:
                    console.print(
                        f"Warning: {row['learner']}, steps {row['window']}: best lr at the grid's edge, {row['lr']:g}."
                    )
            if options.steps >= RACE and not options.no_race:
                append(options.run_dir / "race.csv", columns, rows := group.race(contenders))
                console.print(race_table(rows))
            if options.long:
                append(
                    options.run_dir / "long.csv", columns, rows := group.long(optimizers[0], algorithms, options.long)
                )
                console.print(long_table(rows))
            panels.append((images.name, group.network, batch, contenders))
            draw(panels).savefig(options.run_dir / "online.png", dpi=120)
    console.print(f"wrote {', '.join(sorted(file.name for file in options.run_dir.iterdir()))} to {options.run_dir}")


def resized(images: datasets.Images, size: int | None) -> datasets.Images:
    if size is None:
        return images
    return images._replace(x=adaptive_avg_pool2d(images.x, size), x_test=adaptive_avg_pool2d(images.x_test, size))


def append(file: Path, columns: Row, rows: Sequence[Row]) -> None:
    """To a CSV file, which gets its header with the first rows."""
    new = not file.exists()
    with open(file, "a", newline="") as opened:
        writer = csv.DictWriter(opened, [*columns, *rows[0]])
        if new:
            writer.writeheader()
        for row in rows:
            writer.writerow(columns | {key: f"{v:.6g}" if isinstance(v, float) else v for key, v in row.items()})


def online_table(title: str, rows: Sequence[Row]) -> Table:
    shown = Table("steps", "learner", "lr", "online accuracy, %", *(f"- best {name}" for name in GRIDS), title=title)
    for previous, row in zip([None, *rows], rows, strict=False):
        if previous and previous["window"] != row["window"]:
            shown.add_section()
        differences = [
            percent(row, f"difference_to_best_{name}", f"standard_error_to_best_{name}", "+") for name in GRIDS
        ]
        shown.add_row(row["window"], row["learner"], rate(row), percent(row, "online_mean", "online_std"), *differences)
    shown.caption = "± standard deviation over seeds; of paired differences ± standard error; * at the grid's edge"
    return shown


def race_table(rows: Sequence[Row]) -> Table:
    shown = Table("learner", "lr", "steps", "/ Adam's")
    shown.title = f"Steps to {rows[0]['target']:.2%} in the test, as Adam after {RACE}"
    for row in rows:
        step, ratio = row["first_step"], row["ratio_to_adam"]
        shown.add_row(row["learner"], rate(row), str(step or f"> {TESTED[-1]}"), f"{ratio:.2f}" if ratio else "")
    return shown


def long_table(rows: Sequence[Row]) -> Table:
    shown = Table("learner", "lr", "test accuracy, %", "- SGD", title=f"After {rows[0]['steps']} steps")
    for row in rows:
        difference = percent(row, "difference_to_SGD", "standard_error_to_SGD", "+")
        shown.add_row(row["learner"], rate(row), percent(row, "test_mean", "test_std"), difference)
    return shown


def percent(row: Row, mean: str, spread: str, sign: str = "") -> str:
    return f"{100 * row[mean]:{sign}.2f} ± {100 * row[spread]:.2f}"


def rate(row: Row) -> str:
    """A learning rate and where it is from."""
    if row["lr"] is None:
        return ""
    tuned = "tuned" if row["kind"] == "optimizer" else "own"
    return f"{row['lr']:g} {tuned}{'*' if row.get('lr_at_edge') else ''}"


if __name__ == "__main__":
    main()
