"""Command line: ``python -m lightning_vsml.cloning --preset cpu --target sgd --out my.safetensors``."""

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from lightning_vsml.algorithms import checkpoints
from lightning_vsml.algorithms.cellular import LearningAlgorithm
from lightning_vsml.algorithms.options import Parser, checkpoint_to_write, count, folder, fraction, real, seed
from lightning_vsml.cloning import check, drift
from lightning_vsml.cloning.module import CloningModule
from lightning_vsml.cloning.recipes import PRESETS, Recipe
from lightning_vsml.cloning.targets import TARGETS
from lightning_vsml.fit.runs import USAGE_ERRORS, Run
from lightning_vsml.lab import datasets


def main(arguments: Sequence[str] | None = None) -> None:
    """Make a clone: train it, write its checkpoint and card, and check how networks learn by it."""
    parser = _parser()
    options = parser.parse_args(arguments)
    out: Path = options.out
    try:
        recipe = _recipe(options)
        _check(parser, recipe.structure)
        module = CloningModule(recipe, every=options.every, drift_steps=drift.STEPS)
        started = time.time()
        run = Run(options.run_dir or Path("runs") / "cloning" / out.stem, options.resume)
        trainer = run.trainer(
            accelerator=options.accelerator, devices=1, max_epochs=module.epochs, log_every_n_steps=50
        )
        run.fit(trainer, module, lambda: f"{int(module.iteration)} iterations")
    except USAGE_ERRORS as error:
        parser.error(str(error))

    device = trainer.strategy.root_device
    made_by = {
        "command": _command(options, recipe),
        "data": "random numbers only",
        "recipe": recipe.plain(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "skipped_iterations": int(module.skipped),
    }
    if not options.resume:
        made_by["minutes"] = round((time.time() - started) / 60, 1)
    algorithm = module.cpu().algorithm(out.stem)
    algorithm.card.update(kind="cloned", target=recipe.target)
    checkpoints.save(algorithm, out, made_by=made_by)
    print(f"wrote {out} and {checkpoints.card_path(out)}")
    errors = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("error/")}
    for measurement in _measurements(errors, algorithm, recipe):
        checkpoints.record(out, measurement)
        print(", ".join(f"{what}: {value}" for what, value in measurement.items()))


def _measurements(errors: dict[str, float], algorithm: LearningAlgorithm, recipe: Recipe) -> Iterator[dict[str, Any]]:
    drifted = drift.measure(algorithm, TARGETS[recipe.target], drift.STEPS)
    yield {"data": "random", **{name: f"{value:.2g}" for name, value in (errors | drifted).items()}}
    try:
        yield from check.learns_digits(algorithm, recipe.target, check.STEPS, check.SEEDS)
    except datasets.DatasetError as error:
        print(f"not checked on digits: {error}")


def _parser() -> Parser:
    parser = Parser(main.__doc__, "python -m lightning_vsml.cloning")
    parser.add_argument("--preset", choices=sorted(PRESETS), default="cpu", help="recipe to start from (default cpu)")
    parser.add_argument("--out", type=checkpoint_to_write, required=True, help="the .safetensors file to write")
    parser.add_argument("--target", choices=sorted(TARGETS), help="the learning rule (default: the preset's)")
    parser.add_argument("--structure", choices=("symmetric", "dense"), help="of the cell (default: the preset's)")
    parser.add_argument("--writers", type=count, help="base units that write, of a symmetric cell")
    parser.add_argument("--readers", type=count, help="base units that send messages back, of a symmetric cell")
    parser.add_argument("--units", type=count, help="N of a dense cell")
    parser.add_argument("--prune", type=fraction, help="fraction of a symmetric cell's connections that become zeros")
    parser.add_argument(
        "--tidy", type=real(least=0), help="weight of the penalty on what is left in c beside the memories"
    )
    parser.add_argument("--iterations", type=count, help="of gradient descent")
    parser.add_argument("--seed", type=seed, help="of everything")
    parser.add_argument("--every", type=count, default=1000, help="iterations between checkpoints (default 1000)")
    parser.add_argument("--accelerator", default="auto", help="as the Trainer takes it (default auto)")
    parser.add_argument("--run-dir", type=folder, help="for curves and checkpoints (default runs/cloning/<name>)")
    parser.add_argument("--resume", action="store_true", help="continue the run in --run-dir")
    return parser


def _check(parser: Parser, structure: str) -> None:
    """Refuse sizes of the other kind of cell."""
    others = ("--units",) if structure == "symmetric" else ("--writers", "--readers")
    parser.without_effect(True, f"on a {structure} cell", *others)


RECIPE_OPTIONS = ("target", "structure", "writers", "readers", "units", "prune", "tidy", "iterations", "seed")


def _recipe(options: argparse.Namespace) -> Recipe:
    given = {name: value for name in RECIPE_OPTIONS if (value := getattr(options, name)) is not None}
    if given.get("structure") == "dense":
        given.setdefault("prune", 0.0)
    return replace(PRESETS[options.preset], **given)


def _command(options: argparse.Namespace, recipe: Recipe) -> str:
    given = [f"--{name} {getattr(recipe, name)}" for name in RECIPE_OPTIONS if getattr(options, name) is not None]
    return " ".join(
        ["python -m lightning_vsml.cloning", f"--preset {options.preset}", *given, f"--out {options.out.name}"]
    )


if __name__ == "__main__":
    main()
