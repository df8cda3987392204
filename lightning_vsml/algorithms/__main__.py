"""Write a constructed learning algorithm as a checkpoint and its card."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lightning_vsml.algorithms import checkpoints
from lightning_vsml.algorithms.adaptive import adaptive
from lightning_vsml.algorithms.programs import PROGRAMS
from lightning_vsml.algorithms.rules import RULES

CONSTRUCTED: dict[str, Callable[..., Any]] = {**PROGRAMS, "adaptive": adaptive, **RULES}


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m lightning_vsml.algorithms", description=__doc__)
    parser.add_argument("algorithm", choices=sorted(CONSTRUCTED), help="a program of the cell, or a local rule")
    parser.add_argument("--out", type=Path, required=True, help="the .safetensors file to write")
    parser.add_argument("--lr", type=float, help="learning rate; default: the algorithm's own")
    options = parser.parse_args(arguments)
    make = CONSTRUCTED[options.algorithm]
    try:
        algorithm = make() if options.lr is None else make(lr=options.lr)
        command = (
            f"python -m lightning_vsml.algorithms {options.algorithm} --lr {algorithm.lr} --out {options.out.name}"
        )
        checkpoints.save(algorithm, options.out, made_by={"command": command, "device": "none (constructed)"})
    except ValueError as error:
        parser.error(str(error))
    print(f"wrote {options.out} and {checkpoints.card_path(options.out)}")


if __name__ == "__main__":
    main()
