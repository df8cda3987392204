"""The Lightning callback: hooks and checks, nothing else."""

import logging
import os
from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from lightning_vsml.algorithms.base import Algorithm, Pace
from lightning_vsml.binding.following import Following
from lightning_vsml.binding.gradients import Gradients
from lightning_vsml.binding.health import check_loss
from lightning_vsml.binding.measure import Measurements
from lightning_vsml.binding.settings import algorithm_of, check_chained, check_settings, patterns_of
from lightning_vsml.binding.synapses import Synapses
from lightning_vsml.fit import checks, pictures, report
from lightning_vsml.fit.lightning import join, kinds, of_both


@of_both("Callback")
class VSMLLearner(Callback):
    """Trains an unmodified LightningModule by running a learning algorithm forward, without an optimizer.

    >>> from lightning.pytorch import Trainer
    >>> trainer = Trainer(callbacks=[VSMLLearner()], logger=False)

    Every weight becomes a small LSTM state, a synapse; all share the algorithm's one LSTM. Layers that have a grid of
    their own (:data:`~lightning_vsml.binding.grids.GRIDS`) run by it; whatever else the model does is glue and stays
    the user's code. Where an optimizer would step, the weights are written back, so validation, checkpoints and
    export see the plain module. Automatic and manual optimization, with one optimizer or several: each one's ``step``
    commits what belongs to its parameters. Modules and Trainers may be those of ``pytorch_lightning``, too; import it
    before the learner is made.

    Args:
        algorithm: name of a shipped algorithm, path of a ``.safetensors`` file, ``hf://user/repo/name``, or a
            :class:`~lightning_vsml.LearningAlgorithm`.
        lr: scales the feedback so that ``VSMLLearner("backprop", lr=r)`` follows ``torch.optim.SGD(lr=r)``;
            of ``"adaptive"`` it scales steps. ``None`` takes the default of the algorithm's card.
        unmapped: trainable parameters that no layer's grid owns: ``"synapse"`` makes each of their numbers a synapse,
            ``"freeze"`` keeps them as they are, ``"optimizer"`` leaves them to the user's optimizer, ``"error"`` names
            them.
        forward: ``"cell"`` computes layers by forward ticks; ``"module"`` with the decoded weights, and keeps only
            learning in the cell.
        optimizer: patterns of names of modules and parameters that stay with the user's optimizer.
        diagnostics: also log, per layer, the cosine between its update and the true gradient; and, ever more seldom as
            training goes on, histograms of states and a picture of them, on loggers that can show them.
        follow_optimizer: let the settings of the user's optimizer count: learning rates of parameter groups relative
            to the first one's initial rate, as schedulers and the user's code move them, and weight decay. ``False``
            keeps ``lr`` constant and the same for all.
        ticks: the tick implementation: ``"products"`` (a few matrix products), ``"native"`` (compiled for the CPU),
            ``"triton"`` (compiled for NVIDIA GPUs; ``"triton-fast"`` with the hardware's approximate tanh), ``"fused"``
            (torch, without what zeros make unnecessary), ``"reference"`` (the readable one), or ``"auto"``: products,
            for dense cells compiled for the device. ``None`` leaves it to ``algorithm``.
        tolerance: relative error that products may have. ``None`` leaves it to ``algorithm``.

    Raises:
        CheckpointError: unknown name, or a missing, damaged, foreign or newer file.
        ValueError: another argument is out of range.
    """

    def __init__(
        self,
        algorithm: str | os.PathLike[str] | Algorithm = "backprop",
        *,
        lr: float | None = None,
        unmapped: str = "synapse",
        forward: str = "cell",
        optimizer: Sequence[str] = (),
        diagnostics: bool = False,
        follow_optimizer: bool = True,
        ticks: str | None = None,
        tolerance: float | None = None,
    ) -> None:
        join()
        super().__init__()
        check_settings(lr, unmapped, forward)
        self.algorithm = algorithm_of(algorithm).on(ticks, tolerance)
        self.optimizer = patterns_of(optimizer)
        check_chained(self.algorithm, lr, forward, self.optimizer, unmapped)
        self.lr = self.algorithm.lr if lr is None else float(lr)
        self.unmapped, self.forward = unmapped, forward
        self.diagnostics, self.follow_optimizer = diagnostics, follow_optimizer
        self._synapses: Synapses | None = None
        self._following: Following | None = None
        self._resumed: dict[str, Any] | None = None
        self._rate = self.lr
        self._next_picture = 0

    # --- before fit

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check what can be known before anything runs."""
        if stage == "fit":
            self._resumed = None
            self._release()
            checks.check_trainer(trainer, VSMLLearner)
            if self.algorithm.chained:
                checks.check_without_gradients(trainer, self.algorithm.name)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the states of a checkpoint for the fit that resumes from it."""
        self._resumed = state_dict

    # --- fit

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Attach: weights are loaded and on their device by now."""
        resumed, self._resumed = self._resumed, None
        wrapped = isinstance(trainer.strategy.model, DistributedDataParallel)
        self._synapses = synapses = Synapses(
            trainer.strategy.model if wrapped and trainer.strategy.model is not None else pl_module,
            self.algorithm,
            lr=None if self.algorithm.pace is Pace.NONE else self.lr,
            unmapped=self.unmapped,
            forward=self.forward,
            optimizer=self.optimizer,
            scaler=getattr(trainer.precision_plugin, "scaler", None),
        )
        checks.check_optimizer(trainer, pl_module, synapses.holding.left)
        if resumed:
            checks.check_resumed(resumed, self.algorithm)
            synapses.load_state_dict(resumed)
            checks.warn_frozen_again(resumed, synapses)
        elif trainer.ckpt_path is not None:
            checks.inform_without_states(trainer.ckpt_path)
        schedulers = [config.scheduler for config in trainer.lr_scheduler_configs]
        self._following = synapses.follow(
            *trainer.optimizers,
            schedulers=schedulers,
            settings=self.follow_optimizer and self.algorithm.pace is not Pace.NONE,
            initial=(resumed or {}).get("initial_lr"),
        )
        self._next_picture = 0
        if self.follow_optimizer and self.algorithm.pace is not Pace.NONE:
            checks.inform_of_settings(trainer.optimizers, synapses)
        callbacks, summaries = trainer.callbacks, kinds("callbacks.ModelSummary")  # type: ignore[attr-defined]
        if trainer.is_global_zero and any(isinstance(callback, summaries) for callback in callbacks):
            report.show(report.summary(synapses, self.unmapped))

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        """Measure on the steps that Lightning logs."""
        if self._synapses is not None and self._synapses.passes.measurements is None and _logs_now(trainer):
            self._synapses.passes.measurements = Measurements(self.diagnostics and not self.algorithm.chained)

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """The loss is known here: whether it is finite, and what the true gradient would be."""
        synapses = self._synapses
        if synapses is None or self._following is None:
            return
        if synapses.rates.scaler is None:
            check_loss(loss, synapses.steps)
        self._rate = synapses.rates.of(next(iter(synapses.grids.values())).weight)
        measurements = synapses.passes.measurements
        if measurements is not None and measurements.cosines and loss.requires_grad:
            measurements.differentiated(Gradients(synapses, loss).found)

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Hand the measurements of a finished step to the loggers."""
        synapses = self._synapses
        if synapses is None or self._following is None:
            return
        if synapses.passes.measurements is None or not synapses.passes.measurements.complete:
            return
        metrics, synapses.passes.measurements = synapses.passes.measurements.metrics(), None
        metrics["vsml/lr"] = self._rate
        metrics["vsml/exact_ticks"] = float(len(synapses.passes.exact_ticks))
        step = trainer.fit_loop.epoch_loop._batches_that_stepped
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step=step)
        if self.diagnostics and step >= self._next_picture and trainer.is_global_zero:
            self._next_picture = 2 * step + 1
            if not pictures.can_draw() and step == 0:
                logging.getLogger("lightning_vsml").info("pictures of states need Matplotlib: pip install matplotlib")
            pictures.show(trainer.loggers, self.algorithm.layout, synapses.changes.states.items(), step)

    def on_train_epoch_end(self, *_: Any) -> None:
        """Notice grids that no feedback has reached."""
        if self._synapses is not None and self._following is not None and self._following.commits:
            checks.warn_silent(self._synapses, self._following)

    # --- validation, test and prediction outside of fit, where weights say nothing

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Run by states."""
        self._evaluate(trainer, pl_module)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Run by states."""
        self._evaluate(trainer, pl_module)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Run by states."""
        self._evaluate(trainer, pl_module)

    def _evaluate(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Attach for this stage, if weights are not readable: with states of a checkpoint, or of the last fit."""
        if self.algorithm.readable or trainer.state.fn == "fit":
            return
        learned, self._resumed = self._resumed, None
        if (
            learned is None and trainer.ckpt_path is not None
        ):  # Lightning gives it to callbacks of a fit only, before 2.5
            saved = trainer.strategy.load_checkpoint(trainer.ckpt_path)
            learned = saved.get("callbacks", {}).get(self.state_key)
        learned = learned or self.state_dict()
        checks.check_learned(learned, self.algorithm)
        with torch.inference_mode(False):  # states outlive the stage
            self._synapses = Synapses(pl_module, self.algorithm, unmapped=self.unmapped)
            self._synapses.load_state_dict(learned)

    # --- after fit

    def state_dict(self) -> dict[str, Any]:
        """States as plain tensors, and the algorithm they belong to."""
        if self._synapses is not None:
            return self._synapses.state_dict()
        return {"algorithm": self.algorithm.name, "fingerprint": self.algorithm.fingerprint, "states": {}}

    def on_exception(self, *_: Any) -> None:
        """After an error or Ctrl-C only this hook runs."""
        self._release()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give the module and its optimizers back; the states stay readable for ``save_checkpoint`` after fit."""
        self._release()

    def __repr__(self) -> str:
        return (
            f"VSMLLearner({self.algorithm.name!r}, lr={self.lr}, unmapped={self.unmapped!r}, forward={self.forward!r}, "
            f"optimizer={self.optimizer}, diagnostics={self.diagnostics}, follow_optimizer={self.follow_optimizer}, "
            f"ticks={self.algorithm.ticks!r})"
        )

    def _release(self) -> None:
        if self._synapses is not None:
            self._synapses.detach()
        self._following = None


def _logs_now(trainer: Trainer) -> bool:
    return bool(trainer.loggers) and trainer._logger_connector.should_update_logs
