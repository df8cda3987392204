"""Command line: ``python -m lightning_vsml.meta --preset paper --out my.safetensors``.

Every setting of the Trainer and of the module can be given in a file (``--config my.yaml``) or one by one
(``--model.horizon "[20, 500]"``), as with every LightningCLI; ``--help`` lists them. A preset is such a file.
"""

import argparse
import shlex
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
import yaml

from lightning_vsml.algorithms import checkpoints
from lightning_vsml.algorithms.options import Refused
from lightning_vsml.fit.cli import MakingCLI
from lightning_vsml.fit.runs import USAGE_ERRORS
from lightning_vsml.lab import datasets
from lightning_vsml.meta.module import MetaLearningModule
from lightning_vsml.meta.sequences import SequenceModule
from lightning_vsml.meta.wide import WideModule

Made = MetaLearningModule | SequenceModule | WideModule
SETTINGS: dict[str, type[SequenceModule | WideModule]] = {"problem": SequenceModule, "distribution": WideModule}
PRESETS = Path(__file__).parent / "presets"


def main(arguments: Sequence[str] | None = None) -> None:
    """Meta-train; write the best algorithm by held-out tasks, and its card."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    warnings.filterwarnings("ignore", "LightningCLI's args parameter")  # a preset's
    started = time.time()
    try:
        cli = MakingCLI(_module(given), given, kind="meta", presets=PRESETS)
        module, trainer = cli.model, cli.trainer
        cli.run_in.fit(trainer, module, lambda: f"{trainer.global_step} steps")
    except (*USAGE_ERRORS, datasets.DatasetError, MemoryError) as error:
        raise Refused("python -m lightning_vsml.meta", str(error)) from error
    if trainer.is_global_zero:
        _write(
            module,
            trainer.strategy.root_device,
            cli.config.out,
            given,
            None if cli.run_in.resume else time.time() - started,
        )


def _module(given: list[str]) -> type[Made]:
    """What the settings are of: a search over coordinates of programs in a space, over all parameters of dense cells,
    or over coordinates of the adaptive rule.
    """
    options = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    options.add_argument("--preset")
    options.add_argument("--config", action="append", default=[])
    known, others = options.parse_known_args([word for word in given if word not in ("--help", "-h")])
    files = [Path(file) for file in known.config if Path(file).is_file()]
    files += [file for file in PRESETS.glob("*.yaml") if file.stem == known.preset]
    settings = [(yaml.safe_load(file.read_text(encoding="utf-8")) or {}).get("model") or {} for file in files]
    for setting, module in SETTINGS.items():
        if any(setting in model for model in settings) or any(w.startswith(f"--model.{setting}") for w in others):
            return module
    return MetaLearningModule


def _write(
    module: Made,
    device: torch.device,
    out: Path,
    given: list[str],
    seconds: float | None,
) -> None:
    algorithm, details, measured = module.cpu().result(out.stem)
    algorithm.card.update(kind="meta-learned")
    made_by = {
        "command": _command(given),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        **details,
    }
    if seconds is not None:
        made_by["minutes"] = round(seconds / 60, 1)
    checkpoints.save(algorithm, out, made_by=made_by)
    if measured is not None:
        checkpoints.record(out, measured)
    print(f"wrote {out} and {checkpoints.card_path(out)}")


def _command(given: list[str]) -> str:
    """What was typed, without folders of the machine it was typed on."""
    told, words = [], iter(given)
    for word in words:
        option, _, value = word.partition("=")
        if option in ("--out", "--run_dir", "--run-dir", "--model.start") or option.endswith("data_dir"):
            value = value or next(words, "")
            if option in ("--out", "--model.start"):
                told += [option, Path(value).name]
        elif option != "--resume":  # which comes to the same end
            told.append(word)
    return f"python -m lightning_vsml.meta {shlex.join(told)}"


if __name__ == "__main__":
    main()
