"""What several examples do beside learning: stop when asked to, and set up a Trainer that draws curves."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from matplotlib.figure import Figure
from torch.utils.data import DataLoader


@contextmanager
def until_stopped() -> Iterator[None]:
    """Ctrl-C ends what is inside, and the example goes on with what was learned until then."""
    try:
        yield
    except KeyboardInterrupt:
        print("stopped: what follows is of what was done until here", flush=True)


def fit(module: LightningModule, loader: DataLoader, *callbacks: Callback, steps: int, run_dir: Path) -> Trainer:
    """A fit of some steps, with a progress bar, and curves in ``run_dir``; Ctrl-C ends it early."""
    trainer = Trainer(
        max_steps=steps,
        max_epochs=-1,
        accelerator="auto",
        devices=1,
        logger=TensorBoardLogger(run_dir, name="", version="", default_hp_metric=False),
        enable_checkpointing=False,
        log_every_n_steps=10,
        callbacks=[TQDMProgressBar(), *callbacks],
    )
    try:
        trainer.fit(module, loader)
    except SystemExit:  # Lightning's answer to Ctrl-C
        print(f"stopped after {trainer.global_step} steps: what follows is of what was done until here", flush=True)
    return trainer


def save(figure: Figure, path: Path) -> None:
    """Write a picture and say where it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    print(f"wrote {path}")
