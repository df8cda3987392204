"""Grids against the layers they stand for."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import pad

from lightning_vsml.binding.grids import GRIDS, Grid
from lightning_vsml.binding.grids.convolution import ConvGrid
from lightning_vsml.binding.grids.dense import EmbeddingGrid, LinearGrid
from lightning_vsml.binding.grids.norm import BatchNormGrid, GroupNormGrid, LayerNormGrid
from lightning_vsml.ticks.sites import Site


def rows_of(site: Site) -> Tensor:
    """Forward messages (R, G, A), with the bias."""
    return pad(site.as_rows(site.x), (0, int(site.bias)), value=1.0)


def by_matrix(grid: Grid, x: Tensor) -> Tensor:
    """The layer's output computed from messages and weights alone."""
    site = grid.site(x, torch.float64)
    y = torch.einsum("rga,gab->rgb", rows_of(site), site.select(grid.read(torch.float64).unsqueeze(0))[0])
    return grid.output(site.rows_as_outputs(y), x)


def check_grid(layer: nn.Module, x: Tensor) -> None:
    """messages @ weights is the layer; its adjoint is the layer's; feedback inverts output; write inverts read."""
    grid = next(kind for layer_type, kind in GRIDS.items() if isinstance(layer, layer_type))(layer)
    grid.check(x)
    theirs, ours = layer(x), by_matrix(grid, x)
    torch.testing.assert_close(ours, theirs)

    g = torch.randn_like(theirs)
    if x.is_floating_point():
        [dx] = torch.autograd.grad(layer(x.requires_grad_()), x, g)
        [dx_ours] = torch.autograd.grad(by_matrix(grid, x), x, g)
        torch.testing.assert_close(dx_ours, dx)

    e, site = grid.feedback(g), grid.site(x, torch.float64)
    assert e.shape == site.output_shape
    torch.testing.assert_close(grid.output(e, x), g)
    e_rows = site.outputs_as_rows(e)
    assert e_rows.shape == (site.rows, grid.shape[0], grid.shape[2])
    assert torch.equal(site.rows_as_outputs(e_rows), e)

    weights = grid.read(torch.float64)
    assert weights.shape == grid.shape
    new = torch.randn_like(weights)
    assert [p.shape for p in grid.parameters] == [p.shape for p in layer.parameters()]
    grid.write(new)
    assert torch.equal(grid.read(torch.float64), new)
    torch.testing.assert_close(by_matrix(grid, x), layer(x))


@settings(max_examples=40)
@given(
    leading=st.lists(st.integers(1, 3), max_size=3),
    fan_in=st.integers(1, 5),
    fan_out=st.integers(1, 5),
    bias=st.booleans(),
)
def test_linear(leading: list[int], fan_in: int, fan_out: int, bias: bool) -> None:
    check_grid(nn.Linear(fan_in, fan_out, bias).double(), torch.randn(*leading, fan_in).double())


SPATIAL = {
    "groups": st.integers(1, 3),
    "per_group": st.tuples(st.integers(1, 2), st.integers(1, 2)),
    "kernel": st.tuples(st.integers(1, 3), st.integers(1, 3)),
    "stride": st.tuples(st.integers(1, 3), st.integers(1, 3)),
    "dilation": st.tuples(st.integers(1, 2), st.integers(1, 2)),
    "batch": st.integers(0, 2),
    "size": st.tuples(st.integers(5, 8), st.integers(5, 8)),
    "bias": st.booleans(),
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@settings(max_examples=80)
@given(
    dims=st.integers(1, 2),
    padding=st.one_of(st.sampled_from(["same", "valid"]), st.tuples(st.integers(0, 2), st.integers(0, 2))),
    mode=st.sampled_from(["zeros", "reflect", "replicate", "circular"]),
    **SPATIAL,
)
def test_conv(dims, padding, mode, groups, per_group, kernel, stride, dilation, batch, size, bias) -> None:
    assume(padding != "same" or stride[:dims] == (1, 1)[:dims])
    layer = (nn.Conv1d if dims == 1 else nn.Conv2d)(
        groups * per_group[0],
        groups * per_group[1],
        kernel[:dims],
        stride[:dims],
        padding if isinstance(padding, str) else padding[:dims],
        dilation[:dims],
        groups,
        bias=bias,
        padding_mode=mode,
    ).double()
    image = torch.randn(*([batch] if batch else []), groups * per_group[0], *size[:dims]).double()
    check_grid(layer, image)


@settings(max_examples=60)
@given(
    padding=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    more=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    **SPATIAL,
)
def test_conv_transpose(padding, more, groups, per_group, kernel, stride, dilation, batch, size, bias) -> None:
    for d in range(2):
        assume(more[d] < max(stride[d], dilation[d]))
        assume((size[d] - 1) * stride[d] - 2 * padding[d] + dilation[d] * (kernel[d] - 1) + more[d] >= 0)
    channels = groups * per_group[0], groups * per_group[1]
    layer = nn.ConvTranspose2d(*channels, kernel, stride, padding, more, groups, bias, dilation).double()
    check_grid(layer, torch.randn(*([batch] if batch else []), channels[0], *size).double())


@settings(max_examples=30)
@given(leading=st.lists(st.integers(1, 3), max_size=3), vocabulary=st.integers(1, 6), size=st.integers(1, 4))
def test_embedding(leading: list[int], vocabulary: int, size: int) -> None:
    check_grid(nn.Embedding(vocabulary, size).double(), torch.randint(vocabulary, leading))


def test_a_padding_index_has_no_input_and_the_layers_own_vector() -> None:
    layer = nn.Embedding(4, 3, padding_idx=1).double()
    layer.weight.data[1] = 7.0
    grid, x = EmbeddingGrid(layer), torch.tensor([[0, 1], [3, 1]])
    assert rows_of(grid.site(x, torch.float64)).sum(-1).flatten().tolist() == [1, 0, 1, 0]
    torch.testing.assert_close(by_matrix(grid, x), layer(x))


@settings(max_examples=60)
@given(
    kind=st.sampled_from([nn.LayerNorm, nn.RMSNorm, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.GroupNorm]),
    samples=st.integers(2, 3),
    features=st.integers(1, 3),
    positions=st.lists(st.integers(2, 3), min_size=3, max_size=3),
    bias=st.booleans(),
    several=st.booleans(),
    training=st.booleans(),
)
def test_norms(kind, samples, features, positions, bias, several, training) -> None:
    if issubclass(kind, nn.LayerNorm | nn.RMSNorm):
        shape = (*positions[:1], 2 * features) if several else (2 * features,)
        layer = kind(shape, bias=bias) if kind is nn.LayerNorm else kind(shape)
        x = torch.randn(samples, *positions[1:], *shape)
    elif kind is nn.GroupNorm:
        layer, x = kind(features, 2 * features), torch.randn(samples, 2 * features, *positions[: 2 * several])
    else:
        dims = {nn.BatchNorm1d: int(several), nn.BatchNorm2d: 2, nn.BatchNorm3d: 3}[kind]
        layer, x = kind(features), torch.randn(samples, features, *positions[:dims])
        layer.running_mean.normal_()
    layer.train(training).double()
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    check_grid(layer, 2 * x.double() + 1)


@pytest.mark.parametrize("momentum", [0.1, None])
def test_batch_norm_keeps_its_statistics_once_for_each_forward(momentum: float | None) -> None:
    ours, theirs = (nn.BatchNorm2d(3, momentum=momentum).double() for _ in range(2))
    grid = BatchNormGrid(ours)
    for _ in range(3):
        x = torch.randn(4, 3, 2, 2).double()
        theirs(x)
        by_matrix(grid, x)  # notes nothing
        grid.observe(x)
        by_matrix(grid, x)
        for name, buffer in theirs.named_buffers():
            assert torch.equal(ours.get_buffer(name), buffer), name


def test_channels_last_and_strided_inputs() -> None:
    image = torch.randn(2, 6, 6, 3).double().permute(0, 3, 1, 2)
    check_grid(nn.Conv2d(3, 4, 3).double(), image)
    check_grid(nn.Linear(3, 4).double(), torch.randn(3, 5).double().mT)


@pytest.mark.parametrize(
    ("grid", "x", "error", "message"),
    [
        (LinearGrid(nn.Linear(3, 2)), torch.ones(4, 3).long(), TypeError, "floating-point input, got torch.int64"),
        (LinearGrid(nn.Linear(3, 2)), torch.ones(4, 3).double(), TypeError, "type, torch.float32, got torch.float64"),
        (LinearGrid(nn.Linear(3, 2)), torch.ones(4, 5), ValueError, r"of shape \(..., 3\), got \(4, 5\)"),
        (LinearGrid(nn.Linear(3, 2)), torch.ones(()), ValueError, r"got \(\)"),
        (ConvGrid(nn.Conv2d(3, 2, 3)), torch.ones(4, 1, 5, 5), ValueError, r"\(samples, 3, .* got \(4, 1, 5, 5\)"),
        (ConvGrid(nn.Conv2d(3, 2, 3)), torch.ones(3, 5), ValueError, r"or without samples, got \(3, 5\)"),
        (ConvGrid(nn.Conv1d(3, 2, 3)), torch.ones(4, 2, 5), ValueError, r"\(samples, 3, length\), .* got \(4, 2, 5\)"),
        (EmbeddingGrid(nn.Embedding(3, 2)), torch.ones(4), TypeError, r"indices .* got torch.float32. Use x.long\(\)"),
        (EmbeddingGrid(nn.Embedding(3, 2)), torch.tensor([0, 3]), IndexError, "from 0 to 2, got 0 to 3"),
        (LayerNormGrid(nn.LayerNorm((2, 3))), torch.ones(4, 3), ValueError, r"\(\.\.\., 2, 3\), got \(4, 3\)"),
        (GroupNormGrid(nn.GroupNorm(1, 4)), torch.ones(2, 3), ValueError, r"\(samples, 4, \.\.\.\), got \(2, 3\)"),
        (BatchNormGrid(nn.BatchNorm2d(3)), torch.ones(2, 3), ValueError, r"\(samples, 3, \.\.\.\), got \(2, 3\)"),
    ],
)  # fmt: skip
def test_wrong_inputs(grid: Grid, x: Tensor, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        grid.check(x)


def test_samples() -> None:
    linear, conv = LinearGrid(nn.Linear(3, 2)), ConvGrid(nn.Conv2d(3, 2, 3))
    assert [linear.samples(torch.ones(*s, 3)) for s in ((), (4,), (4, 5))] == [1, 4, 4]
    assert [conv.samples(torch.ones(*s, 3, 5, 5)) for s in ((), (4,))] == [1, 4]
