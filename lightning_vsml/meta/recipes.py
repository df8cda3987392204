"""What a run is, in plain types: it travels in checkpoints, and a run resumes with the one it was started with."""

from collections.abc import Mapping
from typing import Any

from lightning.pytorch.utilities.exceptions import MisconfigurationException


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Tuples as lists, as JSON has them."""
    return {name: list(value) if isinstance(value, tuple | list) else value for name, value in values.items()}


def check_recipe(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """Refuse to go on from a run of another recipe.

    Raises:
        MisconfigurationException: names what differs.
    """
    if parts := sorted(name for name in {*theirs, *ours} if theirs.get(name) != ours.get(name)):
        raise MisconfigurationException(
            f"the checkpoint's run has another recipe: {', '.join(parts)} differ. Resume with the same settings, "
            "or start a new run."
        )
