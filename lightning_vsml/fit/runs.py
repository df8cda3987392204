"""A fit with a folder of its own: curves, checkpoints, and going on where a stopped one left off."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, LearningRateMonitor, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.exceptions import MisconfigurationException

USAGE_ERRORS = (ValueError, MisconfigurationException)


class Run:
    """Where a fit keeps what it makes.

    Args:
        folder: of curves and checkpoints.
        resume: go on from the last checkpoint there.

    Raises:
        ValueError: there is a run that is not to be continued, or none that is.
    """

    def __init__(self, folder: Path, resume: bool) -> None:
        self.folder, self.resume, self.last = folder, resume, folder / "last.ckpt"
        if self.last.exists() and not resume:
            raise ValueError(
                f"{folder} holds a run already: --resume continues it; choose another folder, or delete it."
            )
        if resume and not self.last.exists():
            raise ValueError(f"there is nothing to resume in {folder}: {self.last.name} is not there.")

    def logger(self) -> TensorBoardLogger:
        """Curves."""
        return TensorBoardLogger(self.folder, name="", version="")

    def saving(self) -> ModelCheckpoint:
        """The last checkpoint."""
        return ModelCheckpoint(self.folder, filename="last", enable_version_counter=False)

    def trainer(self, **settings: Any) -> Trainer:
        """A Trainer with all that."""
        callbacks: list[Callback] = [self.saving(), TQDMProgressBar(refresh_rate=20), LearningRateMonitor()]
        return Trainer(logger=self.logger(), callbacks=callbacks, enable_model_summary=False, **settings)

    def fit(self, trainer: Trainer, module: LightningModule, done: Callable[[], str]) -> None:
        """Fit, from the start or from where a stopped run left off.

        Args:
            trainer: with :meth:`saving` among its callbacks.
            module: to train.
            done: tells how far it is.

        Raises:
            SystemExit: Ctrl-C; says how to go on.
        """
        for hint in ("Checkpoint directory .* exists", "The 'train_dataloader' does not have many workers"):
            warnings.filterwarnings("ignore", hint)  # the directory is the run's own, and its loaders only count
        try:
            trainer.fit(module, ckpt_path=str(self.last) if self.resume else None)
        except SystemExit:  # Lightning's answer to Ctrl-C
            how = "; --resume continues from the last checkpoint"
            saved = how if self.last.exists() else ", before the first checkpoint"
            raise SystemExit(f"stopped after {done()}{saved}.") from None
