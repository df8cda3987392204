"""Command line: ``python -m lightning_vsml.meta --preset cpu --out my.safetensors``.

Every setting of the Trainer and of the module can be given in a file (``--config my.yaml``) or one by one
(``--model.horizon "[20, 500]"``), as with every LightningCLI; ``--help`` lists them. A preset is such a file.
"""

import shlex
import sys
import time
import warnings
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from lightning_vsml.algorithms import checkpoints
from lightning_vsml.lab import datasets
from lightning_vsml.meta.module import MetaLearningModule

PRESETS = Path(__file__).parent / "presets"


class MetaCLI(LightningCLI):
    """The module and the Trainer, and what is around a run."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        presets = ", ".join(sorted(path.stem for path in PRESETS.glob("*.yaml")))
        parser.add_argument("--preset", help=f"shipped settings, which other options override: {presets}")
        parser.add_argument("--out", type=Path, required=True, help="the .safetensors file to write")
        parser.add_argument("--run_dir", type=Path | None, default=None, help="for curves and checkpoints")
        parser.add_argument("--resume", action="store_true", help="continue the run in --run_dir")

    @property
    def run(self) -> Path:
        """The folder of curves and checkpoints."""
        return self.config.run_dir or Path("runs") / "meta" / self.config.out.stem

    def instantiate_trainer(self, **_: Any) -> Trainer:
        out, last = self.config.out, self.run / "last.ckpt"
        if out.suffix != ".safetensors":
            raise ValueError(f"--out should end in .safetensors, got {str(out)!r}.")
        if last.exists() and not self.config.resume:
            raise ValueError(f"{self.run} holds a run already: --resume continues it; choose another --run_dir.")
        if self.config.resume and not last.exists():
            raise ValueError(f"there is nothing to resume in {self.run}: {last.name} is not there.")
        given = self._get(self.config_init, "trainer")
        bar = [] if given.enable_progress_bar is False else [TQDMProgressBar(refresh_rate=1)]
        saving = ModelCheckpoint(self.run, filename="last", enable_version_counter=False)
        return super().instantiate_trainer(
            logger=given.logger if given.logger is not None else TensorBoardLogger(self.run, name="", version=""),
            callbacks=[*(given.callbacks or []), saving, *bar],
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Meta-train; write the best algorithm by held-out tasks, and its card."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    for hint in ("Checkpoint directory .* exists", "LightningCLI's args parameter"):  # its own folder; the preset's
        warnings.filterwarnings("ignore", hint)
    started = time.time()
    try:
        cli = MetaCLI(
            MetaLearningModule,
            run=False,
            args=_with_preset(given),
            save_config_callback=None,
            seed_everything_default=False,  # every random number has a seed of its own
            trainer_defaults={"enable_model_summary": False, "log_every_n_steps": 1, "use_distributed_sampler": False},
        )
        module, trainer = cli.model, cli.trainer
        last = cli.run / "last.ckpt"
        try:
            trainer.fit(module, ckpt_path=str(last) if cli.config.resume else None)
        except SystemExit:  # Lightning's answer to Ctrl-C
            saved = (
                "; --resume continues from the last checkpoint" if last.exists() else ", before the first checkpoint"
            )
            raise SystemExit(f"stopped after {module.search.steps} steps{saved}.") from None
    except (ValueError, MisconfigurationException, datasets.DatasetError, MemoryError) as error:
        raise SystemExit(f"python -m lightning_vsml.meta: {error}") from error
    if trainer.is_global_zero:
        _write(module, trainer, cli.config.out, given, None if cli.config.resume else time.time() - started)


def _write(module: MetaLearningModule, trainer: Trainer, out: Path, given: list[str], seconds: float | None) -> None:
    device = trainer.strategy.root_device
    algorithm = module.cpu().algorithm(module.best)
    earlier = module.space.start.card.get("made_by", {})  # of a search that this one has gone on from
    algorithm.card.update(kind="meta-learned", start=module.space.start.name)
    made_by = {
        "command": _command(given),
        "recipe": module.recipe,
        "coordinates": {
            coordinate.name: round(float(value) + earlier.get("coordinates", {}).get(coordinate.name, 0.0), 4)
            for coordinate, value in zip(module.space.coordinates, module.best * module.space.steps, strict=True)
        },
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "steps": module.search.steps,
        "skipped_steps": module.search.skipped,
    }
    if "command" in earlier:
        made_by["earlier"] = earlier
    if seconds is not None:
        made_by["minutes"] = round(seconds / 60, 1)
    checkpoints.save(algorithm, out, made_by=made_by)
    if module.held_out:
        gain = round(float(module.best_gain), 4)
        checkpoints.record(out, {"data": "held-out tasks", "log(error of the best optimizer / own error)": gain})
    print(f"wrote {out} and {checkpoints.card_path(out)}")


def _command(given: list[str]) -> str:
    """What was typed, without folders of the machine it was typed on."""
    told, words = [], iter(given)
    for word in words:
        option, _, value = word.partition("=")
        if option in ("--out", "--run_dir", "--model.data_dir", "--model.start"):
            value = value or next(words, "")
            if option in ("--out", "--model.start"):
                told += [option, Path(value).name]
        elif option != "--resume":  # which comes to the same end
            told.append(word)
    return f"python -m lightning_vsml.meta {shlex.join(told)}"


def _with_preset(arguments: list[str]) -> list[str]:
    """``--preset NAME`` or ``--preset=NAME`` as the ``--config`` of a shipped file."""
    parser = ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--preset", nargs="?", const="")
    options, others = parser.parse_known_args(arguments)
    if options.preset is None:
        return others
    known = sorted(path.stem for path in PRESETS.glob("*.yaml"))
    if options.preset not in known:
        raise ValueError(f"--preset should be one of {', '.join(known)}, got {options.preset!r}.")
    return ["--config", str(PRESETS / f"{options.preset}.yaml"), *others]


if __name__ == "__main__":
    main()
