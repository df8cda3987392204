"""Learning algorithms on tasks that nobody tuned them on (benchmarks/unseen.py), against optimizers tuned for each.

python benchmarks/generalisation.py --data-dir data --cache cache --csv curves.csv --picture curves.png
python benchmarks/generalisation.py --algorithm my.safetensors --factors 0.5 2 --cache cache --tasks "wine*" "iris*"
python benchmarks/generalisation.py --algorithm --cache cache          # the optimizers alone, for later

Loss and accuracy of each batch before learning from it, means over seeds and over a window of steps. All learners get
the same initial networks and batches. SGD, momentum (0.9), Adam, and AdamW with a cosine to 0 have ten learning rates,
and the best counts for every cell (task, window, loss or accuracy), by the very figure that is reported: this favours
them. Algorithms run at their own lr (and at --factors of it), by ``attach``. A tie counts as ahead.
"""

import argparse
import csv
import hashlib
import io
import logging
import math
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from fnmatch import fnmatch
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, median
from typing import Any, NamedTuple

import torch
from comparison import Window, windows
from figure import smooth
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor
from unseen import FROM_DIRECTORY, TASKS, Data, Task, fashion

from lightning_vsml import NonFiniteError, attach, checkpoints, datasets
from lightning_vsml.algorithms.base import Pace
from lightning_vsml.algorithms.files import replace_file
from lightning_vsml.algorithms.options import Parser, Refused, count, file_to_write, folder, positive
from lightning_vsml.lab.ensembles import RATES, Curves, tuned

VERSION = "1"  # of the cached runs; another one whenever optimizers or grids change
ADAMS = ("adam", "adamw-cosine")
TIMED = 50  # steps of SGD, for the time of a step
WORST = 10.0  # what a ratio of losses counts at most, in means
LIMITS = {"loss": 0.05, "accuracy": 0.01}  # how far behind a cell is noted
RACE, TRAILING = 100, 20  # the step whose accuracy is to be reached, and how many the mean is over


class Runs(NamedTuple):
    """A learner on a task.

    Attributes:
        rates: learning rates, or factors of an algorithm's own; of several, the best counts.
        loss, accuracy: on each batch before learning from it, ``(rates, seeds, steps)``; accuracy nan if there is none.
        cost: time of a step over SGD's; nan where it was not measured.
    """

    rates: tuple[float, ...]
    loss: Tensor
    accuracy: Tensor
    cost: float = math.nan

    @property
    def classifies(self) -> bool:
        return not bool(self.accuracy.isnan().all())


class Cell(NamedTuple):
    """What an algorithm reached somewhere, and what the optimizers did.

    Attributes:
        task, window: where.
        figure: loss or accuracy.
        rivals: of each optimizer by its best rate.
        edges: optimizers whose best rate is the first or last of their grid.
        own: the algorithm's.
    """

    task: str
    window: Window
    figure: str
    rivals: dict[str, float]
    edges: tuple[str, ...]
    own: float

    @property
    def best(self) -> str:
        choose = min if self.figure == "loss" else max
        return choose(self.rivals, key=lambda name: self.rivals[name])

    @property
    def lead(self) -> float:
        """Over the best: the share of its loss that is saved, or the difference in accuracy."""
        if self.figure == "accuracy":
            return self.own - self.rivals[self.best]
        return 1 - self.ratio

    @property
    def ratio(self) -> float:
        """Own over the best one's."""
        return self.own / max(self.rivals[self.best], 1e-12)

    @property
    def ahead(self) -> bool:
        return self.lead >= 0


# --- figures


def by_rate(runs: Runs, figure: str, window: Window) -> Tensor:
    """Mean over seeds and a window, of each rate; a loss that is not finite counts as infinite."""
    values = (runs.loss if figure == "loss" else runs.accuracy)[..., slice(*window)].mean((1, 2))
    return values.nan_to_num(math.inf, posinf=math.inf) if figure == "loss" else values


def cells(task: str, optimizers: dict[str, Runs], own: Runs) -> Iterator[Cell]:
    """All windows and figures of a task."""
    for window in windows(own.loss.shape[-1]):
        for figure in ("loss", "accuracy") if own.classifies else ("loss",):
            rivals, edges = {}, []
            for name, runs in optimizers.items():
                values = by_rate(runs, figure, window)
                place = int(values.argmin() if figure == "loss" else values.argmax())
                rivals[name] = float(values[place])
                edges += [name] if place in (0, len(values) - 1) else []
            yield Cell(task, window, figure, rivals, tuple(edges), float(by_rate(own, figure, window)[0]))


def trailing(curves: Tensor, width: int) -> Tensor:
    """Means over ``width`` steps up to each, of the means over seeds: ``(rates, seeds, steps)`` -> ``(rates, steps)``.

    The first value is that of step ``width``, counted from 1.
    """
    return curves.mean(1).unfold(-1, width, 1).mean(-1)


def first_step(smooth: Tensor, target: float, width: int, falling: bool) -> float:
    """The first step, counted from 1, at which any rate is as good as ``target``; infinite if there is none."""
    reached = ((smooth <= target) if falling else (smooth >= target)).any(0).nonzero()
    return float(reached[0]) + width if len(reached) else math.inf


def final_loss(runs: Runs) -> float:
    """Of the last tenth of the steps, by the best rate."""
    steps = runs.loss.shape[-1]
    return float(by_rate(runs, "loss", (steps - max(1, steps // 10), steps)).min())


def speed_up(runs: Runs, adam: Runs) -> float:
    """How many times fewer steps it takes to the loss that the best Adam has at the end; 0 if it does not get there.

    Losses are means over a twentieth of the run's steps, up to each. The first time counts, and of several rates the
    first one: Adam's own figure says what that is worth.
    """
    steps = runs.loss.shape[-1]
    width = max(1, steps // 20)
    target = float(trailing(adam.loss, width)[:, -1].nan_to_num(math.inf).min())
    return steps / first_step(trailing(runs.loss, width), target, width, falling=True)


def race(runs: Runs, adam: Runs) -> float:
    """Steps to the accuracy that the best Adam has after RACE, by means over TRAILING."""
    target = float(trailing(adam.accuracy, TRAILING)[:, RACE - TRAILING].max())
    return first_step(trailing(runs.accuracy, TRAILING), target, TRAILING, falling=False)


def interquartile_mean(values: Sequence[float]) -> float:
    """Without the lowest and the highest quarter, rounded down.

    >>> interquartile_mean([9.0, 1.0, 2.0, 4.0, -7.0])
    2.3333333333333335
    """
    cut = len(values) // 4
    return mean(sorted(values)[cut : len(values) - cut])


def diverged(runs: Runs) -> int:
    """Runs with a loss that is not finite, or above ten times the initial one (mean over seeds)."""
    worst = runs.loss.nan_to_num(math.inf, posinf=math.inf).amax(-1)
    settled = worst.isfinite() & (worst / 10 <= runs.loss[..., 0].mean(1, keepdim=True))
    return int((~settled).sum())


Figures = dict[str, str]  # what is said of a learner


def of_cells(found: Sequence[Cell]) -> Figures:
    """How an algorithm stands against the best optimizer of each cell."""
    by_figure = {name: [cell for cell in found if cell.figure == name] for name in LIMITS}
    said = {}
    for what, chosen in {"": found, **{f" by {name}": chosen for name, chosen in by_figure.items()}}.items():
        if chosen:
            said[f"cells ahead{what}"] = f"{mean(cell.ahead for cell in chosen):.0%} of {len(chosen)}"
    behind = sum(cell.lead < -LIMITS[cell.figure] for cell in found)
    said["cells 5 % of the loss or 1 point behind"] = str(behind)
    for window in dict.fromkeys(cell.window for cell in found):
        ratios = [cell.ratio for cell in by_figure["loss"] if cell.window == window]
        logs = [math.log(max(min(ratio, WORST), 1 / WORST)) for ratio in ratios]
        said[f"mean log(loss / best tuned), {window[0]}-{window[1]}"] = f"{mean(logs):+.3f}"
    for name, chosen in by_figure.items():
        if chosen:
            worst = min(chosen, key=lambda cell: cell.lead)
            short = max(0.0, -100 * worst.lead)
            said[f"largest shortfall of {name}"] = f"{short:.3g} %" if name == "loss" else f"{short:.2f} points"
            said[f"- where, {name}"] = f"{worst.task}, {worst.window[0]}-{worst.window[1]}"
    return said


def of_runs(runs: Sequence[Runs], adams: Sequence[Runs]) -> Figures:
    """A learner, optimizers included, against the best Adam, over tasks."""
    pairs = list(zip(runs, adams, strict=True))
    said = {
        "final loss / best Adam's (IQM)": f"{interquartile_mean([relative(*pair) for pair in pairs]):.3f}",
        "speed-up in steps of best Adam (IQM)": f"{interquartile_mean([speed_up(*pair) for pair in pairs]):.2f}",
    }
    racing = [race(*pair) for pair in pairs if pair[0].classifies and pair[0].loss.shape[-1] >= RACE]
    if racing:
        never = f" (never: {missed})" if (missed := sum(map(math.isinf, racing))) else ""
        said[f"steps to best Adam's accuracy at {RACE} (median)"] = f"{median(racing):g}{never}"
    if len(runs[0].rates) == 1:
        said["diverged runs"] = f"{sum(map(diverged, runs))} of {sum(own.loss.shape[1] for own in runs)}"
        said["time of a step / SGD's (median)"] = f"{median(own.cost for own in runs):.1f}"
    return said


def relative(runs: Runs, adam: Runs) -> float:
    """Final loss over the best Adam's."""
    return min(final_loss(runs) / max(final_loss(adam), 1e-12), WORST)


# --- runs


def rates_of(task: Task, kind: str) -> tuple[float, ...]:
    return tuple(lr * (task.reach if kind in ADAMS else 1.0) for lr in RATES[kind])


def digest(task: Task, data: Data, seed: int) -> str:
    """Of the initial network, the first batch and the rates: whether a task is what it was, for short."""
    x, y = next(task.batches(data, seed, 1))
    tensors = (*task.module(seed).parameters(), x, y, *(torch.tensor(rates_of(task, kind)) for kind in RATES))
    content = b"".join(tensor.detach().contiguous().numpy().tobytes() for tensor in tensors)
    return hashlib.sha256(content).hexdigest()[:12]


class Ask(NamedTuple):
    """A run: of the optimizers (no algorithm), or of an algorithm at ``factor`` times its own lr."""

    task: str
    seed: int
    steps: int
    data_dir: Path
    cache: Path | None = None
    algorithm: str = ""
    factor: float = 1.0


def optimize(ask: Ask) -> dict[str, Curves]:
    """Each optimizer at all its rates, from the cache where it is there."""
    task = TASKS[ask.task]
    data = task.load(ask.data_dir)
    slug = "".join(character if character.isalnum() else "_" for character in ask.task)
    file = ask.cache and ask.cache / f"{slug}-{ask.seed}-{ask.steps}-{VERSION}-{digest(task, data, ask.seed)}.pt"
    if file and file.is_file():
        return {kind: Curves(*curves) for kind, curves in torch.load(file, weights_only=True).items()}
    found = {}
    for kind in RATES:
        batches = task.batches(data, ask.seed, ask.steps)
        found[kind] = tuned(task.module(ask.seed), task.judge, batches, kind, rates_of(task, kind), steps=ask.steps)
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        torch.save({kind: tuple(curves) for kind, curves in found.items()}, buffer)
        replace_file(file, buffer.getvalue())
    return found


class Learned(NamedTuple):
    """One run of an algorithm: loss and accuracy, ``(steps,)``, and the time of a step over SGD's."""

    loss: Tensor
    accuracy: Tensor
    cost: float


def learn(ask: Ask) -> Learned:
    """By an algorithm. From where a number is not finite, loss is infinite and accuracy 0."""
    task, algorithm = TASKS[ask.task], checkpoints.load(ask.algorithm)
    data, module = task.load(ask.data_dir), task.module(ask.seed)
    loss, accuracy, seconds = torch.full((ask.steps,), math.inf), torch.zeros(ask.steps), []
    lr = None if ask.factor == 1 else algorithm.lr * ask.factor
    with quiet(), attach(module, algorithm, lr=lr) as synapses:
        try:
            for step, (x, y) in enumerate(task.batches(data, ask.seed, ask.steps)):
                began = time.perf_counter()
                judged, accuracy[step] = task.judge(module(x), y)
                if not judged.isfinite():
                    break
                loss[step] = judged.detach()
                judged.backward()
                synapses.step()
                synapses.zero_grad()
                seconds.append(time.perf_counter() - began)
        except NonFiniteError:
            pass
    if accuracy[0].isnan():  # there is none
        accuracy.fill_(math.nan)
    return Learned(loss, accuracy, median(seconds or [math.nan]) / plain_seconds(task, data, min(ask.steps, TIMED)))


def plain_seconds(task: Task, data: Data, steps: int) -> float:
    """Of a step of SGD."""
    module, seconds = task.module(0), []
    optimizer = torch.optim.SGD(module.parameters(), lr=1e-6)
    for x, y in task.batches(data, 0, steps):
        began = time.perf_counter()
        loss, _ = task.judge(module(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seconds.append(time.perf_counter() - began)
    return median(seconds)


@contextmanager
def quiet() -> Iterator[None]:
    """Without what is said of inputs beyond an algorithm's reach."""
    logger = logging.getLogger("lightning.pytorch")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


@contextmanager
def mapping(processes: int) -> Iterator[Callable[..., Iterable[Any]]]:
    """A ``map`` that shares the work among processes; with one it is Python's own."""
    if processes == 1:
        yield map
        return
    with ProcessPoolExecutor(processes, get_context("spawn"), one_thread) as pool:
        yield pool.map


def one_thread() -> None:
    torch.set_num_threads(1)


def together(found: Sequence[dict[str, Curves]], task: Task) -> dict[str, Runs]:
    """Seeds of the optimizers."""
    return {
        kind: Runs(
            rates_of(task, kind),
            torch.stack([curves[kind].loss for curves in found]).permute(2, 0, 1),
            torch.stack([curves[kind].metric for curves in found]).permute(2, 0, 1),
        )
        for kind in RATES
    }


def title(algorithm: str, factor: float) -> str:
    name = Path(algorithm).stem
    name = f"{name} (algorithm)" if name in RATES else name
    return name if factor == 1 else f"{name}, {factor:g} lr"


# --- as a user runs it


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("--algorithm", nargs="*", default=["adaptive"], help="names or files; none: optimizers alone")
    parser.add_argument("--factors", nargs="*", type=positive, default=[], help="also run at these times the own lr")
    parser.add_argument("--tasks", nargs="+", default=["*"], help='patterns of names, as "wine*"; default: all')
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="holds FashionMNIST/raw/*.gz, or gets them")
    parser.add_argument("--seeds", type=count, default=3)
    parser.add_argument("--steps", type=count, default=1000)
    parser.add_argument("--processes", type=count, default=1)
    parser.add_argument("--cache", type=folder, help="keeps the optimizers' runs")
    parser.add_argument("--csv", type=file_to_write(), help="gets loss and accuracy of all learners, rates and windows")
    parser.add_argument("--picture", type=file_to_write(), help="gets loss curves")
    options = parser.parse_args(arguments)
    parser.without_effect(not options.algorithm, "without an algorithm", "--factors")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    console = Console(width=None if Console().is_terminal else 140)
    versions = [(name, factor) for name in options.algorithm for factor in dict.fromkeys([1.0, *options.factors])]
    try:
        for name in options.algorithm:
            if checkpoints.load(name).pace is Pace.NONE and options.factors:
                raise ValueError(f"{name!r} has no learning rate, so there is nothing to multiply by --factors.")
        if len({title(*version) for version in versions}) < len(versions):
            raise ValueError("algorithms should have different names.")
    except ValueError as error:
        raise Refused(Path(__file__).name, str(error)) from error
    tasks = available(options, console)
    found = gather(options, tasks, versions, console)
    said = {kind: of_runs(*columns(found, kind)) for kind in RATES}
    for name, factor in versions:
        learner = title(name, factor)
        reached = [
            cell
            for task, runs in found.items()
            for cell in cells(task, {kind: runs[kind] for kind in RATES}, runs[learner])
        ]
        if factor == 1:
            console.print(cell_table(learner, reached))
        said[learner] = of_cells(reached) | of_runs(*columns(found, learner))
    console.print(summary(said, f"{len(tasks)} tasks, {options.seeds} seeds, {options.steps} steps"))
    if options.csv:
        write(options.csv, tasks, found)
    if options.picture:
        options.picture.parent.mkdir(parents=True, exist_ok=True)
        draw(found, [title(name, 1.0) for name in options.algorithm]).savefig(options.picture, dpi=110)


def available(options: argparse.Namespace, console: Console) -> list[Task]:
    """Tasks that were asked for and have their data."""
    tasks = [task for task in TASKS.values() if any(fnmatch(task.name, pattern) for pattern in options.tasks)]
    if any(task.load in FROM_DIRECTORY for task in tasks):
        try:
            fashion(options.data_dir)
        except datasets.DatasetError as error:
            console.print(f"Without Fashion-MNIST: {error}")
            tasks = [task for task in tasks if task.load not in FROM_DIRECTORY]
    if not tasks:
        raise Refused(Path(__file__).name, f"no task is left; there are {', '.join(TASKS)}")
    return tasks


def gather(
    options: argparse.Namespace, tasks: Sequence[Task], versions: Sequence[tuple[str, float]], console: Console
) -> dict[str, dict[str, Runs]]:
    """Run everything: task -> learner -> runs."""
    seeds = options.seeds
    share = [Ask(task.name, seed, options.steps, options.data_dir) for task in tasks for seed in range(seeds)]
    caching = [ask._replace(cache=options.cache) for ask in share]
    asked = [ask._replace(algorithm=name, factor=factor) for name, factor in versions for ask in share]
    with mapping(options.processes) as over:
        optimized = list(shown("optimizers", caching, over(optimize, caching), console))
        learned = iter(list(shown("algorithms", asked, over(learn, asked), console)))
    found = {
        task.name: together(optimized[place * seeds : (place + 1) * seeds], task) for place, task in enumerate(tasks)
    }
    for name, factor in versions:
        for task in tasks:
            loss, accuracy, costs = zip(*(next(learned) for _ in range(seeds)), strict=True)
            own = Runs((factor,), torch.stack(loss)[None], torch.stack(accuracy)[None], median(costs))
            found[task.name][title(name, factor)] = own
    return found


def columns(found: dict[str, dict[str, Runs]], learner: str) -> tuple[list[Runs], list[Runs]]:
    """A learner's runs of all tasks, and Adam's."""
    return [runs[learner] for runs in found.values()], [runs["adam"] for runs in found.values()]


def shown(what: str, asked: Sequence[Ask], results: Iterable[Any], console: Console) -> Iterator[Any]:
    """Results as they come, with a bar, or a line for each where there is no terminal."""
    if console.is_terminal:
        yield from track(results, what, len(asked), console=console, transient=True)
        return
    for place, result in enumerate(results):
        ask = asked[place]
        who = title(ask.algorithm, ask.factor) if ask.algorithm else what
        print(f"{time.strftime('%H:%M:%S')} {place + 1}/{len(asked)} {who}: {ask.task}, seed {ask.seed}", flush=True)
        yield result


def cell_table(learner: str, found: Sequence[Cell]) -> Table:
    """Best optimizers and the algorithm, a row for every task and window."""
    heads = [head for figure in ("loss", "accuracy, %") for head in (f"best tuned {figure}", "own", "lead")]
    table = Table("task", "steps", *heads, "ahead by", title=f"{learner}: before learning from each batch")
    table.caption = "lead: share of the best loss that is saved, %; points of accuracy. * at the edge of its grid"
    by_place: dict[tuple[str, Window], dict[str, Cell]] = {}
    for cell in found:
        by_place.setdefault((cell.task, cell.window), {})[cell.figure] = cell
    before = None
    for (task, window), place in by_place.items():
        if before not in (None, task):
            table.add_section()
        row = []
        for figure, form, scale, lead in (("loss", "{:.4g}", 1, "{:+.3g}"), ("accuracy", "{:.2f}", 100, "{:+.2f}")):
            if figure in place:
                cell = place[figure]
                best = f"{form.format(scale * cell.rivals[cell.best])} {cell.best}{'*' * (cell.best in cell.edges)}"
                row += [best, form.format(scale * cell.own), lead.format(100 * cell.lead)]
            else:
                row += [""] * 3
        ahead = [figure for figure, cell in place.items() if cell.ahead]
        label = "both" if len(ahead) == 2 else ahead[0] if ahead else "-"
        table.add_row("" if before == task else task, f"{window[0]}-{window[1]}", *row, label)
        before = task
    return table


def summary(said: dict[str, Figures], title: str) -> Table:
    """A row for every figure, a column for every learner."""
    table = Table(title=title)
    table.add_column("", min_width=44)
    for learner in said:
        table.add_column(learner)
    for figure in dict.fromkeys(figure for figures in said.values() for figure in figures):
        table.add_row(figure, *(figures.get(figure, "") for figures in said.values()))
    table.caption = (
        f"Optimizers by the best rate for each task and figure; ratios count {WORST:g} at most; IQM: interquartile mean"
    )
    return table


COLUMNS = ("task", "family", "batch", "learner", "rate", "window", "loss", "accuracy", "seeds", "diverged", "cost")


def write(file: Path, tasks: Sequence[Task], found: dict[str, dict[str, Runs]]) -> None:
    """All there is, a row for every task, learner, rate and window; ``diverged`` runs are those of the whole length."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file, "w", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(COLUMNS)
        for task in tasks:
            for learner, runs in found[task.name].items():
                for window in windows(runs.loss.shape[-1]):
                    values = [by_rate(runs, figure, window).tolist() for figure in ("loss", "accuracy")]
                    for place, (rate, loss, accuracy) in enumerate(zip(runs.rates, *values, strict=True)):
                        one = Runs((rate,), runs.loss[place, None], runs.accuracy[place, None])
                        what = (task.name, task.family, task.batch, learner, f"{rate:g}", f"{window[0]}-{window[1]}")
                        figures = (f"{loss:.6g}", f"{accuracy:.6g}", len(one.loss[0]), diverged(one))
                        writer.writerow((*what, *figures, f"{runs.cost:.3g}"))


def draw(found: dict[str, dict[str, Runs]], algorithms: Sequence[str]) -> Figure:
    """Loss curves, a panel for every task; optimizers with the rate of the lowest mean loss."""
    across = min(4, len(found))
    down = -(-len(found) // across)
    figure = Figure(figsize=(4.4 * across, 1 + 3.1 * down), layout="constrained")
    axes = figure.subplots(down, across, squeeze=False).flatten()
    for axis in axes[len(found) :]:
        axis.set_axis_off()
    for axis, (task, runs) in zip(axes, found.items(), strict=False):
        for learner in (*RATES, *algorithms):
            bold = learner in algorithms
            loss = runs[learner].loss
            steps = loss.shape[-1]
            best = loss[by_rate(runs[learner], "loss", (0, steps)).argmin()].T  # (steps, seeds)
            style = {"linewidth": 2.4, "zorder": 3} if bold else {"linewidth": 1.2, "alpha": 0.8}
            axis.plot(*smooth(best, (0, steps)), label=learner if bold else f"{learner}, tuned", **style)
        axis.set(title=task, xlabel="learning step", xscale="log", yscale="log")
        lows, highs = zip(*((min(y), y[0]) for y in (line.get_ydata() for line in axis.lines)), strict=True)
        axis.set_ylim(max(min(lows) * 0.8, 1e-6), 2 * max(high for high in highs if math.isfinite(high)))
        axis.title.set_fontsize("small")
        axis.grid(alpha=0.25)
    figure.supylabel("loss before learning from a batch")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2 * across, frameon=False)
    return figure


if __name__ == "__main__":
    main()
