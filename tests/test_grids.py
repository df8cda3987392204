"""Grids against the layers they stand for."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lightning_vsml.grids import GRIDS, Conv2dGrid, Grid, LinearGrid


def by_matrix(grid: Grid, x: Tensor) -> Tensor:
    """The layer's output computed from messages and weights alone."""
    y = torch.einsum("rga,gab->rgb", grid.messages(x, torch.float64), grid.read(torch.float64))
    return grid.output(y, x)


def check_grid(layer: nn.Module, x: Tensor) -> None:
    """messages @ weights is the layer; its adjoint is the layer's; feedback inverts output; write inverts read."""
    grid = next(kind for layer_type, kind in GRIDS.items() if isinstance(layer, layer_type))(layer)
    x.requires_grad_()
    grid.check(x)
    theirs, ours = layer(x), by_matrix(grid, x)
    torch.testing.assert_close(ours, theirs)

    g = torch.randn_like(theirs)
    [dx] = torch.autograd.grad(theirs, x, g)
    [dx_ours] = torch.autograd.grad(ours, x, g)
    torch.testing.assert_close(dx_ours, dx)

    rows = grid.feedback(g)
    assert rows.shape == (grid.messages(x, torch.float64).shape[0], grid.shape[0], grid.shape[2])
    torch.testing.assert_close(grid.output(rows, x), g)

    weights = grid.read(torch.float64)
    assert weights.shape == grid.shape
    new = torch.randn_like(weights)
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


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@settings(max_examples=80)
@given(
    batch=st.integers(0, 2),
    groups=st.integers(1, 3),
    per_group=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.one_of(st.sampled_from(["same", "valid"]), st.tuples(st.integers(0, 2), st.integers(0, 2))),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    mode=st.sampled_from(["zeros", "reflect", "replicate", "circular"]),
    size=st.tuples(st.integers(5, 8), st.integers(5, 8)),
    bias=st.booleans(),
)
def test_conv2d(batch, groups, per_group, kernel, stride, padding, dilation, mode, size, bias) -> None:
    assume(padding != "same" or stride == (1, 1))
    layer = nn.Conv2d(
        groups * per_group[0],
        groups * per_group[1],
        kernel,
        stride,
        padding,
        dilation,
        groups,
        bias=bias,
        padding_mode=mode,
    ).double()
    image = torch.randn(*([batch] if batch else []), groups * per_group[0], *size).double()
    check_grid(layer, image)


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
        (Conv2dGrid(nn.Conv2d(3, 2, 3)), torch.ones(4, 1, 5, 5), ValueError, r"\(samples, 3, .* got \(4, 1, 5, 5\)"),
        (Conv2dGrid(nn.Conv2d(3, 2, 3)), torch.ones(3, 5), ValueError, r"or without samples, got \(3, 5\)"),
    ],
)  # fmt: skip
def test_wrong_inputs(grid: Grid, x: Tensor, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        grid.check(x)


def test_samples() -> None:
    linear, conv = LinearGrid(nn.Linear(3, 2)), Conv2dGrid(nn.Conv2d(3, 2, 3))
    assert [linear.samples(torch.ones(*s, 3)) for s in ((), (4,), (4, 5))] == [1, 4, 4]
    assert [conv.samples(torch.ones(*s, 3, 5, 5)) for s in ((), (4,))] == [1, 4]
