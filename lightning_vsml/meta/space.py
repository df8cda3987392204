"""Which parameters of a learning algorithm a meta-learner may change, and together with which others.

All other parameters, structural zeros among them, stay exactly what they are.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_vsml.algorithms.cellular import LearningAlgorithm
from lightning_vsml.algorithms.parts import Codec
from lightning_vsml.ticks import Cell

GATES = {"i": 0, "f": 1, "g": 2, "o": 3}  # where they stand in the last dimension of a cell's parameters


class Place(NamedTuple):
    """An entry of a parameter.

    Attributes:
        parameter: a field of :class:`~lightning_vsml.Cell`, or ``"decode"``.
        row: its first index; the unit for ``P_f``, ``P_b`` and ``decode``, 0 for the bias.
        column: its last index; 0 for ``decode``.
    """

    parameter: str
    row: int
    column: int


class Coordinate(NamedTuple):
    """A direction of the search.

    Attributes:
        name: how logs and cards call it.
        step: what outer optimizers take as 1.
        add: what one unit of it adds to which entries.
        log: what one unit of it adds to the logarithm of the size of which entries.
    """

    name: str
    step: float
    add: Mapping[Place, float] = {}
    log: Mapping[Place, float] = {}


@dataclass(frozen=True)
class Space:
    """A search space around an algorithm: with coordinates u, an entry is ``(start + add u) exp(log u)``.

    Args:
        start: the algorithm at u = 0.
        coordinates: n directions.

    Raises:
        ValueError: a coordinate moves nothing, or an entry that does not exist, or two have one name.
    """

    start: LearningAlgorithm
    coordinates: tuple[Coordinate, ...]

    def __post_init__(self) -> None:
        names = [coordinate.name for coordinate in self.coordinates]
        if len(set(names)) < len(names):
            raise ValueError(f"coordinates should have names of their own, got {', '.join(names)}.")
        shapes = {name: tuple(tensor.shape) for name, tensor in self._tensors().items()}
        for coordinate in self.coordinates:
            places = [*coordinate.add, *coordinate.log]
            if not places:
                raise ValueError(f"coordinate {coordinate.name!r} should move at least one entry, and moves none.")
            for place in places:
                rows, columns = shapes.get(place.parameter, (0, 0))
                if not (0 <= place.row < rows and 0 <= place.column < columns):
                    raise ValueError(
                        f"coordinate {coordinate.name!r} moves {place}, which is not there: {place.parameter} has "
                        f"shape {shapes.get(place.parameter)}; parameters are {', '.join(shapes)}."
                    )

    def around(self, start: LearningAlgorithm) -> "Space":
        """The same directions from another algorithm, which an earlier search in this space has found.

        Raises:
            ValueError: it has other units, or another protocol.
        """
        ours, theirs = (
            (tuple(p.shape for p in one.cell), one.protocol, one.memory, one.lr) for one in (self.start, start)
        )
        if ours != theirs:
            raise ValueError(
                f"{start.name!r} can't be where this search starts: units, protocol, memories and lr should be those "
                f"of {self.start.name!r}."
            )
        return replace(self, start=start)

    def moved(self, values: Mapping[str, float]) -> "Space":
        """The same directions from where some coordinates have these values; the card of the start says so.

        Raises:
            ValueError: there is no coordinate of that name.
        """
        names = [coordinate.name for coordinate in self.coordinates]
        if unknown := set(values) - set(names):
            raise ValueError(f"begin should name coordinates out of {', '.join(names)}, got {', '.join(unknown)}.")
        if not values:
            return self
        start = self.algorithm(torch.tensor([values.get(name, 0.0) for name in names]))
        coordinates = dict(self.start.card.get("made_by", {}).get("coordinates", {}))
        for name, value in values.items():
            coordinates[name] = coordinates.get(name, 0.0) + value
        return replace(self, start=replace(start, card={**start.card, "made_by": {"coordinates": coordinates}}))

    @property
    def size(self) -> int:
        """n."""
        return len(self.coordinates)

    @property
    def steps(self) -> Tensor:
        """Of every coordinate, ``(n,)`` float64."""
        return torch.tensor([coordinate.step for coordinate in self.coordinates], dtype=torch.float64)

    def algorithm(self, u: Tensor) -> LearningAlgorithm:
        """The algorithm at ``u`` (n,); a population, run as K groups, at ``u`` (K, n). Differentiable in ``u``.

        A population keeps the codec of the start, as it is there to be judged by its outputs.
        """
        tensors, u = self._tensors(), u.to(self.start.cell.W)
        moved = {}
        for name, tensor in tensors.items():
            add, log = (self._directions(name, kind, tensor) for kind in ("add", "log"))
            entries = tensor.flatten() + (u @ add)
            if log.any():
                entries = entries * (u @ log).exp()
            moved[name] = entries.view(*u.shape[:-1], *tensor.shape)
        moved["b"] = moved["b"].squeeze(-2)
        decode = moved.pop("decode").squeeze(-1)
        codec = self.start.codec if u.dim() > 1 else Codec(self.start.codec.encode, decode)
        return replace(self.start, cell=Cell(**moved), codec=codec)

    def _tensors(self) -> dict[str, Tensor]:
        """Every parameter as a matrix."""
        cell = self.start.cell._asdict() | {"b": self.start.cell.b.unsqueeze(0)}
        return cell | {"decode": self.start.codec.decode.unsqueeze(-1)}

    def _directions(self, name: str, kind: str, tensor: Tensor) -> Tensor:
        """``(n, entries)`` of a parameter."""
        directions = tensor.new_zeros(self.size, *tensor.shape)
        for direction, coordinate in zip(directions, self.coordinates, strict=True):
            for place, amount in getattr(coordinate, kind).items():
                if place.parameter == name:
                    direction[place.row, place.column] = amount
        return directions.flatten(1)


def at(N: int, parameter: str, rows: Iterable[int], gate: str, units: Iterable[int], amount: float = 1.0) -> dict:
    """The entries from each of ``rows`` to a gate of each of ``units``, all with the same ``amount``."""
    units = tuple(units)
    return {Place(parameter, row, GATES[gate] * N + unit): amount for row in rows for unit in units}
