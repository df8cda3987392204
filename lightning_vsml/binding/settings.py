"""What a model is attached with."""

import math
import os
from collections.abc import Sequence
from numbers import Real

from torch import nn

from lightning_vsml.algorithms import checkpoints
from lightning_vsml.algorithms.base import Algorithm, Pace
from lightning_vsml.binding.mapping import UNMAPPED

FORWARD = ("cell", "module")


def algorithm_of(algorithm: str | os.PathLike[str] | Algorithm) -> Algorithm:
    """An algorithm, by name, path or itself.

    Raises:
        CheckpointError: see :func:`attach`.
        ValueError: no model can run it.
    """
    loaded = algorithm if isinstance(algorithm, Algorithm) else checkpoints.load(algorithm)
    loaded.validate()
    return loaded


def check_chained(
    algorithm: Algorithm, lr: float | None, forward: str, optimizer: Sequence[str] = (), unmapped: str = "synapse"
) -> None:
    """Refuse settings that are about gradients, for an algorithm whose messages are none, and rates that nothing has.

    Raises:
        ValueError: names the setting.
    """
    if not algorithm.chained:
        return
    for what, is_set in (
        (f"lr={lr}", lr is not None and algorithm.pace is Pace.NONE),
        (f"forward={forward!r}", forward != "cell"),
        (f"optimizer={optimizer!r}", bool(optimizer)),
        (f"unmapped={unmapped!r}", unmapped == "optimizer"),
    ):
        if is_set:
            raise ValueError(
                f"{what} has no meaning for {algorithm.name!r}: its messages are no gradients, and nothing "
                "differentiates through its layers. Leave it out, or choose an algorithm whose messages are, such as "
                "'backprop'."
            )


def check_settings(lr: float | None = None, unmapped: str = "synapse", forward: str = "cell") -> None:
    """Refuse settings out of range.

    Raises:
        ValueError: names what was expected.
    """
    for what, value, known in (("unmapped", unmapped, UNMAPPED), ("forward", forward, FORWARD)):
        if value not in known:
            raise ValueError(f"{what} should be one of {', '.join(map(repr, known))}, got {value!r}.")
    if lr is not None and (isinstance(lr, bool) or not isinstance(lr, Real) or not 0 <= lr < math.inf):
        raise ValueError(f"lr should be a finite number of at least 0, or None for the default, got {lr!r}.")


def patterns_of(optimizer: Sequence[str]) -> tuple[str, ...]:
    """Patterns of names of what stays with the user's optimizer; a single one may stand alone.

    Raises:
        ValueError: it is something else.
    """
    patterns = (optimizer,) if isinstance(optimizer, str) else optimizer
    if not isinstance(patterns, Sequence) or not all(isinstance(pattern, str) for pattern in patterns):
        raise ValueError(
            "optimizer should be names of modules and parameters that stay with your optimizer, or patterns of these, "
            f"such as ('head.*',), got {optimizer!r:.80}. What configure_optimizers returns is followed as it is."
        )
    return tuple(patterns)


def is_compiled(model: nn.Module) -> bool:
    """Whether any of it runs by ``torch.compile``."""
    return getattr(model, "_compiler_ctx", None) is not None or any(  # Lightning's mark
        module._compiled_call_impl is not None or type(module).__name__ == "OptimizedModule"
        for module in model.modules()
    )
