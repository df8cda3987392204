"""Optimizers and learning algorithms side by side, on a user's own module and data."""

import copy
import inspect
import math
import os
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule, LightningModule, seed_everything
from lightning.pytorch.utilities import CombinedLoader
from lightning.pytorch.utilities.seed import isolate_rng
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch.utils.data import DataLoader

from lightning_vsml.algorithms.base import Algorithm, Pace
from lightning_vsml.binding.settings import algorithm_of
from lightning_vsml.report.batches import Batches
from lightning_vsml.report.errors import ReportError
from lightning_vsml.report.figures import distance
from lightning_vsml.report.outcome import Outcome, Plan
from lightning_vsml.report.result import Parity
from lightning_vsml.report.run import Stopped, Subject, check_trainer, run, weights_of

SGD = (0.01, 0.03, 0.1, 0.3, 1.0)
ADAM = (0.0003, 0.001, 0.003, 0.01, 0.03)
Wanted = str | os.PathLike[str] | Algorithm | tuple[str | os.PathLike[str] | Algorithm, float]


def parity(
    module: LightningModule,
    data: LightningDataModule | Iterable[Any] | None = None,
    *,
    algorithms: Sequence[Wanted] = ("backprop", "adaptive"),
    steps: int = 300,
    sgd: Sequence[float] = SGD,
    adam: Sequence[float] = ADAM,
    out: str | os.PathLike[str] | None = None,
    seed: int = 0,
    progress: bool = True,
    **trainer: Any,
) -> Parity:
    """Train copies of a module side by side, from the same weights and by the same batches.

    SGD and Adam run with each of their learning rates, the module's own optimizers as they are, and the algorithms by
    :class:`~lightning_vsml.VSMLLearner`. The module and what is random outside stay as they are. Ctrl-C ends it early,
    with what there is.

    Args:
        module: with its initial weights.
        data: a data module, a loader of batches, or a list of them. ``None``: the module's own ``train_dataloader``.
        algorithms: names, paths of ``.safetensors`` files or objects; ``(algorithm, lr)`` for another rate than its
            own.
        steps: how many batches each learns from.
        sgd, adam: learning rates. SGD also runs with those of the algorithms that scale gradients by one.
        out: a folder for the report, see :meth:`Parity.write`; ``None`` writes none.
        seed: of the order of batches and of what the module draws while it trains.
        progress: show a bar.
        trainer: settings of Trainers, such as ``accelerator``, ``precision``, ``gradient_clip_val``.

    Raises:
        ReportError: a setting, the module or its data is not one that can be run; a step of it fails.
        CheckpointError: an algorithm is not there.
    """
    check_steps(steps)
    plans = plans_of(algorithms, sgd, adam)
    check_module(module)
    check_trainer(trainer)
    folder = None if out is None else Path(out)
    if folder is not None:
        from lightning_vsml.report.writing import check_folder

        check_folder(folder)
    with isolate_rng(), _bar(progress) as bar:
        task = bar.add_task("batches", total=steps)
        seed_everything(seed, verbose=False)
        loader, data_module = loader_of(module, data)
        batches = Batches(loader, steps, lambda there: bar.update(task, completed=there))
        subject = Subject(module, data_module, batches, seed, trainer)
        name = _check(subject)
        if name:
            plans.insert(0, Plan(name, "own"))
        bar.reset(task, total=steps * len(plans))
        result = Parity(
            type(module).__name__, steps, batches, sum(w.numel() for w in weights_of(module).values()), seed
        )
        try:
            for plan in _ordered(plans):
                bar.update(task, description=plan.name)
                outcome = Outcome(plan, steps)
                result.outcomes.append(outcome)
                _attempt(subject, outcome, lambda loss: bar.update(task, advance=1))
                bar.update(task, completed=steps * len(result.outcomes))
                if plan.kind == "SGD" and plan.lr not in _twins(plans):
                    outcome.weights = {}
        except Stopped:
            result.stopped = True
    _measure_distances(result.outcomes, module)
    if folder is not None:
        result.write(folder)
    return result


def plans_of(algorithms: Sequence[Wanted], sgd: Sequence[float], adam: Sequence[float]) -> list[Plan]:
    """What is to run.

    Raises:
        ReportError: a rate that is none, or nothing to run.
        CheckpointError: an algorithm is not there.
    """
    for what, tried in (("sgd", sgd), ("adam", adam)):
        for each in tried:
            check_rate(what, each)
    plans = []
    for wanted in [algorithms] if isinstance(algorithms, str | os.PathLike | Algorithm) else algorithms:
        which, lr = wanted if isinstance(wanted, tuple) else (wanted, None)
        if lr is not None:
            check_rate("algorithms", lr)
        algorithm = algorithm_of(which)
        if lr is not None and algorithm.pace is Pace.NONE:
            raise ReportError(f"{algorithm.name!r} has no learning rate, got {lr:g}: leave it out.")
        own = None if algorithm.pace is Pace.NONE else algorithm.lr
        name, rate = (algorithm.name, own) if lr is None else (f"{algorithm.name}, lr {lr:g}", float(lr))
        plans.append(Plan(name, "algorithm", rate, algorithm))
    if not plans:
        raise ReportError("expected at least one learning algorithm, such as 'backprop', got none.")
    if len({plan.name for plan in plans}) < len(plans):
        raise ReportError(f"expected different algorithms, got {', '.join(plan.name for plan in plans)}.")
    plans += [Plan(f"SGD, lr {rate:g}", "SGD", rate) for rate in sorted({*map(float, sgd), *_twins(plans)})]
    plans += [Plan(f"Adam, lr {rate:g}", "Adam", rate) for rate in sorted(set(map(float, adam)))]
    return plans


def check_rate(what: str, rate: Any) -> None:
    """Refuse a learning rate that is none.

    Raises:
        ReportError: it is not a finite number above 0.
    """
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < math.inf:
        raise ReportError(f"{what}: learning rates should be finite numbers above 0, got {rate!r}.")


def check_steps(steps: int) -> None:
    """Refuse a number of steps that is none.

    Raises:
        ReportError: it is not a whole number above 0.
    """
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise ReportError(f"steps should be a whole number of at least 1, got {steps!r}.")


def check_module(module: Any) -> None:
    """Refuse what is no module to train.

    Raises:
        ReportError: says what it is.
    """
    if not isinstance(module, LightningModule):
        kind = type(module)
        hint = " (of lightning.pytorch, not of pytorch_lightning)" if "pytorch_lightning" in str(kind.__mro__) else ""
        raise ReportError(f"expected a LightningModule{hint}, got {kind.__module__}.{kind.__qualname__}.")


def loader_of(module: LightningModule, data: Any) -> tuple[Iterable[Any], LightningDataModule | None]:
    """Where batches come from.

    Raises:
        ReportError: there is no training data.
    """
    own = data is None
    source: Any = copy.deepcopy(module) if own else data
    if own or isinstance(source, LightningDataModule):
        base = LightningModule if own else LightningDataModule
        if inspect.unwrap(type(source).train_dataloader) is inspect.unwrap(base.train_dataloader):
            raise ReportError(
                f"{type(source).__name__} has no train_dataloader, so there is no data to train on. "
                + ("Give data: a LightningDataModule, a DataLoader or a list of batches." if own else "Define it.")
            )
        try:
            source.prepare_data()
            source.setup("fit")
            loader = source.train_dataloader()
        except Exception as error:
            raise ReportError(f"the data of {type(source).__name__} could not be loaded: {_told(error)}") from error
        return _joined(loader), source if isinstance(source, LightningDataModule) else None
    if not isinstance(data, Iterable):
        raise ReportError(
            f"data should be a LightningDataModule, a DataLoader or a list of batches, got {type(data).__name__}."
        )
    return _joined(data), None


class _Several:
    """Several loaders as one, as Lightning joins them."""

    def __init__(self, loaders: Any) -> None:
        self.loaders = loaders

    def __iter__(self) -> Iterator[Any]:
        return (batch for batch, *_ in CombinedLoader(self.loaders, "max_size_cycle"))


def _joined(loader: Any) -> Iterable[Any]:
    if isinstance(loader, CombinedLoader):
        return _Several(loader.iterables)
    parts = list(loader.values()) if isinstance(loader, dict) else loader if isinstance(loader, list | tuple) else []
    return _Several(loader) if parts and all(isinstance(part, DataLoader) for part in parts) else loader


def _check(subject: Subject) -> str:
    """Run one batch by the module's own optimizers; returns the name of theirs, or nothing if it has none."""
    try:
        trainer = run(subject, Plan("", "own"), Outcome(Plan("", "own"), 1))
    except Stopped:
        raise KeyboardInterrupt from None
    except Exception as error:
        raise ReportError(
            f"{type(subject.module).__name__} does not run by itself, without any algorithm, on the first batch: "
            f"{_told(error)}"
        ) from error
    names = [type(optimizer).__name__ for optimizer in trainer.optimizers]
    if not names or "Mock" in names[0]:
        return ""
    name = f"your {' + '.join(dict.fromkeys(names))}"
    if trainer.lr_scheduler_configs:
        schedulers = dict.fromkeys(type(config.scheduler).__name__ for config in trainer.lr_scheduler_configs)
        return f"{name} with {' + '.join(schedulers)}"
    rate = trainer.optimizers[0].param_groups[0].get("lr")
    return f"{name}, lr {rate:g}" if isinstance(rate, float) else name


def _attempt(subject: Subject, outcome: Outcome, tick: Callable[[float], None]) -> None:
    """A run that fails says so in its outcome, and others go on."""
    try:
        run(subject, outcome.plan, outcome, tick)
    except Stopped:
        raise
    except Exception as error:
        outcome.stopped = _told(error)


def _told(error: BaseException) -> str:
    """An exception in one line, with the place in the user's code."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "site-packages" not in f.filename]
    outside = [frame for frame in frames if os.sep + "lightning_vsml" + os.sep not in frame.filename]
    place = f" ({Path(outside[-1].filename).name}, line {outside[-1].lineno})" if outside else ""
    said = " ".join(str(error).split())
    return f"{type(error).__name__}{': ' if said else ''}{said}{place}"


def _ordered(plans: list[Plan]) -> list[Plan]:
    """Algorithms first, so that a report stopped early has them, each followed by what SGD does at its rate."""
    first = [plan for plan in plans if plan.kind == "algorithm"]
    twins = [plan for plan in plans if plan.kind == "SGD" and plan.lr in _twins(plans)]
    return [*first, *twins, *[plan for plan in plans if plan not in first and plan not in twins]]


def _twins(plans: Iterable[Plan]) -> set[float]:
    """Rates at which an algorithm says that it follows SGD."""
    return {
        plan.lr
        for plan in plans
        if plan.algorithm is not None and plan.algorithm.readable and plan.algorithm.pace is Pace.FEEDBACK and plan.lr
    }


def _measure_distances(outcomes: list[Outcome], module: LightningModule) -> None:
    """Between the weights of algorithms and of SGD at the same rate; they are dropped then."""
    start = weights_of(module)
    for outcome in outcomes:
        twin = next((o for o in outcomes if o.plan.kind == "SGD" and o.plan.lr == outcome.plan.lr), None)
        ready = twin is not None and outcome.complete and twin.complete
        if outcome.plan.kind == "algorithm" and ready and twin is not None and outcome.weights and twin.weights:
            outcome.distance = distance(outcome.weights, twin.weights, start)
    for outcome in outcomes:
        outcome.weights = {}


@contextmanager
def _bar(shown: bool) -> Iterator[Progress]:
    columns = (TextColumn("{task.description:28}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, disable=not shown, transient=True) as bar:
        yield bar
