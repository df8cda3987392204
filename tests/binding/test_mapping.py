"""Which layers become grids, and what is said about the others."""

import pytest
import torch
from torch import nn
from torchmetrics import MeanMetric

from lightning_vsml.binding.grids.convolution import ConvGrid
from lightning_vsml.binding.grids.dense import LinearGrid
from lightning_vsml.binding.mapping import MappingError, map_layers


class InitialisedLinear(nn.Linear):
    """A subclass that keeps the forward."""

    def reset_parameters(self) -> None:
        nn.init.orthogonal_(self.weight)


class CosineLinear(nn.Linear):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(input, nn.functional.normalize(self.weight))


def test_finds_layers_and_glue() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3),
        nn.ReLU(),
        nn.ReLU(),
        nn.Flatten(),
        nn.Sequential(InitialisedLinear(8, 4)),
        nn.Dropout(),
        MeanMetric(),
    )
    mapping = map_layers(model)
    assert {name: type(grid) for name, grid in mapping.grids.items()} == {"0": ConvGrid, "4.0": LinearGrid}
    assert mapping.glue == {"ReLU": 2, "Flatten": 1, "Dropout": 1}
    assert mapping.unmapped == []


def test_the_model_itself_may_be_a_layer() -> None:
    assert list(map_layers(nn.Linear(2, 2)).grids) == [""]


def test_each_unmapped_parameter_is_named() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.PReLU(), CosineLinear(3, 3, bias=False), nn.MultiheadAttention(3, 1))
    model.register_parameter("scale", nn.Parameter(torch.ones(())))
    with pytest.raises(MappingError) as caught:
        map_layers(model)
    for name in (
        "  scale (Sequential)",
        "1.weight (PReLU)",
        "2.weight (CosineLinear: CosineLinear.forward is not that of nn.Linear)",
        "3.in_proj_weight (MultiheadAttention: nn.MultiheadAttention uses its weights without calling a layer; replace",
        "3.out_proj.weight (NonDynamicallyQuantizableLinear: nn.MultiheadAttention uses",
        "around torch.nn.functional.scaled_dot_product_attention",
    ):
        assert name in str(caught.value)
    assert "0.weight" not in str(caught.value)
    assert 'unmapped="freeze"' in str(caught.value) and 'unmapped="optimizer"' in str(caught.value)
    for way_out in ("freeze", "optimizer"):
        assert len(map_layers(model, way_out).unmapped) == 7


def test_parametrized_and_weight_normed_layers_are_not_mapped() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.utils.parametrizations.weight_norm(nn.Linear(3, 3)))
    with pytest.raises(
        MappingError, match=r"1.bias \(ParametrizedLinear: its weight is computed from other .* remove that"
    ):
        map_layers(model)


@pytest.mark.parametrize(
    ("layer", "why"),
    [
        (nn.Embedding(3, 2, max_norm=1.0), "Embedding: max_norm rescales weights"),
        (nn.Embedding(3, 2, scale_grad_by_freq=True), "Embedding: scale_grad_by_freq"),
        (nn.LSTM(3, 2), r"LSTM: it uses its weights for all time steps in one call; replace it by"),
        (nn.GRUCell(3, 2), "GRUCell: it uses its weights without calling a layer; replace it by Linear layers"),
        (nn.SyncBatchNorm(3), "SyncBatchNorm: it averages over processes"),
        (nn.Linear(3, 3, dtype=torch.complex64), "Linear: its weight is of type torch.complex64"),
        (nn.utils.parametrizations.spectral_norm(nn.Linear(3, 3)), "its weight is computed from other parameters"),
    ],
)
def test_what_cannot_be_mapped_says_why(layer: nn.Module, why: str) -> None:
    with pytest.raises(MappingError, match=why):
        map_layers(nn.Sequential(nn.Linear(3, 3), layer))


@pytest.mark.filterwarnings("ignore:.*deprecated")  # torchao takes over
def test_quantized_layers() -> None:
    body = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(3, 3), nn.ReLU()), {nn.Linear})
    model = nn.Sequential(body, nn.Linear(3, 3))
    with pytest.raises(MappingError, match=r"quantized, .*: 0.0 \(DynamicQuantizedLinear\). Train first and quantize"):
        map_layers(model)
    assert list(map_layers(model, "freeze").grids) == ["1"]


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv1d(1, 2, 3),
        nn.ConvTranspose2d(1, 2, 3),
        nn.Embedding(3, 2),
        nn.LayerNorm(3),
        nn.RMSNorm(3),
        nn.BatchNorm1d(3),
        nn.BatchNorm2d(3),
        nn.BatchNorm3d(3),
        nn.GroupNorm(1, 3),
    ],
)
def test_more_layers_map(layer: nn.Module) -> None:
    mapping = map_layers(layer)
    assert list(mapping.grids) == [""] and not mapping.unmapped and not mapping.glue


def test_a_replaced_forward_is_respected() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].forward = lambda x: x
    with pytest.raises(MappingError, match=r"1.weight"):
        map_layers(model)


@pytest.mark.parametrize("model", [nn.ReLU(), nn.Sequential(nn.Flatten(), nn.PReLU())])
def test_nothing_to_map(model: nn.Module) -> None:
    with pytest.raises(MappingError, match=r"no trainable layer that can be mapped: expected .* Linear, Conv1d"):
        map_layers(model)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_nothing_to_map_says_why() -> None:
    with pytest.raises(MappingError, match=r"0.weight \(Linear: its weight is empty, of shape \(0, 3\)\)"):
        map_layers(nn.Sequential(nn.Linear(3, 0), nn.Linear(0, 3)))


def test_everything_frozen() -> None:
    with pytest.raises(MappingError, match="and 1 frozen ones"):
        map_layers(nn.Linear(2, 2).requires_grad_(False))


def test_half_frozen() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    model[0].bias.requires_grad_(False)
    with pytest.raises(
        MappingError, match="0: expected weight and bias to be both trainable or both frozen, but bias has"
    ):
        map_layers(model)


def test_tied_weights() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    with pytest.raises(MappingError, match=r"0.weight and 1.weight are one tied parameter"):
        map_layers(model)
    model = nn.Sequential(nn.Embedding(2, 3), nn.Linear(3, 2, bias=False))
    model[1].weight = model[0].weight
    with pytest.raises(MappingError, match=r"0.weight and 1.weight are one tied parameter"):
        map_layers(model)


def test_one_layer_under_two_names_is_mapped_once() -> None:
    layer = nn.Linear(2, 2)
    assert list(map_layers(nn.Sequential(layer, layer)).grids) == ["0"]


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
def test_lazy_layers() -> None:
    with pytest.raises(MappingError, match=r"lazy and have none yet: 0.weight, 0.bias. Run one batch"):
        map_layers(nn.Sequential(nn.LazyLinear(3)))
