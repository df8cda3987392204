"""Learning algorithms on tasks that nobody tuned them on (benchmarks/unseen.py), against optimizers tuned for each.

python benchmarks/generalisation.py --data-dir data --cache cache --csv curves.csv --picture curves.png
python benchmarks/generalisation.py --algorithm my.safetensors --factors 0.5 2 --cache cache --tasks "wine*" "iris*"
python benchmarks/generalisation.py --algorithm --cache cache          # the optimizers alone, for later

Loss and accuracy of each batch before learning from it, means over seeds and over a window of steps. All learners get
the same initial networks and batches. SGD, momentum (0.9), Adam, and AdamW with a cosine to 0 have ten learning rates,
and the best counts for every cell (task, window, loss or accuracy), by the very figure that is reported: this favours
them. Adam at one rate a task, the best over all steps, shows how much. Algorithms run at their own lr (and at
--factors of it), by ``attach``. A tie counts as ahead.
"""

import argparse
import hashlib
import io
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from fnmatch import fnmatch
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, median
from typing import Any, NamedTuple

import torch
from cells import Cell, Figures, Runs, cells, of_cells, of_runs, settled
from cells_shown import cell_table, draw, summary, write
from rich.console import Console
from rich.progress import track
from torch import Tensor
from unseen import FROM_DIRECTORY, TASKS, Data, Task, fashion

from lightning_vsml import NonFiniteError, attach, checkpoints, datasets
from lightning_vsml.algorithms.base import Pace
from lightning_vsml.algorithms.files import replace_file
from lightning_vsml.algorithms.options import Parser, Refused, count, file_to_write, folder, positive
from lightning_vsml.fit.silence import quiet
from lightning_vsml.lab.ensembles import RATES, Curves, tuned

VERSION = "1"  # of the cached runs; another one whenever optimizers or grids change
ADAMS = ("adam", "adamw-cosine")
TIMED = 50  # steps of SGD, for the time of a step

SETTLED = "adam, one rate a task"

Found = dict[str, dict[str, Runs]]  # task -> learner -> runs


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
    console = Console(width=None if Console().is_terminal else 200)
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
        own = {task: runs[learner] for task, runs in found.items()}
        if factor == 1:
            console.print(cell_table(learner, against(tuned_only(found), own)))
        said[learner] = judged(found, own)
    said[SETTLED] = judged(found, {task: settled(runs["adam"]) for task, runs in found.items()})
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
) -> Found:
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


def columns(found: Found, learner: str) -> tuple[list[Runs], list[Runs]]:
    """A learner's runs of all tasks, and Adam's."""
    return [runs[learner] for runs in found.values()], [runs["adam"] for runs in found.values()]


def against(rivals: Found, own: dict[str, Runs]) -> list[Cell]:
    """Runs of a learner by task, against the best of its rivals in every cell."""
    return [cell for task, runs in rivals.items() for cell in cells(task, runs, own[task])]


def judged(found: Found, own: dict[str, Runs]) -> Figures:
    """What is said of a learner's runs by task: against the best of the optimizers, and against Adam as one uses it."""
    adams = {task: {SETTLED: settled(runs["adam"])} for task, runs in found.items()}
    ahead = mean(cell.ahead for cell in against(adams, own))
    said = of_cells(against(tuned_only(found), own)) | {f"cells ahead of {SETTLED}": f"{ahead:.0%}"}
    return said | of_runs(list(own.values()), columns(found, "adam")[1])


def tuned_only(found: Found) -> Found:
    return {task: {kind: runs[kind] for kind in RATES} for task, runs in found.items()}


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


if __name__ == "__main__":
    main()
