"""Which parameters of a model are synapses now; it follows a model whose parts are replaced."""

from typing import TYPE_CHECKING

from torch import nn

from lightning_vsml.binding.grids import Grid
from lightning_vsml.binding.mapping import Mapping, MappingError, check_chain, map_model
from lightning_vsml.binding.parameter import become, owner_of, unbecome

if TYPE_CHECKING:
    from lightning_vsml.binding.synapses import Synapses


class Holding:
    """A model's parameters in the hands of synapses, from :meth:`take` to :meth:`release`.

    Args:
        model: the user's.
        owner: whose its parameters become.
        unmapped: see :func:`~lightning_vsml.binding.mapping.map_model`.
        optimizer: likewise.

    Attributes:
        grids: of layers and of parameters, by name; always the same dictionary.
        left: identities of the parameters that stay with the user's optimizer.
    """

    mapping: Mapping

    def __init__(self, model: nn.Module, owner: "Synapses", unmapped: str, optimizer: tuple[str, ...]) -> None:
        self.model, self.owner, self.unmapped, self.optimizer = model, owner, unmapped, optimizer
        self.grids: dict[str, Grid] = {}
        self.left: set[int] = set()
        self._frozen: list[nn.Parameter] = []
        self._parts: list[nn.Module | nn.Parameter | None] = []

    def take(self) -> set[str]:
        """Map the model as it is, and take its parameters: the names of the grids that are gone.

        Raises:
            MappingError: see :func:`~lightning_vsml.binding.mapping.map_model`; the algorithm does not run on what is
                there, or somebody else holds the model. Nothing has changed then.
        """
        mapping = map_model(self.model, self.unmapped, self.optimizer)
        if any(owner_of(grid) not in (None, self.owner) for grid in mapping.grids.values()):
            raise MappingError(
                f"{type(self.model).__name__} is attached already; a weight can follow one algorithm only. Call "
                "detach() on what attach() gave before, or share that."
            )
        if self.owner.algorithm.chained:
            check_chain(mapping, self.owner.algorithm)
        before = {id(parameter): parameter for grid in self.grids.values() for parameter in grid.parameters}
        gone = {name for name, grid in self.grids.items() if not _alike(grid, mapping.grids.get(name))}
        self.grids.clear()
        self.grids.update(mapping.grids)
        self.mapping = mapping
        left = {} if self.unmapped == "freeze" else mapping.left
        self.left = {id(parameter) for parameter in (*left.values(), *mapping.chosen.values())}
        if self.unmapped == "freeze":
            for parameter in mapping.left.values():
                parameter.requires_grad_(False)
                self._frozen.append(parameter)
        for name, grid in self.grids.items():
            for parameter in grid.parameters:
                before.pop(id(parameter), None)
                become(parameter, self.owner, name)
        for parameter in before.values():
            unbecome(parameter)
        self._parts = self._structure()
        return gone

    def replaced(self) -> bool:
        """Whether modules or parameters have come or gone."""
        now = self._structure()
        return len(now) != len(self._parts) or any(a is not b for a, b in zip(now, self._parts, strict=True))

    def release(self) -> None:
        """Give the parameters back."""
        for grid in self.grids.values():
            for parameter in grid.parameters:
                unbecome(parameter)
        for parameter in self._frozen:
            parameter.requires_grad_(True)

    def _structure(self) -> list[nn.Module | nn.Parameter | None]:
        """All modules and parameters, where they are."""
        return [
            part
            for module in self.model.modules()
            for part in (module, *module._modules.values(), *module._parameters.values())
        ]


def _alike(grid: Grid, other: Grid | None) -> bool:
    """Whether a state of the one is a state of the other."""
    if other is None or grid.shape != other.shape:
        return False
    return [id(parameter) for parameter in grid.parameters] == [id(parameter) for parameter in other.parameters]
