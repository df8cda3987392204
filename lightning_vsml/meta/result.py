"""What a run has made."""

from typing import Any, NamedTuple

from lightning_vsml.algorithms.base import Algorithm


class Result(NamedTuple):
    """What goes into a checkpoint and its card.

    Attributes:
        algorithm: the best one.
        made_by: how; plain types.
        measured: on held-out tasks, if there were any.
    """

    algorithm: Algorithm
    made_by: dict[str, Any]
    measured: dict[str, Any] | None
