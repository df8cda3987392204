"""The Lightning callback: hooks and checks, nothing else."""

import math
import os
from numbers import Real
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelSummary
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor

from lightning_vsml.algorithms import checkpoints
from lightning_vsml.algorithms.cellular import LearningAlgorithm
from lightning_vsml.binding.bridge import FORWARD, Bridge
from lightning_vsml.binding.mapping import UNMAPPED
from lightning_vsml.binding.measure import Measurements
from lightning_vsml.fit import pictures, report
from lightning_vsml.fit.checks import (
    check_automatic,
    check_optimizer,
    check_stepped,
    check_trainer,
    inform_exact,
    warn_beyond_reach,
    warn_ineffective,
    warn_silent,
    warn_used_directly,
)
from lightning_vsml.fit.schedule import scheduled_ratio
from lightning_vsml.fit.takeover import TakeOver


class VSMLLearner(Callback):
    """Trains an unmodified LightningModule by running a learning algorithm forward, without an optimizer.

    >>> from lightning.pytorch import Trainer
    >>> trainer = Trainer(callbacks=[VSMLLearner()], logger=False)

    Every weight of the mapped layers (:data:`~lightning_vsml.binding.grids.GRIDS`) becomes a small LSTM state, a
    synapse; all share the algorithm's one LSTM. Whatever else the model does is glue and stays the user's code. After
    each step the weights are written back, so validation, checkpoints and export see the plain module. The optimizer that the
    module configures is created but not stepped.

    Args:
        algorithm: name of a shipped algorithm, path of a ``.safetensors`` file, or a
            :class:`~lightning_vsml.LearningAlgorithm`.
        lr: scales the feedback so that ``VSMLLearner("backprop", lr=r)`` follows ``torch.optim.SGD(lr=r)``.
            ``None`` takes the default of the algorithm's card.
        unmapped: trainable parameters that no mapped layer owns: ``"error"`` names them, ``"freeze"`` keeps them as
            they are, ``"optimizer"`` leaves them to the user's optimizer (one process, no ``16-mixed`` precision).
        forward: ``"cell"`` computes mapped layers by forward ticks; ``"module"`` by the layers themselves, with the
            decoded weights, and keeps only learning in the cell.
        diagnostics: also log, per layer, the cosine between its update and the true gradient; and, ever more seldom as
            training goes on, histograms of states and a picture of them, on loggers that can show them.
        follow_scheduler: scale ``lr`` by what the learning-rate scheduler of your optimizer makes of its learning rate
            (current / initial, of the first parameter group); ``False`` keeps it constant. The optimizer's learning
            rate itself is not used.
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
        algorithm: str | os.PathLike[str] | LearningAlgorithm = "backprop",
        *,
        lr: float | None = None,
        unmapped: str = "error",
        forward: str = "cell",
        diagnostics: bool = False,
        follow_scheduler: bool = True,
        ticks: str | None = None,
        tolerance: float | None = None,
    ) -> None:
        super().__init__()
        for what, value, known in (("unmapped", unmapped, UNMAPPED), ("forward", forward, FORWARD)):
            if value not in known:
                raise ValueError(f"{what} should be one of {', '.join(map(repr, known))}, got {value!r}.")
        loaded = algorithm if isinstance(algorithm, LearningAlgorithm) else checkpoints.load(algorithm)
        if loaded.cell.population is not None:
            raise ValueError(
                f"A learner runs one cell, got a population of {loaded.cell.population}: choose one, "
                "Cell(*(parameter[k] for parameter in algorithm.cell))."
            )
        self.algorithm = loaded.on(ticks, tolerance)
        if lr is not None and (isinstance(lr, bool) or not isinstance(lr, Real) or not 0 <= lr < math.inf):
            raise ValueError(f"lr should be a finite number of at least 0, or None for the default, got {lr!r}.")
        self.lr = self.algorithm.lr if lr is None else float(lr)
        self.unmapped, self.forward, self.diagnostics = unmapped, forward, diagnostics
        self.follow_scheduler = follow_scheduler
        self._bridge: Bridge | None = None
        self._takeover: TakeOver | None = None
        self._resumed: dict[str, Any] | None = None
        self._warned: set[tuple[str, str]] = set()
        self._used_directly: set[str] = set()
        self._told_exact: set[str] = set()
        self._next_picture = 0

    # --- before fit

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check what can be known before anything runs."""
        if stage != "fit":
            return
        self._resumed = None
        self._release()
        check_automatic(pl_module)
        check_trainer(trainer, VSMLLearner, self.unmapped)
        warn_ineffective(trainer, pl_module)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the states of a checkpoint for the fit that resumes from it."""
        self._resumed = state_dict

    # --- fit

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Bind: weights are loaded and on their device by now."""
        check_automatic(pl_module)  # a module may decide in its own setup
        resumed, self._resumed = self._resumed, None
        bridge = Bridge(
            pl_module,
            self.algorithm,
            unmapped=self.unmapped,
            forward=self.forward,
            states=self._states(resumed) if resumed else None,
        )
        if resumed:
            bridge.go_on(resumed.get("history", []))
        self._bridge, self._warned, self._used_directly, self._next_picture = bridge, set(), set(), 0
        self._told_exact = set()
        self._takeover = TakeOver(
            trainer.strategy, pl_module, bridge, lambda: self._gain(trainer), hybrid=bool(bridge.to_optimizer)
        )
        check_optimizer(trainer, pl_module, bridge.to_optimizer)
        if trainer.is_global_zero and any(isinstance(callback, ModelSummary) for callback in trainer.callbacks):  # type: ignore[attr-defined]
            report.show(report.summary(bridge.mapping, self.algorithm, self.lr, self.unmapped))

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        """Measure on the steps that Lightning logs."""
        if self._bridge is not None and self._bridge.measurements is None and _logs_now(trainer):
            self._bridge.measurements = Measurements(cosines=self.diagnostics)

    def on_before_zero_grad(self, *_: Any) -> None:
        """Pending changes go where gradients go."""
        if self._bridge is not None:
            self._bridge.forget()

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Hand the measurements of a finished step to the loggers; warn of saturation, once per layer."""
        bridge = self._bridge
        if bridge is not None and (news := bridge.beyond_reach - self._warned):
            warn_beyond_reach(self.algorithm, news, trainer.global_step)
            self._warned |= news
        if bridge is not None and (exact := set(bridge.exact_ticks) - self._told_exact):
            inform_exact({name: bridge.exact_ticks[name] for name in sorted(exact)}, trainer.global_step)
            self._told_exact |= exact
        if bridge is not None and (layers := bridge.used_directly - self._used_directly):
            warn_used_directly(layers)
            self._used_directly |= layers
        takeover = self._takeover
        if takeover is None or bridge is None or bridge.measurements is None or not bridge.measurements.complete:
            return
        metrics, bridge.measurements = bridge.measurements.metrics(), None
        metrics["vsml/lr"] = takeover.last_gain * self.algorithm.lr
        metrics["vsml/exact_ticks"] = float(len(bridge.exact_ticks))
        step = trainer.fit_loop.epoch_loop._batches_that_stepped
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step=step)
        if self.diagnostics and step >= self._next_picture and trainer.is_global_zero:
            self._next_picture = 2 * step + 1
            pictures.show(
                trainer.loggers, self.algorithm.layout, {name: bridge.states[name] for name in bridge.live}, step
            )

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Notice a module that goes around the learner, and layers it never reached."""
        takeover, bridge = self._takeover, self._bridge
        if takeover is None or bridge is None or takeover.sweeps == 0:
            return
        check_stepped(pl_module, takeover.sweeps, takeover.commits)
        silent = [name for name in bridge.live if name not in bridge.reached]
        warn_silent(silent)
        bridge.reached.update(silent)  # once is enough

    # --- after fit

    def state_dict(self) -> dict[str, Any]:
        """States as plain tensors, and the algorithm they belong to."""
        return {
            "algorithm": self.algorithm.name,
            "fingerprint": self.algorithm.fingerprint,
            "states": self._bridge.state_dict() if self._bridge is not None else {},
            "history": self._bridge.history() if self._bridge is not None else [],
        }

    def on_exception(self, *_: Any) -> None:
        """After an error or Ctrl-C only this hook runs."""
        self._release()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give the strategy its methods back; the states stay readable for ``save_checkpoint`` after fit."""
        self._release()

    def __repr__(self) -> str:
        return (
            f"VSMLLearner({self.algorithm.name!r}, lr={self.lr}, unmapped={self.unmapped!r}, forward={self.forward!r}, "
            f"diagnostics={self.diagnostics}, follow_scheduler={self.follow_scheduler}, ticks={self.algorithm.ticks!r})"
        )

    def _release(self) -> None:
        if self._takeover is not None:
            self._takeover.release()
            self._takeover = None

    def _gain(self, trainer: Trainer) -> float:
        """Factor on the feedback: learning rate, as scheduled, over the algorithm's own."""
        gain = self.lr / self.algorithm.lr
        if self.follow_scheduler and trainer.lr_scheduler_configs:
            gain *= scheduled_ratio(
                trainer.optimizers[0], [config.scheduler for config in trainer.lr_scheduler_configs]
            )
        return gain

    def _states(self, resumed: dict[str, Any]) -> dict[str, dict[str, Tensor]]:
        if resumed["fingerprint"] != self.algorithm.fingerprint:
            raise MisconfigurationException(
                f"the checkpoint was made by the learning algorithm {resumed['algorithm']!r} (fingerprint "
                f"{resumed['fingerprint'][:12]}), this learner runs {self.algorithm.name!r} "
                f"({self.algorithm.fingerprint[:12]}). Resume with the same algorithm, or load only the weights and "
                "start a new fit."
            )
        return resumed["states"]


def _logs_now(trainer: Trainer) -> bool:
    return bool(trainer.loggers) and trainer._logger_connector.should_update_logs
