"""The three sums of every site against einsum over rows and torch's own gradients."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import conv1d, conv2d, conv3d, embedding, unfold

from lightning_vsml.ticks.sites import Diagonal, Images, Lookup, Rows, Site

small = st.integers(1, 4)
three = st.tuples(st.integers(1, 3), st.integers(1, 2), st.integers(1, 3))  # one for each dimension


def random(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def rows_site(bias: bool, G: int, A: int, B: int, R: int) -> Site:
    return Rows(random(R, G, A), (G, A + bias, B), bias)


def diagonal_site(bias: bool, G: int, S: int, L: int, dim: int) -> Site:
    shape = (S, G, L) if dim in (1, -2) else (S, L, G)
    return Diagonal(random(*shape), (G, 1 + bias, 1), bias, dim=dim)


def images_site(bias: bool, dims: int, G: int, C: int, B: int, S: int, kernel, stride, dilation, extra) -> Images:
    kernel, stride, dilation, extra = (sizes[:dims] for sizes in (kernel, stride, dilation, extra))
    size = [d * (k - 1) + more for k, d, more in zip(kernel, dilation, extra, strict=True)]
    shape = (G, C * math.prod(kernel) + bias, B)
    return Images(random(S, G * C, *size), shape, bias, kernel=kernel, stride=stride, dilation=dilation)


def lookup_site(A: int, B: int, indices: list[int], padding: int | None) -> Site:
    return Lookup(torch.tensor([i % A for i in indices]), (1, A, B), torch.float64, padding)


channels = st.integers(1, 2)
images = st.builds(images_site, st.booleans(), st.integers(1, 3), *[channels] * 4, *[three] * 4)
sites = st.one_of(
    st.builds(rows_site, st.booleans(), small, small, small, small),
    st.builds(diagonal_site, st.booleans(), small, small, small, st.sampled_from([1, 2, -1, -2])),
    images,
    st.builds(lookup_site, small, small, st.lists(st.integers(0, 20), min_size=1), st.sampled_from([None, 0, 1])),
)


def with_bias(site: Site, p: Tensor, at_one: Tensor | float) -> Tensor:
    """``ra`` as rows, with the bias as a last input: one value, or one for each group."""
    rows = site.as_rows(p)
    if not site.bias:
        return rows
    last = torch.as_tensor(at_one, dtype=rows.dtype).view(1, -1, 1).expand(*rows.shape[:2], 1)
    return torch.cat([rows, last], -1)


@settings(max_examples=150)
@given(
    make=st.shared(sites, key="site"),
    alpha=st.sampled_from([1.0, -2.5]),
    grouped=st.booleans(),
    seed=st.integers(0, 99),
)
def test_the_three_sums_are_einsums_over_rows(make: Site, alpha: float, grouped: bool, seed: int) -> None:
    torch.manual_seed(seed)
    site, (G, A, B) = make, make.shape
    p, q, g = random(*site.x.shape), random(*site.output_shape), random(G, A, B)
    at_one = random(G) if grouped else 0.7
    given_p, given_q, given_g = p.clone(), q.clone(), g.clone()
    P, Q = with_bias(site, p, at_one), site.outputs_as_rows(q)
    assert P.shape == (site.rows, G, A) and Q.shape == (site.rows, G, B)

    forward = site.rows_as_outputs(torch.einsum("rga,gab->rgb", P, g)) * alpha
    torch.testing.assert_close(site.forward(p, at_one, g, alpha), forward, rtol=1e-10, atol=1e-10)

    change = torch.einsum("rga,rgb->gab", P, Q) * alpha
    torch.testing.assert_close(site.change(p, at_one, q, alpha), change, rtol=1e-10, atol=1e-10)
    planes = site.empty(2).fill_(torch.nan)  # what was there before counts for nothing
    out = site.change(p, at_one, q, alpha, planes[1])
    assert out.data_ptr() == planes[1].data_ptr() and planes[0].isnan().all()
    torch.testing.assert_close(planes[1], change, rtol=1e-10, atol=1e-10)

    x = site.x.clone().requires_grad_()
    used = site.as_rows(x)  # of a lookup, the one input of each row that is there
    grid = g[:, :-1] if site.bias else g
    weighted = torch.einsum("rgb,gab->rga", Q, grid) * alpha
    (backward,) = torch.autograd.grad(used, x, weighted)
    torch.testing.assert_close(site.backward(q, g, alpha), backward, rtol=1e-10, atol=1e-10)
    assert torch.equal(p, given_p) and torch.equal(q, given_q) and torch.equal(g, given_g)


@settings(max_examples=60)
@given(make=st.shared(sites, key="numbers"), number=st.sampled_from([1.0, 0.0, -3.0]), seed=st.integers(0, 99))
def test_numbers_stand_for_tensors(make: Site, number: float, seed: int) -> None:
    torch.manual_seed(seed)
    site = make
    p, q, g = random(*site.x.shape), random(*site.output_shape), random(*site.shape)
    full = {"p": torch.full_like(p, number), "q": torch.full_like(q, number), "g": torch.full_like(g, number)}
    close: Callable[..., None] = torch.testing.assert_close
    close(site.forward(number, number, g, 2.0), site.forward(full["p"], number, g, 2.0))
    close(site.forward(p, 0.5, number, 2.0), site.forward(p, 0.5, full["g"], 2.0))
    close(site.backward(number, g, 2.0), site.backward(full["q"], g, 2.0))
    close(site.backward(q, number, 2.0), site.backward(q, full["g"], 2.0))
    close(site.change(p, 0.5, number, 2.0), site.change(p, 0.5, full["q"], 2.0))
    if not site.sparse and isinstance(site, Rows | Diagonal):  # of a sum of q alone, every input sees every row
        close(site.change(number, number, q, 2.0), site.change(full["p"], number, q, 2.0))
        close(site.change(number, number, number, 2.0), site.change(full["p"], number, full["q"], 2.0))


@settings(max_examples=30)
@given(make=st.shared(sites, key="gradients"), seed=st.integers(0, 99))
def test_gradients_go_through(make: Site, seed: int) -> None:
    torch.manual_seed(seed)
    site = make
    assume(site.rows * site.shape[1] * site.shape[2] < 200)
    inputs = [random(*site.x.shape), random(*site.output_shape), random(*site.shape)]
    for tensor in inputs:
        tensor.requires_grad_()

    def ours(p: Tensor, q: Tensor, g: Tensor) -> Tensor:
        three = site.forward(p, 0.7, g, 2.0), site.backward(q, g, 2.0), site.change(p, 0.7, q, 2.0)
        return sum((part.square().sum() for part in three), start=p.new_zeros(()))

    def theirs(p: Tensor, q: Tensor, g: Tensor) -> Tensor:
        P, Q = with_bias(site, p, 0.7), site.outputs_as_rows(q)
        y, change = torch.einsum("rga,gab->rgb", P, g), torch.einsum("rga,rgb->gab", P, Q)
        weighted = torch.einsum("rgb,gab->rga", Q, g[:, :-1] if site.bias else g)
        x = site.x.clone().requires_grad_()
        (message,) = torch.autograd.grad(site.as_rows(x), x, weighted, create_graph=True)
        return sum(((2 * part).square().sum() for part in (y, change, message)), start=p.new_zeros(()))

    gradients = [torch.autograd.grad(total(*inputs), inputs) for total in (ours, theirs)]
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-9)


@settings(max_examples=60)
@given(site=st.shared(images, key="images"), seed=st.integers(0, 99))
def test_images_are_a_convolution(site: Images, seed: int) -> None:
    """torch's own in one to three dimensions, and its gradients."""
    torch.manual_seed(seed)
    (G, A, B), (_, channels, *size) = site.shape, site.x.shape
    grid, x = random(*site.shape), site.x.clone().requires_grad_()
    A -= site.bias
    weight = grid[:, :A].mT.reshape(G * B, channels // G, *site.kernel).requires_grad_()
    vector = grid[:, A:].reshape(-1).requires_grad_() if site.bias else None
    y = (conv1d, conv2d, conv3d)[len(size) - 1](x, weight, vector, site.stride, 0, site.dilation, G)
    assert site.output_shape == tuple(y.shape) and site.rows == y.numel() // (G * B)
    torch.testing.assert_close(site.forward(site.x, 1.0, grid, 1.0), y.detach())
    e = torch.randn_like(y)
    for_x, *for_grid = torch.autograd.grad(y, [x, weight, *([vector] if site.bias else [])], e)
    torch.testing.assert_close(site.backward(e, grid, 1.0), for_x)
    change = site.change(site.x, 1.0, e, 1.0)
    torch.testing.assert_close(change[:, :A], for_grid[0].reshape(G, B, A).mT)
    if site.bias:
        torch.testing.assert_close(change[:, A:], for_grid[1].view(G, 1, B))


@settings(max_examples=60)
@given(site=st.shared(images, key="patches"))
def test_rows_of_images_are_patches(site: Images) -> None:
    """In two dimensions as torch unfolds them; one dimension is an image of height 1, three are read one by one."""
    rows = site.as_rows(site.x)
    groups, dims = site.shape[0], site.x.dim() - 2
    if dims < 3:
        flat = (1,) * (2 - dims)
        kernel, dilation, stride = ((*flat, *sizes) for sizes in (site.kernel, site.dilation, site.stride))
        patches = unfold(site.x.reshape(*site.x.shape[:2], *flat, *site.x.shape[2:]), kernel, dilation, 0, stride)
        assert torch.equal(rows, patches.unflatten(1, (groups, -1)).permute(0, 3, 1, 2).flatten(0, 1))
        return
    corners = torch.cartesian_prod(*map(torch.arange, (len(site.x), *site.output_size))).tolist()
    assert len(rows) == len(corners) == site.rows
    for row, (sample, *corner) in zip(rows, corners, strict=True):
        place = [
            slice(at * step, at * step + apart * side, apart)
            for at, step, apart, side in zip(corner, site.stride, site.dilation, site.kernel, strict=True)
        ]
        assert torch.equal(row.flatten(), site.x[(sample, slice(None), *place)].flatten())


@pytest.mark.parametrize("size", [(7,), (7, 4), (7, 4, 5)], ids=str)
def test_every_dimension_has_a_kernel_stride_and_dilation_of_its_own(size: tuple[int, ...]) -> None:
    dims = len(size)
    kernel, stride, dilation = (3, 1, 2)[:dims], (2, 3, 1)[:dims], (2, 1, 3)[:dims]
    shape = (1, 2 * math.prod(kernel), 3)
    site = Images(random(2, 2, *size), shape, False, kernel=kernel, stride=stride, dilation=dilation)
    assert site.output_size == (2, 2, 2)[:dims] and site.output_shape == (2, 3, *(2, 2, 2)[:dims])
    assert site.rows == 2 * 2**dims and site.as_rows(site.x).shape == (site.rows, 1, shape[1])


def test_lookup_is_an_embedding() -> None:
    """Of the vectors that occur; an index of padding takes no part."""
    weight = random(9, 4).requires_grad_()
    indices = torch.tensor([3, 3, 0, 7, 3])
    y = embedding(indices, weight, padding_idx=0)
    site = Lookup(indices, (1, 9, 4), torch.float64, padding=0)
    assert site.occurring.tolist() == [0, 3, 7] and site.shape == (1, 3, 4) and site.sparse
    kept = site.select(weight.detach().view(1, 1, 9, 4))
    assert torch.equal(kept[0, 0], weight.detach()[[0, 3, 7]])
    torch.testing.assert_close(site.forward(site.x, 1.0, kept[0], 1.0)[[0, 1, 3, 4], 0], y.detach()[[0, 1, 3, 4]])
    assert not site.forward(site.x, 1.0, kept[0], 1.0)[2].any()
    e = torch.randn_like(y)
    (wanted,) = torch.autograd.grad(y, weight, e)
    change = site.change(site.x, 1.0, e.unsqueeze(1), 1.0)
    torch.testing.assert_close(torch.zeros(9, 4).double().index_add(0, site.occurring, change[0]), wanted)
    dense = site.dense()
    assert dense.shape == (1, 9, 4) and dense.x.sum((1, 2)).tolist() == [1, 1, 0, 1, 1]
    torch.testing.assert_close(dense.change(dense.x, 1.0, e.unsqueeze(1), 1.0)[0], wanted)


@settings(max_examples=60)
@given(make=st.shared(sites, key="layouts"), seed=st.integers(0, 99))
def test_layouts_are_inverse_and_groups_are_spread(make: Site, seed: int) -> None:
    torch.manual_seed(seed)
    site, (G, A, B) = make, make.shape
    y, rows = random(*site.output_shape), random(site.rows, G, B)
    assert torch.equal(site.rows_as_outputs(site.outputs_as_rows(y)), y)
    assert torch.equal(site.outputs_as_rows(site.rows_as_outputs(rows)), rows)
    assert site.rows_as_outputs(rows).shape == site.output_shape
    groups = random(G)
    over = {"ra": random(*site.x.shape), "rb": y, "ab": random(G, A, B)}
    spread = {shape: site.spread(groups, shape).expand(tensor.shape) for shape, tensor in over.items()}
    assert torch.equal(spread["ab"], groups.view(-1, 1, 1).expand(G, A, B))
    assert torch.equal(site.outputs_as_rows(spread["rb"]), groups.view(1, -1, 1).expand(site.rows, G, B))
    if not site.sparse:
        assert torch.equal(site.as_rows(spread["ra"]), groups.view(1, -1, 1).expand(site.rows, G, A - site.bias))


@settings(max_examples=30)
@given(site=st.shared(sites, key="at"), seed=st.integers(0, 99))
def test_a_site_is_the_same_at_another_tensor(site: Site, seed: int) -> None:
    """Which autograd keeps for it: in between it holds none, and what it knew of x it still knows."""
    torch.manual_seed(seed)
    known, x = site.range, site.x
    without = site.at(None)
    assert without.x is None and site.x is x and type(without) is type(site)
    other = without.at(x.clone().requires_grad_())
    assert other.x.requires_grad and not x.requires_grad
    assert "range" in vars(other) and other.range == known
    assert (other.shape, other.bias, other.sparse) == (site.shape, site.bias, site.sparse)
    assert (other.rows, other.output_shape) == (site.rows, site.output_shape)
    p, q, g = random(*x.shape), random(*site.output_shape), random(*site.shape)
    assert torch.equal(other.forward(p, 0.5, g, 2.0), site.forward(p, 0.5, g, 2.0))
    assert torch.equal(other.backward(q, g, 2.0), site.backward(q, g, 2.0))
    assert torch.equal(other.change(p, 0.5, q, 2.0), site.change(p, 0.5, q, 2.0))


def test_a_grid_lies_output_by_output_in_memory() -> None:
    """As weights do; a new grid never has a second one in its memory."""
    for A in (3, 16, 17):
        grid = Rows(torch.zeros(2, 1, A), (1, A, 5)).empty(3)
        assert grid.shape == (3, 1, A, 5) and grid.stride(-2) == 1 and grid.dtype == torch.float32
        assert grid.stride(-1) == A if A < 16 else grid.stride(-1) % 16 == 0
        for place in range(3):
            grid[place] = place
        assert grid.sum().item() == 3 * A * 5
