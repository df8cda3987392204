"""Which parameters of a model become synapses of which grid, and what is left over."""

import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from torch import nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter
from torchmetrics import Metric

from lightning_vsml.algorithms.base import Algorithm
from lightning_vsml.binding.grids import GRIDS, Grid, ParameterGrid, choose
from lightning_vsml.binding.grids.convolution import ConvGrid
from lightning_vsml.binding.grids.dense import LinearGrid
from lightning_vsml.binding.parameter import SynapticParameter

UNMAPPED = ("synapse", "error", "freeze", "optimizer")

Place = tuple[str, nn.Module, str, nn.Parameter]  # a parameter's name, its module, the key there, itself


class MappingError(ValueError):
    """The model, or a parameter of it, cannot be turned into synapse grids."""


class Mapping(NamedTuple):
    """A model as synapses see it.

    Attributes:
        grids: by name, of layers and then of single parameters; frozen ones too (they may thaw).
        places: of the grids' parameters.
        left: trainable parameters that no layer's grid owns, where they are not synapses, by name.
        chosen: parameters that were named to stay with the optimizer.
        glue: how many modules of each other type run as they are, by class name.
    """

    grids: dict[str, Grid]
    places: list[Place]
    left: dict[str, nn.Parameter]
    chosen: dict[str, nn.Parameter]
    glue: Counter[str]


def map_model(model: nn.Module, unmapped: str = "synapse", optimizer: Sequence[str] = ()) -> Mapping:
    """Find the layers that have grids of their own, and the parameters that have not.

    Args:
        model: the user's module.
        unmapped: parameters that no layer's grid owns: ``"synapse"`` gives each a grid of its own; ``"freeze"`` and
            ``"optimizer"`` leave them over; ``"error"`` refuses them.
        optimizer: patterns of names of modules and parameters that are left out.

    Raises:
        MappingError: nothing to train, parameters left over, lazy layers, sharded weights, or a pattern without any
            match.
    """
    _check_lazy(model)
    _check_whole(model)
    places = list(_places(model))
    chosen = {place[0]: place[3] for place in places if any(_matches(place[0], pattern) for pattern in optimizer)}
    if idle := [pattern for pattern in optimizer if not any(_matches(place[0], pattern) for place in places)]:
        raise MappingError(
            f"expected names of modules or parameters to leave to the optimizer, but nothing matches "
            f"{', '.join(map(repr, idle))}. The model has {_some(place[0] for place in places)}."
        )
    users = Counter(id(parameter) for *_, parameter in places)
    kept = {id(parameter) for parameter in chosen.values()}
    grids: dict[str, Grid] = {}
    glue: Counter[str] = Counter()
    for name, module in model.named_modules():
        grid = choose(module)
        if grid is not None and all(users[id(p)] == 1 and id(p) not in kept and _ordinary(p) for p in grid.parameters):
            grids[_clean(name)] = grid
        elif (
            not any(True for _ in module.parameters()) and not any(module.children()) and not isinstance(module, Metric)
        ):
            glue[type(module).__name__] += 1

    owned = {id(parameter) for grid in grids.values() for parameter in grid.parameters} | kept
    left: dict[str, nn.Parameter] = {}
    for name, module, _, parameter in places:
        if id(parameter) in owned or not (parameter.is_floating_point() or parameter.is_complex()):
            continue
        owned.add(id(parameter))
        if unmapped == "synapse" and parameter.numel() and _ordinary(parameter):
            grids[name] = ParameterGrid(parameter, module)
        elif parameter.requires_grad:
            left[name] = parameter
    if left and unmapped == "error":
        raise MappingError(
            f"expected every trainable parameter to belong to a layer with a grid of its own "
            f"({', '.join(kind.__name__ for kind in GRIDS)}), but these do not: {', '.join(left)}\n"
            'Let each of their numbers be a synapse, unmapped="synapse", keep them as they are, "freeze", or leave '
            'them to your own optimizer, "optimizer".'
        )
    if not any(parameter.requires_grad for grid in grids.values() for parameter in grid.parameters):
        frozen = f" and {len(grids)} frozen ones" if grids else ""
        raise MappingError(
            f"{type(model).__name__} has nothing to train by synapses: found {describe(glue)}{frozen}. Add or unfreeze "
            "a layer, or train without."
        )
    mine = {id(parameter) for grid in grids.values() for parameter in grid.parameters}
    return Mapping(grids, [place for place in places if id(place[3]) in mine], left, chosen, glue)


def check_chain(mapping: Mapping, algorithm: Algorithm) -> None:
    """Refuse what messages of several numbers do not go through.

    Raises:
        MappingError: parameters that belong to no dense or convolutional layer, or another number of layers than the
            algorithm has rules for.
    """
    if others := [name for name, grid in mapping.grids.items() if not isinstance(grid, LinearGrid | ConvGrid)]:
        raise MappingError(
            f"expected nn.Linear and convolutions alone, whose messages go from one to the next by {algorithm.name!r}, "
            f"but found {', '.join(f'{name} ({mapping.grids[name].kind})' for name in others)}. Take that out of the "
            'model, keep it as it is (single parameters: unmapped="freeze"), or choose one whose messages are '
            "gradients, such as 'backprop'."
        )
    try:
        algorithm.of_layer(0, len(mapping.grids))
    except ValueError as error:
        raise MappingError(str(error)) from None


def _places(model: nn.Module) -> Iterator[Place]:
    """Every parameter wherever it is, a tied one several times."""
    for name, module in model.named_modules():
        for key, parameter in module._parameters.items():
            if parameter is not None:
                yield _clean(f"{name}.{key}".lstrip(".")), module, key, parameter


def _ordinary(parameter: nn.Parameter) -> bool:
    """Not of a class of its own, which would be lost."""
    return type(parameter) in (nn.Parameter, SynapticParameter)


def _clean(name: str) -> str:
    """Without what compiling and Fabric put around a model."""
    return re.sub(r"(^|\.)(_orig_mod|_forward_module)(?=\.|$)", "", name).lstrip(".")


def _matches(name: str, pattern: str) -> bool:
    """Whether a pattern is of this parameter, or of a module around it."""
    parts = name.split(".")
    return any(fnmatchcase(".".join(parts[:end]), pattern) for end in range(1, len(parts) + 1))


def _check_lazy(model: nn.Module) -> None:
    if lazy := [
        name
        for name, tensor in (*model.named_parameters(), *model.named_buffers())
        if isinstance(tensor, UninitializedParameter | UninitializedBuffer)
    ]:
        raise MappingError(
            f"expected layers with known shapes, but these are lazy and have none yet: {', '.join(lazy)}. Run one "
            "batch through the model before fit, or use the non-lazy layers."
        )


def _check_whole(model: nn.Module) -> None:
    sharding = sys.modules.get("torch.distributed.tensor")  # slow to import, and there wherever something is sharded
    if sharding and (
        sharded := [name for name, tensor in model.named_parameters() if isinstance(tensor, sharding.DTensor)]
    ):
        raise MappingError(
            f"expected whole weights on every process, but these are sharded: {_some(iter(sharded))}. Attach a model "
            "that is not, and wrap it with DDP. What sharded states would take: docs/scale.md."
        )


def _some(names: Iterator[str]) -> str:
    first = list(dict.fromkeys(names))
    return ", ".join(first[:8]) + (", ..." if len(first) > 8 else "")


def describe(glue: Counter[str]) -> str:
    """The glue in one line."""
    return ", ".join(f"{kind} x{count}" if count > 1 else kind for kind, count in sorted(glue.items())) or "no layers"
