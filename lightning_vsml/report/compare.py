"""Optimizers and learning algorithms side by side, on a user's own module and data."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule, LightningModule, seed_everything
from lightning.pytorch.utilities.seed import isolate_rng
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lightning_vsml.report.batches import Batches
from lightning_vsml.report.errors import ReportError, told
from lightning_vsml.report.figures import distance
from lightning_vsml.report.loading import loader_of
from lightning_vsml.report.outcome import Outcome, Plan
from lightning_vsml.report.plans import ADAM, SGD, Wanted, ordered, plans_of, twins
from lightning_vsml.report.result import Parity
from lightning_vsml.report.run import Stopped, Subject, check_trainer, run, weights_of


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
            for plan in ordered(plans):
                bar.update(task, description=plan.name)
                outcome = Outcome(plan, steps)
                result.outcomes.append(outcome)
                _attempt(subject, outcome, lambda loss: bar.update(task, advance=1))
                bar.update(task, completed=steps * len(result.outcomes))
                if plan.kind == "SGD" and plan.lr not in twins(plans):
                    outcome.weights = {}
        except Stopped:
            result.stopped = True
    _measure_distances(result.outcomes, module)
    if folder is not None:
        result.write(folder)
    return result


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


def _check(subject: Subject) -> str:
    """Run one batch by the module's own optimizers; returns the name of theirs, or nothing if it has none."""
    try:
        trainer = run(subject, Plan("", "own"), Outcome(Plan("", "own"), 1))
    except Stopped:
        raise KeyboardInterrupt from None
    except Exception as error:
        raise ReportError(
            f"{type(subject.module).__name__} does not run by itself, without any algorithm, on the first batch: "
            f"{told(error)}"
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
        outcome.stopped = told(error)


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
