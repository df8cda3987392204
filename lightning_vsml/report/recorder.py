"""Notes what happens in a run: losses, metrics, times, memory, and how layers change."""

import math
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torchmetrics import Metric

from lightning_vsml.binding.synapses import Synapses
from lightning_vsml.fit import report
from lightning_vsml.fit.learner import VSMLLearner
from lightning_vsml.report.comparison import Comparison
from lightning_vsml.report.outcome import Outcome


class Recorder(Callback):
    """Fills an :class:`Outcome`; stands before the learner among callbacks.

    Args:
        outcome: of this run.
        learner: if it learns by an algorithm.
        measured: steps on which layers are compared with gradients.
        tick: called after every step, with the loss.
    """

    def __init__(
        self, outcome: Outcome, learner: VSMLLearner | None, measured: set[int], tick: Callable[[float], None]
    ) -> None:
        self.outcome, self.learner, self.measured, self.tick = outcome, learner, measured, tick
        self._logged: dict[str, float] = {}
        self._backward: list[Tensor] = []
        self._comparison: Comparison | None = None
        self._start = math.nan

    def listen(self, module: LightningModule) -> None:
        """Hear what the module logs, with whatever settings it does."""
        original = module.log

        @wraps(original)
        def log(name: str, value: Any, *args: Any, **kwargs: Any) -> None:
            number = value._forward_cache if isinstance(value, Metric) else value
            if number is not None and getattr(number, "numel", lambda: 1)() == 1:
                self._logged[name] = float(number)
            original(name, value, *args, **kwargs)

        module.log = log  # type: ignore[method-assign]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The learner is attached."""
        if (synapses := self._synapses()) is not None:
            self.outcome.mapping = report.summary(synapses, "synapse")
        if pl_module.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(pl_module.device)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Compare on some steps, and time the others."""
        self._logged.clear()
        self._backward.clear()
        synapses, now = self._synapses(), len(self.outcome.losses)
        if synapses is not None and now in self.measured and self._comparison is None:
            self._comparison = synapses.passes.measurements = Comparison(synapses)
        self._start = _now(pl_module)

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """In manual optimization losses are known here alone."""
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        self._backward.append(loss.detach() / (1.0 if scaler is None else scaler.get_scale()))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note all of it; a loss that is not finite ends the run."""
        outcome, step = self.outcome, len(self.outcome.losses)
        outcome.seconds.append(math.nan if self._comparison is not None else _now(pl_module) - self._start)
        accumulated = trainer.accumulate_grad_batches if pl_module.automatic_optimization else 1
        outcome.losses.append(float(sum(self._backward)) * accumulated if self._backward else math.nan)
        for name in {*outcome.metrics, *self._logged}:
            curve = outcome.metrics.setdefault(name, [math.nan] * step)
            curve.append(self._logged.get(name, math.nan))
        self._note_learner(step)
        if step in (0, outcome.steps - 1):
            self._note_memory(trainer, pl_module)
        if not math.isfinite(outcome.losses[-1]):
            outcome.stopped = f"the loss of step {step} is {outcome.losses[-1]:g}" if self._backward else NO_LOSS
            trainer.should_stop = True
        self.tick(outcome.losses[-1])

    def _note_learner(self, step: int) -> None:
        synapses = self._synapses()
        if synapses is None:
            return
        for name in synapses.passes.exact_ticks:
            self.outcome.exact[name] = self.outcome.exact.get(name, 0) + 1
        self.outcome.beyond |= synapses.changes.health.beyond
        self.outcome.news = list(synapses.news)
        if self._comparison is not None and self._comparison.complete:
            for name, layer in self._comparison.steps.items():
                self.outcome.layers.setdefault(name, {})[step] = layer
            self._comparison = synapses.passes.measurements = None

    def _note_memory(self, trainer: Trainer, module: LightningModule) -> None:
        synapses, outcome = self._synapses(), self.outcome
        weights = sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
        if synapses is not None:
            kept = list(synapses.changes.states.items().values())
        else:
            values = (
                value
                for optimizer in trainer.optimizers
                for state in optimizer.state.values()
                for value in state.values()
            )
            kept = [value for value in values if isinstance(value, Tensor) and value.dim()]
        outcome.kept = sum(tensor.numel() for tensor in kept) / max(1, weights)
        outcome.kept_bytes = sum(tensor.nbytes for tensor in kept)
        if module.device.type == "cuda":
            outcome.peak_bytes = torch.cuda.max_memory_allocated(module.device)

    def _synapses(self) -> Synapses | None:
        return None if self.learner is None else self.learner._synapses


NO_LOSS = "no loss was differentiated in a step"


def _now(module: LightningModule) -> float:
    if module.device.type == "cuda":
        torch.cuda.synchronize(module.device)
    return time.perf_counter()
