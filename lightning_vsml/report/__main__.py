"""Command line: ``python -m lightning_vsml.report MODULE:CALLABLE --out FOLDER``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from lightning.pytorch import seed_everything

from lightning_vsml.algorithms.checkpoints import CheckpointError
from lightning_vsml.report.compare import check_steps, parity
from lightning_vsml.report.errors import ReportError
from lightning_vsml.report.plans import ADAM, SGD, plans_of
from lightning_vsml.report.source import load
from lightning_vsml.report.writing import check_folder


def main(arguments: Sequence[str] | None = None) -> None:
    """Run learners side by side, and write what came out."""
    parser = _parser()
    options = parser.parse_args(arguments)
    sgd, adam = options.sgd_lr or SGD, options.adam_lr or ADAM
    try:
        check_steps(options.steps)
        if not 0 <= options.seed < 2**32:
            raise ReportError(f"--seed should be from 0 to {2**32 - 1}, got {options.seed}.")
        algorithms = [_with_rate(word) for word in options.algorithms]
        plans_of(algorithms, sgd, adam)
        check_folder(options.out)
        seed_everything(options.seed, verbose=False)
        module, data, trainer = load(options.source, options.data)
        if options.accelerator:
            trainer["accelerator"] = options.accelerator
        result = parity(
            module,
            data,
            algorithms=algorithms,
            steps=options.steps,
            sgd=sgd,
            adam=adam,
            out=options.out,
            seed=options.seed,
            **trainer,
        )
    except (ReportError, CheckpointError) as error:
        raise SystemExit(f"{parser.prog}: {error}") from error
    except KeyboardInterrupt:
        raise SystemExit(f"{parser.prog}: stopped before anything was measured.") from None
    result.show()
    print(f"wrote {options.out / 'report.html'}, curves.csv, layers.csv and tensorboard")
    if result.stopped:
        sys.exit(130)  # as shells have it for Ctrl-C


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m lightning_vsml.report",
        description="SGD, Adam, your own optimizer and learning algorithms side by side on your module and data.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "source",
        metavar="MODULE:CALLABLE",
        help="gives a LightningModule, or a pair of one and its data, when called; or a LightningCLI YAML file",
    )
    parser.add_argument(
        "--data", metavar="MODULE:CALLABLE", help="gives a LightningDataModule, a DataLoader or batches"
    )
    parser.add_argument("--out", type=Path, default=Path("report"), help="folder to write (default: report)")
    parser.add_argument("--steps", type=int, default=300, help="batches each learns from (default: 300)")
    parser.add_argument(
        "--algorithms",
        nargs="+",
        default=["backprop", "adaptive"],
        metavar="NAME[@LR]",
        help="names or .safetensors files, with another learning rate than their own (default: backprop adaptive)",
    )
    parser.add_argument(
        "--sgd-lr", nargs="+", type=float, metavar="LR", help="learning rates of SGD (default: 0.01 to 1)"
    )
    parser.add_argument("--adam-lr", nargs="+", type=float, metavar="LR", help="and of Adam (default: 0.0003 to 0.03)")
    parser.add_argument("--seed", type=int, default=0, help="of initial weights, batches and dropout (default: 0)")
    parser.add_argument("--accelerator", help="of the Trainers: cpu, gpu, ... (default: Lightning's choice)")
    return parser


def _with_rate(word: str) -> str | tuple[str, float]:
    name, at, rate = word.rpartition("@")
    if not at:
        return word
    try:
        return name, float(rate)
    except ValueError:
        raise ReportError(f"--algorithms: expected NAME or NAME@LR, such as backprop@0.3, got {word!r}.") from None


if __name__ == "__main__":
    main()
