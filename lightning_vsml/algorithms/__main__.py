"""Write a constructed learning algorithm as a checkpoint and its card."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from lightning_vsml.algorithms import checkpoints
from lightning_vsml.algorithms.programs import PROGRAMS


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m lightning_vsml.algorithms", description=__doc__)
    parser.add_argument("program", choices=sorted(PROGRAMS))
    parser.add_argument("--out", type=Path, required=True, help="the .safetensors file to write")
    parser.add_argument("--lr", type=float, default=0.1, help="learning rate of SGD that it follows (default 0.1)")
    options = parser.parse_args(arguments)
    algorithm = PROGRAMS[options.program](lr=options.lr)
    command = f"python -m lightning_vsml.algorithms {options.program} --lr {options.lr} --out {options.out.name}"
    checkpoints.save(algorithm, options.out, made_by={"command": command, "device": "none (constructed)"})
    print(f"wrote {options.out} and {checkpoints.card_path(options.out)}")


if __name__ == "__main__":
    main()
