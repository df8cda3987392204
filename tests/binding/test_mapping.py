"""Which parameters become which grid, and what is said about the others."""

from collections.abc import Sequence

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.nn.utils import parametrizations, parametrize, prune
from torchmetrics import MeanMetric

from lightning_vsml.binding.grids import GRIDS, ParameterGrid
from lightning_vsml.binding.mapping import UNMAPPED, Mapping, MappingError, describe, map_model


class InitialisedLinear(nn.Linear):
    """A subclass that keeps what it has."""

    def reset_parameters(self) -> None:
        nn.init.orthogonal_(self.weight)


class Scaled(nn.Module):
    """Parameters of its own around a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)
        self.scale = nn.Parameter(torch.ones(()))
        self.phase = nn.Parameter(torch.ones(3, dtype=torch.complex64))
        self.steps = nn.Parameter(torch.zeros(2, dtype=torch.int64), requires_grad=False)
        self.parts = nn.ParameterList([torch.ones(2), torch.zeros(3)])
        self.named = nn.ParameterDict({"of it": torch.ones(2)})


class OwnParameter(nn.Parameter):
    """One that does something else with functions, maybe."""


def kinds(mapping: Mapping) -> dict[str, str]:
    """Names of grids, and of their types without "Grid"."""
    return {name: type(grid).__name__.removesuffix("Grid") for name, grid in mapping.grids.items()}


def test_layers_single_parameters_and_glue() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3),
        nn.ReLU(),
        nn.ReLU(),
        nn.Flatten(),
        nn.Sequential(InitialisedLinear(8, 3), Scaled()),
        nn.Dropout(),
        MeanMetric(),
    )
    mapping = map_model(model)
    assert kinds(mapping) == {
        "0": "Conv",
        "4.0": "Linear",
        "4.1.layer": "Linear",
        "4.1.scale": "Parameter",
        "4.1.phase": "Parameter",
        "4.1.parts.0": "Parameter",
        "4.1.parts.1": "Parameter",
        "4.1.named.of it": "Parameter",
    }
    assert mapping.grids["4.1.phase"].shape == (6, 1, 1) and mapping.grids["4.1.scale"].kind == "Scaled"
    assert mapping.glue == {"ReLU": 2, "Flatten": 1, "Dropout": 1}
    assert describe(mapping.glue) == "Dropout, Flatten, ReLU x2"
    assert mapping.left == mapping.chosen == {}


def test_every_parameter_is_synapses_of_one_grid_and_in_its_place() -> None:
    model = nn.Sequential(Scaled(), nn.LSTM(3, 2), nn.MultiheadAttention(4, 2), nn.BatchNorm1d(3), nn.PReLU())
    mapping = map_model(model)
    numbers = {id(p): name for name, p in model.named_parameters() if p.dtype != torch.int64}
    owned = [id(p) for grid in mapping.grids.values() for p in grid.parameters]
    assert sorted(owned) == sorted(numbers)
    assert {name: id(p) for name, *_, p in mapping.places} == {name: place for place, name in numbers.items()}
    assert all(module._parameters[key] is p for _, module, key, p in mapping.places)
    for name, grid in mapping.grids.items():
        names = [numbers[id(p)] for p in grid.parameters]
        assert all(n == name if isinstance(grid, ParameterGrid) else n.rpartition(".")[0] == name for n in names)


@pytest.mark.parametrize("prefix", ["", "part"])
def test_the_model_itself_may_be_a_layer(prefix: str) -> None:
    layer = nn.Linear(2, 2)
    model = nn.ModuleDict({prefix: layer}) if prefix else layer
    mapping = map_model(model)
    assert kinds(mapping) == {prefix: "Linear"}
    assert [name for name, *_ in mapping.places] == [f"{prefix}.{key}".lstrip(".") for key in ("weight", "bias")]
    prelu = nn.PReLU()
    assert kinds(map_model(prelu)) == {"weight": "Parameter"}


def frozen(layer: nn.Module, *keys: str) -> nn.Module:
    """A layer with some parameters that do not learn."""
    for key in keys:
        layer.get_parameter(key).requires_grad_(False)
    return layer


@pytest.mark.parametrize(
    ("layer", "grids"),
    [
        (nn.PReLU(), {"weight": "Parameter"}),
        (
            nn.LSTM(3, 2),
            dict.fromkeys(("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"), "Parameter"),
        ),
        (
            parametrizations.weight_norm(nn.Linear(3, 3)),
            {
                "bias": "Parameter",
                "parametrizations.weight.original0": "Parameter",
                "parametrizations.weight.original1": "Parameter",
            },
        ),
        (
            parametrize.register_parametrization(nn.Conv1d(3, 3, 1), "bias", nn.Tanh()),
            {"weight": "Parameter", "parametrizations.bias.original": "Parameter"},
        ),
        (
            parametrize.register_parametrization(nn.MultiheadAttention(4, 2), "in_proj_bias", nn.Tanh()),
            {
                "out_proj": "Linear",
                "in_proj_weight": "Parameter",
                "parametrizations.in_proj_bias.original": "Parameter",
            },
        ),
        (
            prune.random_unstructured(nn.Linear(3, 3), "weight", 0.5),
            {"bias": "Parameter", "weight_orig": "Parameter"},
        ),
        (nn.MultiheadAttention(4, 2), {"": "Attention", "out_proj": "Linear"}),
        (
            nn.MultiheadAttention(4, 2, bias=False, kdim=3, add_bias_kv=True),
            {
                "out_proj": "Linear",
                **dict.fromkeys(("q_proj_weight", "k_proj_weight", "v_proj_weight", "bias_k", "bias_v"), "Parameter"),
            },
        ),
        (nn.Embedding(3, 2, max_norm=1.0), {"weight": "Parameter"}),
        (nn.Linear(3, 3, dtype=torch.complex64), {"weight": "Parameter", "bias": "Parameter"}),
        (nn.SyncBatchNorm(3), {"weight": "Parameter", "bias": "Parameter"}),
        (frozen(nn.Linear(3, 2), "bias"), {"": "Linear"}),
        (frozen(nn.Linear(3, 2), "weight"), {"": "Linear"}),
        (frozen(nn.BatchNorm1d(3), "bias"), {"": "BatchNorm"}),
    ],
    ids=lambda case: str(case).splitlines()[0] if isinstance(case, nn.Module) else "",
)
def test_what_becomes_of_a_layer(layer: nn.Module, grids: dict[str, str]) -> None:
    assert kinds(map_model(layer)) == grids
    within = {f"of.{name}".rstrip("."): kind for name, kind in grids.items()}
    assert kinds(map_model(nn.ModuleDict({"of": layer}))) == within


def test_tied_weights_are_synapses_once_and_other_parameters_of_their_layers_too() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    mapping = map_model(model)
    assert kinds(mapping) == {"2": "Linear", **dict.fromkeys(("0.weight", "0.bias", "1.bias"), "Parameter")}
    tied = [(name, module) for name, module, _, p in mapping.places if p is model[0].weight]
    assert tied == [("0.weight", model[0]), ("1.weight", model[1])]
    model = nn.Sequential(nn.Embedding(2, 3), nn.Linear(3, 2, bias=False))
    model[1].weight = model[0].weight
    assert kinds(map_model(model)) == {"0.weight": "Parameter"}
    model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
    model[1].bias = model[0].bias
    assert set(map_model(model).grids) == {"0.weight", "0.bias", "1.weight"}


def test_one_layer_under_two_names_is_mapped_once() -> None:
    layer = nn.Linear(2, 2)
    mapping = map_model(nn.Sequential(layer, nn.Sequential(layer)))
    assert kinds(mapping) == {"0": "Linear"}
    assert [name for name, *_ in mapping.places] == ["0.weight", "0.bias"]


def test_parameters_of_a_class_of_their_own_are_left() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.PReLU())
    model[0].weight = OwnParameter(torch.ones(2, 2))
    model[2].weight = OwnParameter(torch.ones(1))
    mapping = map_model(model)
    assert kinds(mapping) == {"1": "Linear", "0.bias": "Parameter"}
    assert set(mapping.left) == {"0.weight", "2.weight"}


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_empty_parameters_are_left() -> None:
    mapping = map_model(nn.Sequential(nn.Linear(3, 0), nn.Linear(0, 3)))
    assert kinds(mapping) == {"1.bias": "Parameter"}
    assert set(mapping.left) == {"0.weight", "0.bias", "1.weight"}


def test_what_no_layers_grid_owns_is_left_on_request() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.PReLU(), Scaled(), frozen(nn.PReLU(), "weight"))
    others = {"1.weight", "2.scale", "2.phase", "2.parts.0", "2.parts.1", "2.named.of it"}
    for unmapped in ("freeze", "optimizer"):
        mapping = map_model(model, unmapped)
        assert kinds(mapping) == {"0": "Linear", "2.layer": "Linear"}
        assert set(mapping.left) == others and mapping.chosen == {}
        assert all(p.requires_grad and model.get_parameter(name) is p for name, p in mapping.left.items())
        assert {name for name, *_ in mapping.places} == {"0.weight", "0.bias", "2.layer.weight", "2.layer.bias"}
    assert set(map_model(model).grids) == {"0", "2.layer", "3.weight", *others}  # what is frozen may thaw


def test_an_error_names_each_of_them_and_ways_out() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.PReLU(), parametrizations.weight_norm(nn.Linear(3, 3)))
    with pytest.raises(MappingError) as caught:
        map_model(model, "error")
    message = str(caught.value)
    names = "1.weight, 2.bias, 2.parametrizations.weight.original0, 2.parametrizations.weight.original1"
    assert f"but these do not: {names}\n" in message
    assert all(kind.__name__ in message for kind in GRIDS)
    assert all(f'"{way}"' in message for way in UNMAPPED if way != "error")


@pytest.mark.parametrize("unmapped", UNMAPPED)
def test_a_model_of_layers_maps_alike(unmapped: str) -> None:
    model = nn.Sequential(nn.Embedding(3, 2), nn.LayerNorm(2), frozen(nn.PReLU(), "weight"), nn.Linear(2, 2))
    mapping = map_model(model, unmapped)
    assert set(mapping.grids) - {"2.weight"} == {"0", "1", "3"} and mapping.left == {}


@pytest.mark.parametrize(
    ("patterns", "grids", "chosen"),
    [
        (["body"], {"head": "Linear"}, {"body.0.weight", "body.0.bias", "body.1.weight"}),
        (["body.*", "body.0"], {"head": "Linear"}, {"body.0.weight", "body.0.bias", "body.1.weight"}),
        (["*.1"], {"body.0": "Linear", "head": "Linear"}, {"body.1.weight"}),
        (["b?dy.0"], {"head": "Linear", "body.1.weight": "Parameter"}, {"body.0.weight", "body.0.bias"}),
        (["[hx]ead"], {"body.0": "Linear", "body.1.weight": "Parameter"}, {"head.weight", "head.bias"}),
        (
            ["*.bias"],
            dict.fromkeys(("body.0.weight", "body.1.weight", "head.weight"), "Parameter"),
            {"body.0.bias", "head.bias"},
        ),
        (
            ["head.bias", "body.1.weight"],
            {"body.0": "Linear", "head.weight": "Parameter"},
            {"head.bias", "body.1.weight"},
        ),
        ([], {"body.0": "Linear", "head": "Linear", "body.1.weight": "Parameter"}, set()),
    ],
    ids=lambda case: str(sorted(case)),
)
def test_patterns_leave_modules_and_parameters_to_the_optimizer(
    patterns: Sequence[str], grids: dict[str, str], chosen: set[str]
) -> None:
    model = nn.ModuleDict({"body": nn.Sequential(nn.Linear(2, 2), nn.PReLU()), "head": nn.Linear(2, 2)})
    mapping = map_model(model, optimizer=patterns)
    assert kinds(mapping) == grids
    assert set(mapping.chosen) == chosen and mapping.left == {}
    assert all(model.get_parameter(name) is p for name, p in mapping.chosen.items())
    assert not chosen & {name for name, *_ in mapping.places}


def test_what_patterns_name_is_not_left_over_in_other_ways() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.PReLU(), nn.PReLU())
    assert set(map_model(model, "error", ["1", "2.weight"]).chosen) == {"1.weight", "2.weight"}
    mapping = map_model(model, "freeze", ["1"])
    assert set(mapping.left) == {"2.weight"} and set(mapping.chosen) == {"1.weight"}


def test_a_tied_parameter_is_named_by_any_of_its_names() -> None:
    model = nn.Sequential(nn.Embedding(2, 3), nn.Linear(3, 2))
    model[1].weight = model[0].weight
    for pattern in ("0", "1.weight"):
        mapping = map_model(model, optimizer=[pattern])
        assert kinds(mapping) == {"1.bias": "Parameter"}
        assert [id(p) for p in mapping.chosen.values()] == [id(model[0].weight)]


@pytest.mark.parametrize("pattern", ["heads", "ead", "head.", "head.weight.x", "HEAD", "", "weight"])
def test_a_pattern_without_any_match(pattern: str) -> None:
    model = nn.ModuleDict({"head": nn.Linear(2, 2)})
    with pytest.raises(MappingError) as caught:
        map_model(model, optimizer=["head", pattern])
    assert f"but nothing matches {pattern!r}. The model has head.weight, head.bias." in str(caught.value)


def test_of_a_large_model_the_first_names_are_said() -> None:
    model = nn.Sequential(*[nn.Linear(1, 1) for _ in range(5)])
    with pytest.raises(MappingError, match=r"matches 'a', 'b'. The model has 0.weight, .*, 3.weight, 3.bias, ...\.$"):
        map_model(model, optimizer=["a", "0", "b"])


@pytest.mark.parametrize(
    ("model", "unmapped", "patterns", "found"),
    [
        (nn.ReLU(), "synapse", [], "Re.* nothing to train by synapses: found ReLU. Add"),
        (nn.Sequential(nn.Flatten(), nn.PReLU()), "freeze", [], "found Flatten. Add or unfreeze"),
        (nn.Linear(2, 2), "synapse", ["*"], "found no layers. Add"),
        (nn.Linear(2, 2).requires_grad_(False), "synapse", [], "Linear has .* found no layers and 1 frozen ones"),
        (nn.Sequential(frozen(nn.PReLU(), "weight")), "synapse", [], "found no layers and 1 frozen ones"),
        (nn.Sequential(frozen(nn.PReLU(), "weight")), "error", [], "found no layers. Add"),
    ],
    ids=["ReLU", "left over", "all chosen", "frozen layer", "frozen parameter", "frozen and unmapped"],
)
def test_nothing_to_train(model: nn.Module, unmapped: str, patterns: list[str], found: str) -> None:
    with pytest.raises(MappingError, match=found):
        map_model(model, unmapped, patterns)


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
@pytest.mark.parametrize("unmapped", UNMAPPED)
def test_lazy_layers(unmapped: str) -> None:
    model = nn.Sequential(nn.LazyLinear(3), nn.LazyBatchNorm1d())
    with pytest.raises(MappingError, match=r"none yet: 0.weight, 0.bias, 1.weight, .*1.running_mean, .* Run one batch"):
        map_model(model, unmapped)
    model(torch.ones(2, 4))
    assert kinds(map_model(model, unmapped)) == {"0": "Linear", "1": "BatchNorm"}


class Wrapped(nn.Module):
    """As Fabric does it."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self._forward_module = module


@pytest.mark.parametrize("wrap", [torch.compile, Wrapped, lambda net: Wrapped(torch.compile(net))])
def test_names_do_not_show_what_is_around_a_model(wrap) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.PReLU(), nn.ReLU())
    mapping = map_model(wrap(model), optimizer=["1"])
    assert kinds(mapping) == {"0": "Linear"} and set(mapping.chosen) == {"1.weight"}
    assert [name for name, *_ in mapping.places] == ["0.weight", "0.bias"]
    assert mapping.glue == {"ReLU": 1}
    assert kinds(map_model(wrap(nn.Linear(2, 2)))) == {"": "Linear"}
    assert kinds(map_model(wrap(nn.PReLU()))) == {"weight": "Parameter"}


def test_names_do_not_show_what_is_within_a_model() -> None:
    model = nn.Sequential(torch.compile(nn.Linear(2, 2)), nn.ModuleDict({"part": Wrapped(nn.PReLU())}))
    model.add_module("_orig_model", nn.Linear(2, 2))
    assert set(map_model(model).grids) == {"0", "_orig_model", "1.part.weight"}


@pytest.mark.filterwarnings("ignore:.*deprecated")  # torchao takes over
def test_quantized_layers_are_glue() -> None:
    body = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(3, 3), nn.ReLU()), {nn.Linear})
    assert kinds(map_model(nn.Sequential(body, nn.Linear(3, 3)), "error")) == {"1": "Linear"}


def test_sharded_weights_are_refused() -> None:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        model = nn.Sequential(nn.Linear(2, 2))
        fully_shard(model, mesh=dist.init_device_mesh("cpu", (1,)))
        with pytest.raises(MappingError, match=r"these are sharded: 0\.weight, 0\.bias.*docs/scale\.md"):
            map_model(model)
    finally:
        dist.destroy_process_group()
