"""Grids against the layers they stand for."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.overrides import TorchFunctionMode

from lightning_vsml.binding.grids import GRIDS, Grid, ParameterGrid, attention, choose
from lightning_vsml.ticks.sites import Site


class ByGrid(TorchFunctionMode):
    """Within, a layer's function is its grid's call, with the exact sums over rows in place of ticks."""

    def __init__(self, grid: Grid) -> None:
        super().__init__()
        self.grid, self.calls = grid, 0
        self.weights = grid.read(grid.placement[1]).unsqueeze(0)

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.multi_head_attention_forward:
            with self:
                return attention.forward(*args, **kwargs)
        for use, weight, bias in self.grid.uses:
            if func is use and self._at(weight, "weight", args, kwargs) is self.grid.weight:
                assert self._at(bias, "bias", args, kwargs) is self.grid.bias
                return self._call(*args, **kwargs)
        return func(*args, **kwargs)

    def _at(self, place: int | None, name: str, args: Any, kwargs: Any) -> Any:
        if place is None:
            return None
        return args[place] if place < len(args) else kwargs.get(name)

    def _call(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        self.calls += 1
        self.grid.check(x)
        with torch.autocast("cpu", enabled=False):
            wide = x.to(self.weights.dtype) if x.is_floating_point() else x
            y = self.grid.call(self._run, wide, *args, **kwargs)
        assert y.dtype == self.weights.dtype
        return y.to(self.grid.output_dtype(x))

    def _run(self, site: Site) -> Tensor:
        return site.forward(site.x, 1.0, site.select(self.weights)[0], 1.0)


def by_grid(layer: nn.Module, *inputs: Any, **named: Any) -> Any:
    """What the layer gives if its grid computes it."""
    with ByGrid(choose(layer)) as mode:
        outputs = layer(*inputs, **named)
    assert mode.calls, "the layer's function was not seen"
    return outputs


def check_grid(layer: nn.Module, *inputs: Any, **named: Any) -> None:
    """Outputs and gradients are the layer's, in every number; what is written is what is read."""
    xs = list({id(x): x.requires_grad_() for x in inputs if x is not None and x.is_floating_point()}.values())

    def all_of(module: Callable[..., Any]) -> list[Tensor]:
        outputs = module(*inputs, **named)
        outputs = [y for y in (outputs if isinstance(outputs, tuple) else (outputs,)) if y is not None]
        rng = torch.Generator().manual_seed(1)
        told = [torch.randn(y.shape, dtype=y.dtype, generator=rng) for y in outputs]
        return [*outputs, *(torch.autograd.grad(outputs, xs, told) if xs else ())]

    def compare() -> None:
        for ours, theirs in zip(all_of(lambda *x, **k: by_grid(layer, *x, **k)), all_of(layer), strict=True):
            torch.testing.assert_close(ours, theirs)

    compare()
    check_layout(choose(layer))
    compare()


def check_layout(grid: Grid) -> None:
    """Parameters as synapses, and back."""
    groups, inputs, outputs = grid.shape
    rows = [range(inputs)[grid.rows(p)] for p in grid.parameters]
    assert [row for some in rows for row in some] == list(range(inputs))
    old = grid.read(torch.float64)
    assert old.shape == grid.shape and old.dtype == torch.float64
    for parameter, some in zip(grid.parameters, rows, strict=True):
        matrix = torch.randn(groups, len(some), 2 * outputs).double()[..., ::2]
        values = grid.values(parameter, matrix)
        assert values.shape == parameter.shape and torch.equal(grid.matrix(parameter, values), matrix)
        values = torch.randn_like(parameter)
        assert torch.equal(grid.values(parameter, grid.matrix(parameter, values)), values)
        assert torch.equal(grid.matrix(parameter, parameter.detach()), old[:, grid.rows(parameter)])
    new = torch.randn(grid.shape).to(parameter.real.dtype).double()
    before = [(id(p), p.data_ptr()) for p in grid.parameters]
    grid.write(new)
    assert torch.equal(grid.read(torch.float64), new) and [(id(p), p.data_ptr()) for p in grid.parameters] == before


def scramble(layer: nn.Module) -> nn.Module:
    """In float64, no parameter at its initial 0 or 1."""
    for parameter in layer.double().parameters():
        nn.init.normal_(parameter)
    return layer


small = st.integers(1, 4)
leadings = st.lists(st.integers(1, 3), max_size=3)


@settings(max_examples=30)
@given(leading=leadings, fan_in=small, fan_out=small, bias=st.booleans())
def test_linear(leading: list[int], fan_in: int, fan_out: int, bias: bool) -> None:
    check_grid(nn.Linear(fan_in, fan_out, bias).double(), torch.randn(*leading, fan_in).double())


@settings(max_examples=20)
@given(leading=leadings, first=small, second=small, fan_out=small, bias=st.booleans())
def test_bilinear(leading: list[int], first: int, second: int, fan_out: int, bias: bool) -> None:
    inputs = [torch.randn(*leading, size).double() for size in (first, second)]
    check_grid(nn.Bilinear(first, second, fan_out, bias).double(), *inputs)


def for_each_dim(least: int, most: int) -> st.SearchStrategy[tuple[int, int, int]]:
    return st.tuples(*[st.integers(least, most)] * 3)


SPATIAL = {
    "dims": st.integers(1, 3),
    "groups": st.integers(1, 3),
    "per_group": st.tuples(st.integers(1, 2), st.integers(1, 2)),
    "kernel": for_each_dim(1, 3),
    "stride": for_each_dim(1, 3),
    "dilation": for_each_dim(1, 2),
    "batch": st.integers(0, 2),
    "bias": st.booleans(),
}


def spatial(channels: int, size: tuple[int, ...], batch: int) -> Tensor:
    """An image, or several."""
    return torch.randn(*([batch] if batch else []), channels, *size).double()


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@settings(max_examples=100)
@given(
    padding=st.one_of(st.sampled_from(["same", "valid"]), for_each_dim(0, 2)),
    mode=st.sampled_from(["zeros", "reflect", "replicate", "circular"]),
    size=for_each_dim(5, 6),
    **SPATIAL,
)
def test_conv(padding, mode, size, dims, groups, per_group, kernel, stride, dilation, batch, bias) -> None:
    layer = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1](
        groups * per_group[0],
        groups * per_group[1],
        kernel[:dims],
        1 if padding == "same" else stride[:dims],
        padding if isinstance(padding, str) else padding[:dims],
        dilation[:dims],
        groups,
        bias=bias,
        padding_mode=mode,
    )
    check_grid(layer.double(), spatial(groups * per_group[0], size[:dims], batch))


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize(("kernel", "dilation"), [(2, 1), (4, 1), (2, 3), ((2, 1), 1), ((3, 2), (2, 1))], ids=str)
def test_of_the_same_padding_the_odd_one_goes_after(kernel: Any, dilation: Any) -> None:
    check_grid(nn.Conv2d(1, 2, kernel, padding="same", dilation=dilation).double(), spatial(1, (5, 4), 2))


@settings(max_examples=100)
@given(padding=for_each_dim(0, 3), more=for_each_dim(0, 2), by_size=st.booleans(), size=for_each_dim(1, 4), **SPATIAL)
def test_conv_transpose(
    padding, more, by_size, size, dims, groups, per_group, kernel, stride, dilation, batch, bias
) -> None:
    size, padding, more, stride, dilation, kernel = (n[:dims] for n in (size, padding, more, stride, dilation, kernel))
    layer = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[dims - 1](
        groups * per_group[0],
        groups * per_group[1],
        kernel,
        stride,
        padding,
        0 if by_size else tuple(min(m, max(s, d) - 1) for m, s, d in zip(more, stride, dilation, strict=True)),
        groups,
        bias,
        dilation,
    )
    least = [
        (n - 1) * s - 2 * p + d * (k - 1) + 1
        for n, s, p, d, k in zip(size, stride, padding, dilation, kernel, strict=True)
    ]
    assume(min(least) > 0)
    named = {"output_size": [n + min(m, s - 1) for n, m, s in zip(least, more, stride, strict=True)]} if by_size else {}
    check_grid(layer.double(), spatial(groups * per_group[0], size, batch), **named)


INDICES = {
    "vocabulary": st.integers(1, 5),
    "size": st.integers(1, 3),
    "padding": st.sampled_from([None, 0, -1]),
    "dtype": st.sampled_from([torch.int64, torch.int32]),
}


@settings(max_examples=30)
@given(leading=leadings, **INDICES)
def test_embedding(leading: list[int], vocabulary: int, size: int, padding: int | None, dtype: torch.dtype) -> None:
    layer = scramble(nn.Embedding(vocabulary, size, padding_idx=padding))
    check_grid(layer, torch.randint(vocabulary, leading, dtype=dtype))


@settings(max_examples=100)
@given(
    mode=st.sampled_from(["sum", "mean", "max"]),
    lengths=st.lists(st.integers(0, 3), min_size=1, max_size=4),
    last=st.booleans(),
    matrix=st.booleans(),
    weighted=st.booleans(),
    **INDICES,
)
def test_embedding_bag(mode, lengths, last, matrix, weighted, vocabulary, size, padding, dtype) -> None:
    layer = scramble(
        nn.EmbeddingBag(vocabulary, size, mode=mode, padding_idx=padding, include_last_offset=last and not matrix)
    )
    if matrix:
        indices, offsets = torch.randint(vocabulary, (len(lengths), 1 + lengths[0]), dtype=dtype), None
    else:
        indices = torch.randint(vocabulary, (sum(lengths),), dtype=dtype)
        ends = torch.tensor([0, *lengths]).cumsum(0).to(dtype)
        offsets = ends if last else ends[:-1]
    weights = torch.rand(indices.shape).double() if weighted and mode == "sum" else None
    check_grid(layer, indices, offsets, weights)


@pytest.mark.parametrize("kind", [nn.Embedding, nn.EmbeddingBag])
def test_of_an_embedding_only_what_was_used_is_written(kind: type[nn.Module]) -> None:
    layer = kind(4, 2)
    before, new = layer.weight.detach().clone(), torch.randn(1, 4, 2).double()
    choose(layer).write(new, torch.tensor([2, 0]))
    assert torch.equal(layer.weight[[0, 2]], new[0, [0, 2]].float())
    assert torch.equal(layer.weight[[1, 3]], before[[1, 3]])


def test_a_padding_index_has_no_input_and_the_layers_own_vector() -> None:
    layer = nn.Embedding(4, 3, padding_idx=1).double()
    layer.weight.data[1] = 7.0
    seen: list[Site] = []

    def run(site: Site) -> Tensor:
        seen.append(site)
        return torch.ones(site.output_shape)

    vectors = choose(layer).call(run, torch.tensor([[0, 1], [3, 1]]), layer.weight, padding_idx=1)
    assert seen[0].x.flatten().tolist() == [1, 0, 1, 0]
    assert vectors[:, 0].eq(1).all() and vectors[:, 1].eq(7).all()


def test_a_padding_index_counts_from_the_end() -> None:
    """Layers resolve it themselves; the functions take it as it is."""
    vectors, bags = (scramble(kind(4, 3)) for kind in (nn.Embedding, nn.EmbeddingBag))
    x = torch.tensor([[0, 3], [3, 1]])
    vectors.forward = lambda x: F.embedding(x, vectors.weight, padding_idx=-1)
    bags.forward = lambda x: F.embedding_bag(x, bags.weight, padding_idx=-1)
    check_grid(vectors, x)
    check_grid(bags, x)


CHANNELS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)


@settings(max_examples=100)
@given(
    kind=st.sampled_from([nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, *CHANNELS]),
    samples=st.integers(2, 3),
    features=st.integers(1, 3),
    positions=for_each_dim(2, 3),
    bias=st.booleans(),
    several=st.booleans(),
    training=st.booleans(),
    tracked=st.booleans(),
    eps=st.sampled_from([{}, {"eps": 0.1}]),
)
def test_norms(kind, samples, features, positions, bias, several, training, tracked, eps) -> None:
    if issubclass(kind, nn.LayerNorm | nn.RMSNorm):
        shape = (*positions[:1], 2 * features) if several else (2 * features,)
        layer = kind(shape, **({"bias": bias} if kind is nn.LayerNorm else {}), **eps)
        x = torch.randn(samples, *positions[1:], *shape)
    elif kind is nn.GroupNorm:
        layer, x = kind(features, 2 * features, **eps), torch.randn(samples, 2 * features, *positions[: 2 * several])
    else:
        dims = int(kind.__name__[-2]) - (kind is nn.BatchNorm1d and several)
        alone = "Instance" in kind.__name__ and several  # without a dimension of samples
        layer = kind(features, affine=True, track_running_stats=tracked, **eps)
        x = torch.randn(*([] if alone else [samples]), features, *positions[:dims])
        if tracked:
            layer.running_mean.normal_()
    check_grid(scramble(layer).train(training), 2 * x.double() + 1)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", [nn.BatchNorm2d, nn.InstanceNorm2d])
def test_running_statistics_move_once_for_each_forward(
    kind: type[nn.Module], dtype: torch.dtype, momentum: float | None, training: bool
) -> None:
    if momentum is None and kind is nn.InstanceNorm2d:
        momentum = 1.0  # torch has no average over all forwards here
    ours, theirs = (
        kind(3, momentum=momentum, affine=True, track_running_stats=True).to(dtype).train(training) for _ in range(2)
    )
    rough = dtype == torch.bfloat16
    before = {name: id(buffer) for name, buffer in ours.named_buffers()}
    for _ in range(3):
        x = torch.randn(4, 3, 2, 2).to(dtype)
        torch.testing.assert_close(by_grid(ours, x), theirs(x), **({"rtol": 0.02, "atol": 0.02} if rough else {}))
        for name, buffer in theirs.named_buffers():
            assert torch.equal(ours.get_buffer(name), buffer), name
    assert {name: id(buffer) for name, buffer in ours.named_buffers()} == before
    assert ours.num_batches_tracked.item() == (3 if training and kind is nn.BatchNorm2d else 0)


class OwnNorm(nn.InstanceNorm1d):
    """A subclass that keeps the function."""


@pytest.mark.parametrize("kind", [OwnNorm, type("InstanceNorms", (nn.BatchNorm1d,), {})], ids=["instance", "batch"])
def test_subclasses_normalise_as_their_base_whatever_their_name(kind: type[nn.Module]) -> None:
    check_grid(scramble(kind(3, affine=True)), torch.randn(2, 3, 4).double())


@settings(max_examples=60)
@given(
    same=st.sampled_from(["self", "keys are values", "all different", "queries are keys"]),
    batch_first=st.booleans(),
    batch=st.integers(0, 2),
    lengths=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    heads=st.integers(1, 2),
    bias=st.booleans(),
    masked=st.booleans(),
    padded=st.booleans(),
    more=st.booleans(),
    named=st.fixed_dictionaries({"need_weights": st.booleans(), "average_attn_weights": st.booleans()}),
)
def test_attention(same, batch_first, batch, lengths, heads, bias, masked, padded, more, named) -> None:
    layer = nn.MultiheadAttention(
        2 * heads, heads, bias=bias, batch_first=batch_first, add_bias_kv=more, add_zero_attn=more
    )

    def tokens(length: int) -> Tensor:
        shape = (batch, length) if batch_first else (length, batch)
        return torch.randn(*(shape if batch else (length,)), 2 * heads).double()

    queries, keys = lengths[:1] * 2 if same in ("self", "queries are keys") else lengths
    q = tokens(queries)
    k = q if same in ("self", "queries are keys") else tokens(keys)
    v = q if same == "self" else k if same == "keys are values" else tokens(keys)
    if masked:
        named["attn_mask"] = torch.ones(queries, keys).triu(1).bool()
    if padded:
        mask = torch.zeros(*([batch] if batch else []), keys).bool()
        mask[..., 1:] = True
        named["key_padding_mask"] = mask
    check_grid(scramble(layer), q, k, v, **named)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_self_attention_is_one_use_and_other_inputs_one_each(dropout: float) -> None:
    layer, x = nn.MultiheadAttention(4, 2, dropout=dropout), torch.randn(3, 2, 4)
    for inputs, uses in (((x, x, x), 1), ((x, x + 1, x + 2), 3)):
        with ByGrid(choose(layer)) as mode:
            torch.manual_seed(0)
            ours = layer(*inputs)[0]
        torch.manual_seed(0)
        torch.testing.assert_close(ours, layer(*inputs)[0])
        assert mode.calls == uses


@settings(max_examples=30)
@given(
    shape=leadings,
    dtype=st.sampled_from(
        [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.complex64, torch.complex128]
    ),
)
def test_parameters_alone_are_synapses_one_by_one(shape: list[int], dtype: torch.dtype) -> None:
    owner = nn.Module()
    owner.one = nn.Parameter(torch.randn(shape, dtype=dtype))
    grid = ParameterGrid(owner.one, owner)
    assert grid.shape == ((1 + dtype.is_complex) * owner.one.numel(), 1, 1)
    assert (grid.parameters, grid.bias, grid.uses, grid.kind) == ([owner.one], None, (), "Module")
    check_layout(grid)
    values = torch.view_as_real(owner.one) if dtype.is_complex else owner.one
    assert torch.equal(grid.read(torch.float64).flatten(), values.flatten().double())


@pytest.mark.parametrize(
    ("dtype", "state"),
    [
        (torch.float64, torch.float64),
        (torch.complex128, torch.float64),
        (torch.complex64, torch.float32),
        (torch.float32, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
    ],
    ids=str,
)
def test_states_are_as_wide_as_weights_and_at_least_float32(dtype: torch.dtype, state: torch.dtype) -> None:
    grid = ParameterGrid(nn.Parameter(torch.zeros(2, dtype=dtype)), nn.Module())
    assert grid.placement == (torch.device("cpu"), state)


def test_channels_last_and_strided_inputs() -> None:
    image = torch.randn(2, 6, 6, 3).double().permute(0, 3, 1, 2)
    check_grid(nn.Conv2d(3, 4, 3).double(), image)
    check_grid(nn.Conv2d(3, 4, 3).double().to(memory_format=torch.channels_last), image)
    check_grid(nn.ConvTranspose2d(3, 4, 3, 2).double(), image)
    check_grid(nn.GroupNorm(3, 3).double(), image)
    check_grid(nn.Linear(3, 4).double(), torch.randn(3, 5).double().mT)


EVERY: list[tuple[nn.Module, tuple[Tensor, ...]]] = [
    (nn.Linear(4, 3), (torch.ones(2, 4),)),
    (nn.Bilinear(4, 4, 3), (torch.ones(2, 4), torch.ones(2, 4))),
    (nn.Conv1d(4, 3, 2), (torch.ones(2, 4, 3),)),
    (nn.Conv2d(4, 3, 2), (torch.ones(2, 4, 3, 3),)),
    (nn.Conv3d(4, 3, 2), (torch.ones(2, 4, 3, 3, 3),)),
    (nn.ConvTranspose1d(4, 3, 2), (torch.ones(2, 4, 3),)),
    (nn.ConvTranspose2d(4, 3, 2), (torch.ones(2, 4, 3, 3),)),
    (nn.ConvTranspose3d(4, 3, 2), (torch.ones(2, 4, 3, 3, 3),)),
    (nn.Embedding(4, 3), (torch.zeros(2).long(),)),
    (nn.EmbeddingBag(4, 3), (torch.zeros(2, 3).long(),)),
    (nn.MultiheadAttention(4, 2), (torch.ones(3, 2, 4),) * 3),
    (nn.LayerNorm(4), (torch.ones(2, 4),)),
    (nn.RMSNorm(4), (torch.ones(2, 4),)),
    (nn.BatchNorm1d(4), (torch.ones(2, 4),)),
    (nn.BatchNorm2d(4), (torch.ones(2, 4, 3, 3),)),
    (nn.BatchNorm3d(4), (torch.ones(2, 4, 3, 3, 3),)),
    (nn.InstanceNorm1d(4, affine=True), (torch.ones(2, 4, 3),)),
    (nn.InstanceNorm2d(4, affine=True), (torch.ones(2, 4, 3, 3),)),
    (nn.InstanceNorm3d(4, affine=True), (torch.ones(2, 4, 3, 3, 3),)),
    (nn.GroupNorm(2, 4), (torch.ones(2, 4),)),
]


def test_every_kind_of_layer_is_here() -> None:
    assert [type(layer) for layer, _ in EVERY] == list(GRIDS)
    for layer, _ in EVERY:
        grid, own = choose(layer), list(layer.parameters(recurse=False))
        assert type(grid) is GRIDS[type(layer)] and grid.kind == type(layer).__name__
        assert [id(parameter) for parameter in grid.parameters] == [id(parameter) for parameter in own]


@pytest.mark.parametrize("autocast", [torch.bfloat16, torch.float16, None], ids=str)
@pytest.mark.parametrize(("layer", "inputs"), EVERY, ids=lambda case: getattr(case, "_get_name", str)())
def test_the_type_of_outputs_is_the_layers(
    layer: nn.Module, inputs: tuple[Tensor, ...], autocast: torch.dtype | None
) -> None:
    with torch.autocast("cpu", autocast, enabled=autocast is not None):
        ours, theirs = by_grid(layer, *inputs), layer(*inputs)
    ours, theirs = (y[0] if isinstance(y, tuple) else y for y in (ours, theirs))
    torch.testing.assert_close(ours, theirs, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Embedding(3, 2, max_norm=1.0),
        nn.Embedding(3, 2, scale_grad_by_freq=True),
        nn.EmbeddingBag(3, 2, max_norm=1.0),
        nn.EmbeddingBag(3, 2, scale_grad_by_freq=True),
        nn.MultiheadAttention(4, 2, kdim=3),
        nn.MultiheadAttention(4, 2, vdim=3),
        nn.Linear(3, 3, dtype=torch.complex64),
        nn.LayerNorm(3, elementwise_affine=False),
        nn.BatchNorm1d(3, affine=False),
        nn.InstanceNorm1d(3),
        nn.PReLU(),
        nn.LSTM(2, 2),
        nn.GRUCell(2, 2),
        nn.SyncBatchNorm(3),
        nn.ReLU(),
        parametrizations.weight_norm(nn.Linear(3, 3)),
        parametrizations.spectral_norm(nn.Conv1d(3, 3, 1)),
        nn.utils.parametrize.register_parametrization(nn.Linear(3, 3), "bias", nn.Tanh()),
    ],
    ids=lambda layer: str(layer).splitlines()[0],
)
def test_layers_without_a_grid_of_their_own(layer: nn.Module) -> None:
    assert choose(layer) is None


@pytest.mark.parametrize(
    ("layer", "x", "error", "message"),
    [
        (nn.Linear(3, 2), torch.ones(4, 3).long(), TypeError, "floating-point input, got torch.int64"),
        (nn.Linear(3, 2), torch.ones(4, 3).double(), TypeError, "type, torch.float32, got torch.float64"),
        (nn.Linear(3, 2), torch.ones(4, 5), ValueError, r"of shape \(..., 3\), got \(4, 5\)"),
        (nn.Linear(3, 2), torch.ones(()), ValueError, r"got \(\)"),
        (nn.Bilinear(3, 4, 2), torch.ones(4, 4), ValueError, r"\(..., 3\) and \(..., 4\), got \(4, 4\)"),
        (nn.Conv1d(3, 2, 3), torch.ones(4, 2, 5), ValueError, r"\(samples, 3, length\), .* got \(4, 2, 5\)"),
        (nn.Conv2d(3, 2, 3), torch.ones(4, 1, 5, 5), ValueError, r"\(samples, 3, height, width\), .* got \(4, 1, 5, 5"),
        (nn.Conv2d(3, 2, 3), torch.ones(3, 5), ValueError, r"or without samples, got \(3, 5\)"),
        (nn.Conv3d(3, 2, 3), torch.ones(3, 5, 5), ValueError, r"\(samples, 3, depth, height, width\), .* got \(3, 5"),
        (nn.ConvTranspose1d(3, 2, 3), torch.ones(4, 2, 5), ValueError, r"\(samples, 3, length\), .* got \(4, 2, 5\)"),
        (nn.Embedding(3, 2), torch.ones(4), TypeError, r"indices .* got torch.float32. Use x.long\(\)"),
        (nn.Embedding(3, 2), torch.tensor([0, 3]), IndexError, "from 0 to 2, got 0 to 3"),
        (nn.EmbeddingBag(3, 2), torch.tensor([[-1, 2]]), IndexError, "from 0 to 2, got -1 to 2"),
        (nn.MultiheadAttention(4, 2), torch.ones(3, 5), ValueError, r"Attention.in_proj .* \(..., 4\), got \(3, 5\)"),
        (nn.LayerNorm((2, 3)), torch.ones(4, 3), ValueError, r"\(\.\.\., 2, 3\), got \(4, 3\)"),
        (nn.GroupNorm(1, 4), torch.ones(2, 3), ValueError, r"\(samples, 4, \.\.\.\), got \(2, 3\)"),
        (nn.BatchNorm2d(3), torch.ones(2, 2), ValueError, r"\(samples, 3, \.\.\.\), got \(2, 2\)"),
    ],
)  # fmt: skip
def test_wrong_inputs(layer: nn.Module, x: Tensor, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        choose(layer).check(x)


@pytest.mark.parametrize("second", [(4, 3), (4,), (3, 4)], ids=str)
def test_a_wrong_second_input(second: tuple[int, ...]) -> None:
    layer = nn.Bilinear(3, 4, 2)
    with pytest.raises(ValueError, match=r"Bilinear\(.* shape \(..., 3\) and \(..., 4\), got \(4, 3\) and \("):
        by_grid(layer, torch.ones(4, 3), torch.ones(second))


@pytest.mark.parametrize(("shape", "offsets"), [((3,), None), ((2, 3), torch.tensor([0])), ((2, 3, 1), None)])
def test_bags_without_bounds(shape: tuple[int, ...], offsets: Tensor | None) -> None:
    with pytest.raises(ValueError, match=r"EmbeddingBag\(.* expects a row of indices for each bag, .* offsets.$"):
        layer = nn.EmbeddingBag(3, 2)
        choose(layer).call(torch.ones, torch.zeros(shape).long(), layer.weight, offsets)


def test_nothing_is_wrong_with_no_indices_at_all() -> None:
    choose(nn.Embedding(3, 2)).check(torch.zeros(0).long())


@pytest.mark.parametrize(
    ("layer", "shapes"),
    [
        (nn.Linear(3, 2), {(3,): 1, (4, 3): 4, (4, 5, 3): 4}),
        (nn.Bilinear(3, 2, 2), {(3,): 1, (4, 3): 4}),
        (nn.Conv1d(3, 2, 3), {(3, 5): 1, (4, 3, 5): 4}),
        (nn.Conv2d(3, 2, 3), {(3, 5, 5): 1, (4, 3, 5, 5): 4}),
        (nn.ConvTranspose3d(3, 2, 3), {(3, 5, 5, 5): 1, (4, 3, 5, 5, 5): 4}),
        (nn.Embedding(3, 2), {(): 1, (4,): 4, (4, 5): 4}),
        (nn.EmbeddingBag(3, 2), {(4, 5): 4}),
        (nn.MultiheadAttention(4, 2), {(5, 4): 1, (5, 3, 4): 3}),
        (nn.LayerNorm((2, 3)), {(2, 3): 1, (4, 2, 3): 4}),
        (nn.BatchNorm1d(3), {(4, 3): 4}),
        (nn.GroupNorm(1, 3), {(4, 3, 5): 4}),
    ],
    ids=lambda case: getattr(case, "_get_name", str)(),
)
def test_samples(layer: nn.Module, shapes: dict[tuple[int, ...], int]) -> None:
    assert {shape: choose(layer).samples(torch.ones(shape)) for shape in shapes} == shapes


def test_samples_of_bags() -> None:
    grid, indices, offsets = choose(nn.EmbeddingBag(9, 2)), torch.arange(7), torch.tensor([0, 2, 2, 7])
    weight = nn.Parameter(torch.zeros(9, 2))
    assert grid.samples(indices.view(1, 7), weight) == 1
    assert grid.samples(indices, weight, offsets) == grid.samples(indices, weight=weight, offsets=offsets) == 4
    positional = (None, 2.0, False, "mean", False, None, True, None)
    assert grid.samples(indices, weight, offsets, *positional) == 3


def test_half_precision_with_statistics_in_float32() -> None:
    """torch takes it outside of autocast, too."""
    layer, x = nn.BatchNorm1d(3), torch.randn(8, 3).bfloat16()
    expected = layer(x)
    grid = choose(layer)
    grid.check(x)
    assert grid.output_dtype(x) == expected.dtype == torch.bfloat16
