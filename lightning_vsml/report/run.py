"""One learner on a copy of the module, by a Trainer of its own."""

import copy
import inspect
import math
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from lightning.pytorch import LightningDataModule, LightningModule, Trainer, seed_everything
from lightning.pytorch.loggers.logger import DummyLogger
from torch import Tensor

from lightning_vsml.binding.health import NonFiniteError
from lightning_vsml.fit.learner import VSMLLearner
from lightning_vsml.fit.silence import quiet
from lightning_vsml.report import optimizers
from lightning_vsml.report.batches import Batches, Epochs
from lightning_vsml.report.errors import ReportError
from lightning_vsml.report.outcome import Outcome, Plan
from lightning_vsml.report.recorder import NO_LOSS, Recorder

MEASURED = 16  # steps of a run on which layers are compared with gradients

FIXED = {
    "devices": 1,
    "limit_val_batches": 0,
    "num_sanity_val_steps": 0,
    "log_every_n_steps": 2**31,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "enable_checkpointing": False,
}


@dataclass
class Subject:
    """What every learner starts from.

    Attributes:
        module: with its initial weights; copied, and never changed.
        data: whose hooks treat batches, if it is a data module.
        batches: the same for all.
        seed: of whatever the module draws while it trains, as in dropout.
        trainer: further settings of Trainers.
    """

    module: LightningModule
    data: LightningDataModule | None
    batches: Batches
    seed: int = 0
    trainer: Mapping[str, Any] = field(default_factory=dict)


class Stopped(Exception):
    """Ctrl-C; what there is of the run is in its outcome."""


def check_trainer(settings: Mapping[str, Any]) -> None:
    """Refuse settings that no Trainer has, or that are the report's.

    Raises:
        ReportError: names them.
    """
    own = {*FIXED, "max_epochs", "max_steps", "max_time", "logger", "callbacks"}
    known = set(inspect.signature(Trainer.__init__).parameters) - own
    if wrong := [name for name in settings if name not in known]:
        why = "the report sets that itself" if wrong[0] in own else "a Trainer has no such setting"
        raise ReportError(f"{wrong[0]}={settings[wrong[0]]!r}: {why}. Leave it out.")


def run(subject: Subject, plan: Plan, outcome: Outcome, tick: Callable[[float], None] = lambda _: None) -> Trainer:
    """Fit a copy of the module.

    Args:
        subject: what learns, and from what.
        plan: how.
        outcome: is filled, step by step.
        tick: called after every step, with its loss.

    Returns:
        The Trainer, afterwards.

    Raises:
        Stopped: by Ctrl-C.
        Exception: whatever the module or the learner raises, but for losses that are not finite.
    """
    module = copy.deepcopy(subject.module)
    learner = None
    if plan.algorithm is not None:
        learner = VSMLLearner(plan.algorithm, lr=plan.lr)
    if plan.kind != "own":
        optimizers.replace(module, plan.kind, plan.lr or 1.0)
    module.configure_callbacks = list  # type: ignore[method-assign]  # they are about whole trainings
    recorder = Recorder(outcome, learner, measured_steps(outcome.steps), tick)
    recorder.listen(module)
    with quiet(), _interruptible():
        seed_everything(subject.seed, verbose=False)
        trainer = Trainer(
            **{
                **subject.trainer,
                **FIXED,
                "max_epochs": math.ceil(outcome.steps / subject.batches.epoch),
                "logger": DummyLogger(),
                "callbacks": [recorder, *([] if learner is None else [learner])],
            }
        )
        try:
            trainer.fit(module, **_loaders(subject, outcome.steps))
        except (KeyboardInterrupt, SystemExit):
            outcome.stopped = "Ctrl-C"
        except NonFiniteError as error:
            outcome.stopped = str(error).split(". ")[0]
        if trainer.interrupted:  # Lightning before 2.5 returns
            outcome.stopped = "Ctrl-C"
    if outcome.stopped == "Ctrl-C":
        raise Stopped
    if outcome.stopped == NO_LOSS:
        raise ValueError(f"{type(subject.module).__name__}.training_step: {NO_LOSS}. It should return one.")
    if plan.kind in ("algorithm", "SGD"):
        outcome.weights = weights_of(module)
    return trainer


def measured_steps(steps: int) -> set[int]:
    """Often at first, and ever more seldom."""
    return {round((steps - 1) * (place / (MEASURED - 1)) ** 2) for place in range(MEASURED)}


def weights_of(module: LightningModule) -> dict[str, Tensor]:
    """On the CPU, by name."""
    return {name: p.detach().to("cpu", copy=True) for name, p in module.named_parameters() if p.requires_grad}


def _loaders(subject: Subject, steps: int) -> dict[str, Any]:
    """What a fit takes: the batches, through the hooks of the data module."""
    batches = copy.copy(subject.batches)
    batches.steps = steps
    epochs = Epochs(batches)
    if subject.data is None:
        return {"train_dataloaders": epochs}
    data = copy.copy(subject.data)  # its data is shared
    data.train_dataloader = lambda: epochs  # type: ignore[method-assign]
    data.prepare_data = lambda: None  # type: ignore[method-assign]
    data.setup = lambda stage: None  # type: ignore[method-assign]
    data.teardown = lambda stage: None  # type: ignore[method-assign]
    return {"datamodule": data}


@contextmanager
def _interruptible() -> Iterator[None]:
    """Lightning ignores Ctrl-C after the first."""
    main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT) if main else None
    try:
        yield
    finally:
        if main and before is not None:
            signal.signal(signal.SIGINT, before)
