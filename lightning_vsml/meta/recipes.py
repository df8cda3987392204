"""What a run is, in plain types: it travels in checkpoints, and a run resumes with the one it was started with."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from lightning_vsml.meta.outer import Outer


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


class Search(LightningModule):
    """A run that is a search by a recipe: both travel in its checkpoints.

    Attributes:
        search: the outer optimizer.
    """

    search: Outer

    @property
    @abstractmethod
    def recipe(self) -> dict[str, Any]:
        """What the run is, in plain types."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The search and the recipe travel along."""
        checkpoint["search"], checkpoint["recipe"] = self.search.state(), self.recipe

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """A run resumes with the recipe it was started with.

        Raises:
            MisconfigurationException: it is another one.
        """
        check_recipe(checkpoint.get("recipe", {}), self.recipe)
        self.search.restore(checkpoint["search"])
