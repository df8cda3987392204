"""Command line: ``python -m lightning_vsml.report MODULE:CALLABLE --out FOLDER``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from lightning_vsml.algorithms.options import Parser, positive


def main(arguments: Sequence[str] | None = None) -> None:
    """Run learners side by side, and write what came out."""
    parser = _parser()
    options = parser.parse_args(arguments)

    from lightning.pytorch import seed_everything

    from lightning_vsml.algorithms.checkpoints import CheckpointError
    from lightning_vsml.report.compare import parity
    from lightning_vsml.report.errors import ReportError
    from lightning_vsml.report.plans import ADAM, SGD, plans_of
    from lightning_vsml.report.source import load
    from lightning_vsml.report.writing import check_folder

    sgd, adam = options.sgd_lr or SGD, options.adam_lr or ADAM
    try:
        plans_of(options.algorithms, sgd, adam)
        check_folder(options.out)
        seed_everything(options.seed, verbose=False)
        module, data, trainer = load(options.source, options.data)
        if options.accelerator:
            trainer["accelerator"] = options.accelerator
        result = parity(
            module,
            data,
            algorithms=options.algorithms,
            steps=options.steps,
            sgd=sgd,
            adam=adam,
            out=options.out,
            seed=options.seed,
            **trainer,
        )
    except (ReportError, CheckpointError) as error:  # any other ValueError is no mistake in the options
        parser.error(str(error))
    except KeyboardInterrupt:
        raise SystemExit(f"{parser.prog}: stopped before anything was measured.") from None
    result.show()
    print(f"wrote {options.out / 'report.html'}, curves.csv, layers.csv and tensorboard")
    if result.stopped:
        sys.exit(130)  # as shells have it for Ctrl-C


def _parser() -> Parser:
    parser = Parser(
        "SGD, Adam, your own optimizer and learning algorithms side by side on your module and data.",
        "python -m lightning_vsml.report",
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
    parser.add_count("--steps", 300, "batches each learns from")
    parser.add_argument(
        "--algorithms",
        nargs="+",
        type=_with_rate,
        default=["backprop", "adaptive"],
        metavar="NAME[@LR]",
        help="names or .safetensors files, with another learning rate than their own (default: backprop adaptive)",
    )
    for name, rates in (("SGD", "0.01 to 1"), ("Adam", "0.0003 to 0.03")):
        what = f"learning rates of {name} (default: {rates})"
        parser.add_argument(f"--{name.lower()}-lr", nargs="+", type=positive, metavar="LR", help=what)
    parser.add_seed()
    parser.add_argument("--accelerator", help="of the Trainers: cpu, gpu, ... (default: Lightning's choice)")
    return parser


def _with_rate(word: str) -> str | tuple[str, float]:
    name, at, rate = word.rpartition("@")
    if not at:
        return word
    try:
        return name, positive(rate)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"expected NAME or NAME@LR, such as backprop@0.3, got {word!r}") from error


if __name__ == "__main__":
    main()
