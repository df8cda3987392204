"""Write a constructed learning algorithm as a checkpoint and its card."""

from collections.abc import Callable, Sequence
from typing import Any

from lightning_vsml.algorithms.options import Parser, checkpoint_to_write, positive

# Their classes and functions are below, in constructed(), as torch is imported after options were read.
NAMES = (
    *("adaptive", "backprop", "direct_feedback_alignment", "feedback_alignment", "hebb", "oja", "plasticity"),
    *("reward", "three_factor"),
)


def constructed() -> dict[str, Callable[..., Any]]:
    """What makes each of :data:`NAMES`."""
    from lightning_vsml.algorithms.adaptive import adaptive
    from lightning_vsml.algorithms.programs import PROGRAMS
    from lightning_vsml.algorithms.rules import RULES

    return {**PROGRAMS, "adaptive": adaptive, **RULES}


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = Parser(__doc__, "python -m lightning_vsml.algorithms")
    parser.add_argument("algorithm", choices=NAMES, help="a program of the cell, or a local rule")
    parser.add_argument("--out", type=checkpoint_to_write, required=True, help="the .safetensors file to write")
    parser.add_argument("--lr", type=positive, help="learning rate; default: the algorithm's own")
    options = parser.parse_args(arguments)

    from lightning_vsml.algorithms import checkpoints

    make = constructed()[options.algorithm]
    with parser.refusing(OSError):
        algorithm = make() if options.lr is None else make(lr=options.lr)
        command = (
            f"python -m lightning_vsml.algorithms {options.algorithm} --lr {algorithm.lr} --out {options.out.name}"
        )
        checkpoints.save(algorithm, options.out, made_by={"command": command, "device": "none (constructed)"})
    print(f"wrote {options.out} and {checkpoints.card_path(options.out)}")


if __name__ == "__main__":
    main()
