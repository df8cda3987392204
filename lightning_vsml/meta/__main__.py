"""Command line: ``python -m lightning_vsml.meta --preset cpu --out my.safetensors``.

Every setting of the Trainer and of the module can be given in a file (``--config my.yaml``) or one by one
(``--model.horizon "[20, 500]"``), as with every LightningCLI; ``--help`` lists them. A preset is such a file.
"""

import shlex
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch

from lightning_vsml.algorithms import checkpoints
from lightning_vsml.fit.cli import MakingCLI
from lightning_vsml.fit.runs import USAGE_ERRORS
from lightning_vsml.lab import datasets
from lightning_vsml.meta.module import MetaLearningModule

PRESETS = Path(__file__).parent / "presets"


def main(arguments: Sequence[str] | None = None) -> None:
    """Meta-train; write the best algorithm by held-out tasks, and its card."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    warnings.filterwarnings("ignore", "LightningCLI's args parameter")  # a preset's
    started = time.time()
    try:
        cli = MakingCLI(MetaLearningModule, given, kind="meta", presets=PRESETS)
        module, trainer = cli.model, cli.trainer
        cli.run_in.fit(trainer, module, lambda: f"{module.search.steps} steps")
    except (*USAGE_ERRORS, datasets.DatasetError, MemoryError) as error:
        raise SystemExit(f"python -m lightning_vsml.meta: {error}") from error
    if trainer.is_global_zero:
        _write(
            module,
            trainer.strategy.root_device,
            cli.config.out,
            given,
            None if cli.run_in.resume else time.time() - started,
        )


def _write(
    module: MetaLearningModule, device: torch.device, out: Path, given: list[str], seconds: float | None
) -> None:
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


if __name__ == "__main__":
    main()
