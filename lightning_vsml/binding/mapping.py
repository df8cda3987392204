"""Which layers of a model become synapse grids, and what is left over."""

from collections import Counter
from typing import NamedTuple

from torch import nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter
from torchmetrics import Metric

from lightning_vsml.binding.grids import GRIDS, Grid, choose

UNMAPPED = ("error", "freeze", "optimizer")


class MappingError(ValueError):
    """The model, or a parameter of it, cannot be turned into synapse grids."""


class Mapping(NamedTuple):
    """A model as the learner sees it.

    Attributes:
        grids: for each mapped layer its qualified name and grid; frozen layers too (they stay untouched).
        unmapped: names of the trainable parameters that no mapped layer owns.
        glue: how many modules of each other type run as they are, by class name.
    """

    grids: dict[str, Grid]
    unmapped: list[str]
    glue: Counter[str]


def map_layers(model: nn.Module, unmapped: str = "error") -> Mapping:
    """Find the layers that can be mapped.

    Args:
        model: the user's module.
        unmapped: ``"error"`` refuses trainable parameters that no mapped layer owns, ``"freeze"`` leaves
            them as they are, ``"optimizer"`` leaves them to the user's optimizer.

    Raises:
        MappingError: nothing to map, parameters left over, a layer that is half frozen, not yet materialised,
            quantized, or shares a parameter with another.
    """
    if lazy := [
        name
        for name, tensor in (*model.named_parameters(), *model.named_buffers())
        if isinstance(tensor, UninitializedParameter | UninitializedBuffer)
    ]:
        raise MappingError(
            f"expected layers with known shapes, but these are lazy and have none yet: {', '.join(lazy)}. Run one "
            "batch through the model before fit, or use the non-lazy layers."
        )
    if unmapped == "error" and (quantized := _quantized(model)):
        raise MappingError(
            "expected layers with floating-point weights, but these are quantized, and integers do not learn: "
            f"{', '.join(quantized)}. Train first and quantize after, or keep them as they are with "
            'VSMLLearner(..., unmapped="freeze").'
        )
    grids: dict[str, Grid] = {}
    glue: Counter[str] = Counter()
    for name, module in model.named_modules():
        if isinstance(chosen := choose(module), type):
            grids[name] = chosen(module)
        elif module is not model and not any(module.children()) and not isinstance(module, Metric):
            glue[type(module).__name__] += 1

    _check_frozen(grids)
    owned = _owned_by(model, grids)
    leftover = [
        name for name, parameter in model.named_parameters() if parameter.requires_grad and id(parameter) not in owned
    ]
    if not any(grid.layer.weight.requires_grad for grid in grids.values()):
        raise MappingError(
            f"{type(model).__name__} has no trainable layer that can be mapped: expected at least one of "
            f"{', '.join(kind.__name__ for kind in GRIDS)}, found {describe(glue)}"
            f"{f' and {len(grids)} frozen ones' if grids else ''}. Add or unfreeze such a layer, or train without "
            f"VSMLLearner.{_listed(model, leftover)}"
        )
    if leftover and unmapped == "error":
        raise MappingError(
            "expected every trainable parameter to belong to a mapped layer "
            f"({', '.join(kind.__name__ for kind in GRIDS)}), but these do not:{_listed(model, leftover)}\n"
            'Either keep them as they are with VSMLLearner(..., unmapped="freeze"), or leave them to your own '
            'optimizer with VSMLLearner(..., unmapped="optimizer").'
        )
    return Mapping(grids, leftover, glue)


def _listed(model: nn.Module, parameters: list[str]) -> str:
    """Parameters that are not mapped, one a line, with their module's type and why, where that is known."""
    lines = []
    for name in parameters:
        module = model.get_submodule(name.rpartition(".")[0])
        why = choose(module)
        lines.append(f"\n  {name} ({type(module).__name__}{f': {why}' if isinstance(why, str) else ''})")
    return "".join(lines)


def _quantized(model: nn.Module) -> list[str]:
    """Names and types of torch's quantized layers; they have no parameters that would show."""
    return [
        f"{name} ({module._get_name()})"
        for name, module in model.named_modules()
        if type(module).__module__.startswith("torch.ao.nn.quantized") and "PackedParams" not in type(module).__name__
    ]


def _check_frozen(grids: dict[str, Grid]) -> None:
    for name, grid in grids.items():
        weight, bias = grid.layer.weight, getattr(grid.layer, "bias", None)
        if bias is not None and weight.requires_grad != bias.requires_grad:
            trainable, frozen = ("weight", "bias") if weight.requires_grad else ("bias", "weight")
            raise MappingError(
                f"{name}: expected weight and bias to be both trainable or both frozen, but {frozen} has "
                f"requires_grad=False and {trainable} has not. Freeze or unfreeze both."
            )


def _owned_by(model: nn.Module, grids: dict[str, Grid]) -> set[int]:
    """Identities of the parameters that mapped layers own; a trainable one shared by two modules is an error."""
    layers = {id(grid.layer) for grid in grids.values()}
    uses: dict[int, list[str]] = {}
    owned: set[int] = set()
    for name, module in model.named_modules():
        for key, parameter in module._parameters.items():
            if parameter is not None and parameter.requires_grad:
                uses.setdefault(id(parameter), []).append(f"{name}.{key}".lstrip("."))
                if id(module) in layers:
                    owned.add(id(parameter))
    for parameter in owned:
        if len(uses[parameter]) > 1:
            raise MappingError(
                f"{' and '.join(uses[parameter])} are one tied parameter; a mapped layer needs weights of its own. "
                "Call one layer twice (that is supported), freeze the parameter, or untie it."
            )
    return owned


def describe(glue: Counter[str]) -> str:
    """The glue in one line."""
    return ", ".join(f"{kind} x{count}" if count > 1 else kind for kind, count in sorted(glue.items())) or "no layers"
