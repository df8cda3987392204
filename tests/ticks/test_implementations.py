"""Every tick implementation against the reference, over random cells, protocols and shapes."""

import importlib.util
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lightning_vsml import programs
from lightning_vsml.ticks import ROWWISE, Cell, Native, Products, State, Tick, fused, implementation
from lightning_vsml.ticks.compiled import eager
from lightning_vsml.ticks.plan import structure
from lightning_vsml.ticks.plan.layout import layout
from lightning_vsml.ticks.sites import Rows

HAS_TRITON = importlib.util.find_spec("triton") is not None
EXACT = sorted(set(ROWWISE) - {"triton-fast"})
MESSAGES = 2  # own messages of random cells


def some_ticks(own: list[tuple[int, ...]]) -> st.SearchStrategy[tuple[Tick, ...]]:
    x, e = st.sampled_from([(), (0,), (1,), (0, 1)]), st.sampled_from([(), (0,)])
    return st.lists(st.builds(Tick, x=x, e=e, own=st.sampled_from(own)), min_size=1, max_size=3).map(tuple)


cases = given(
    seed=st.integers(0, 10_000),
    N=st.integers(1, 6),
    density=st.sampled_from([0.15, 0.5, 1.0]),
    saturated=st.booleans(),
    shape=st.tuples(
        st.sampled_from([1, 2, 5, 9, 19]),
        st.integers(1, 2),
        st.sampled_from([1, 3, 7, 40]),
        st.sampled_from([1, 2, 4, 17]),
    ),
    forward=some_ticks([()]),
    learn=some_ticks([(), (0,), (1, 0), (1, 1)]),  # on e's channel, on others, two on one
)


def random_cell(N: int, density: float, saturated: bool, dtype: torch.dtype = torch.float64) -> Cell:
    """Some parameters zero, some columns alike, some gates shut or open for good."""

    def sparse(*shape: int) -> Tensor:
        return torch.randn(shape) * (torch.rand(shape) < density)

    W, V, U, b = sparse(N, 4 * N), sparse(2, 4 * N), sparse(2, 4 * N), sparse(4 * N)
    if saturated:
        fixed = torch.rand(4 * N) < 0.4
        W[:, fixed], V[:, fixed], U[:, fixed] = 0, 0, 0
        b[fixed] = torch.tensor([-50.0, 0.0, 50.0])[torch.randint(0, 3, (int(fixed.sum()),))]
    if N > 1:  # two units with equal gates
        for parameter in (W, V, U):
            parameter.view(-1, 4, N)[..., 1] = parameter.view(-1, 4, N)[..., 0]
        b.view(4, N)[:, 1] = b.view(4, N)[:, 0]
    return Cell(*(p.to(dtype) for p in (W, V, U, b, sparse(N, 1 + MESSAGES), sparse(N, 1))))


def kernels_run_here(name: str) -> str:
    """The device on which the implementation itself runs, not what it leaves to torch."""
    if not name.startswith("triton"):
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    if name == "triton-fast" or not HAS_TRITON:
        pytest.skip("needs a CUDA device" if HAS_TRITON else "needs Triton")
    return "cpu"  # interpreted


def compare(
    name: str,
    dtype: torch.dtype,
    tolerance: float,
    cell: Cell,
    shape: tuple[int, int, int, int],
    forward: tuple[Tick, ...],
    learn: tuple[Tick, ...],
) -> None:
    """Messages, and the change of every unit that something reads, against the reference in float64."""
    (R, G, A, B), N, codec, device = shape, cell.units, frozenset([0]), kernels_run_here(name)
    G *= cell.population or 1
    state = State(*(torch.rand(2, G, A, B, N, dtype=torch.float64) * 2 - 1))
    x, e = torch.randn(R, G, A, dtype=torch.float64), torch.randn(R, G, B, dtype=torch.float64)
    told = torch.randn(R, G, B, MESSAGES, dtype=torch.float64)
    reference = ROWWISE["reference"](cell, forward, learn, codec)
    own = Cell(*(p.to(device, dtype) for p in cell))
    twin = ROWWISE[name](own, forward, learn, codec)
    plans = structure.plan_protocol(own, forward, learn, codec)  # what rounds to 0 or 1 depends on the dtype

    def check(ours: Tensor, theirs: Tensor) -> None:
        torch.testing.assert_close(
            ours.cpu().double(), theirs, rtol=tolerance, atol=tolerance * (1 + theirs.abs().max())
        )

    ours = State(*(part.to(device, dtype) for part in state))
    assert twin.forward(ours, x.to(device, dtype)).dtype == dtype
    check(twin.forward(ours, x.to(device, dtype)), reference.forward(state, x))
    change, message = twin.learn(ours, *(feed.to(device, dtype) for feed in (x, e, told)))
    wanted, wanted_message = reference.learn(state, x, e, told)
    check(message, wanted_message)
    for part, whole, kept in ((change.h, wanted.h, plans.kept_h), (change.c, wanted.c, plans.kept_c)):
        for u in kept:
            check(part[..., u], whole[..., u])


@settings(max_examples=150)
@cases
def test_fused_is_the_reference(seed, N, density, saturated, shape, forward, learn) -> None:
    torch.manual_seed(seed)
    compare("fused", torch.float64, 1e-10, random_cell(N, density, saturated), shape, forward, learn)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)], ids=str)
@settings(max_examples=8)  # each is compiled
@cases
def test_native_is_the_reference(dtype, tolerance, seed, N, density, saturated, shape, forward, learn) -> None:
    torch.manual_seed(seed)
    cell = Cell(*(parameter * 0.5 for parameter in random_cell(N, density, saturated)))
    compare("native", dtype, tolerance, cell, shape, forward, learn)


@settings(max_examples=25 if torch.cuda.is_available() else 4)  # interpreted, each operation takes a while
@cases
def test_triton_is_the_reference(seed, N, density, saturated, shape, forward, learn) -> None:
    torch.manual_seed(seed)
    cell = Cell(*(parameter * 0.5 for parameter in random_cell(N, density, saturated)))
    compare("triton", torch.float32, 1e-5, cell, shape, forward, learn)


def test_products_are_the_reference_or_leave_it_to_exact_ticks() -> None:
    """Relative to the largest value; of few and small parameters, where more than a few are products."""
    by_products = []

    @settings(max_examples=20)
    @given(
        seed=st.integers(0, 10_000),
        N=st.integers(1, 4),
        density=st.sampled_from([0.15, 0.5]),
        saturated=st.booleans(),
        forward=some_ticks([()]),
        learn=some_ticks([(), (0,), (1, 0)]),
    )
    def compare_products(seed, N, density, saturated, forward, learn) -> None:
        torch.manual_seed(seed)
        forward, learn, codec, (G, A, B), R = forward[:1], learn[:2], frozenset([0]), (2, 7, 4), 9
        random = random_cell(N, density, saturated, torch.float32)
        cell = Cell(*(p if (p.abs() == 50).any() else p * 0.3 for p in random))
        encode, decode = torch.eye(N)[0] * 0.5, torch.eye(N)[0] * 2.0
        kept = layout(cell, forward, learn, encode, decode, (True,) * N)
        exact = {"tolerance": 1e-6, "exact": torch.float64}
        ticks = implementation("products", cell, forward, learn, codec, kept, **exact)
        double = Cell(*(parameter.double() for parameter in cell))
        reference = implementation("reference", double, forward, learn, codec, kept, **exact)
        planes, scales = torch.rand(len(kept.planes), G, A, B) - 0.5, [1.0] * len(kept.planes)
        x, e, own = torch.randn(R, G, A), torch.randn(R, G, B), list(torch.randn(MESSAGES, R, G, B))
        ours = [*ticks.forward(planes, Rows(x, (G, A, B))), *ticks.learn(planes, Rows(x, (G, A, B)), e, own, scales)]
        told, site = [message.double() for message in own], Rows(x.double(), (G, A, B))
        theirs = reference.forward(planes.double(), site)
        theirs += reference.learn(planes.double(), site, e.double(), told, scales)
        for mine, wanted in zip(ours, theirs, strict=True):
            assert mine.shape == wanted.shape and mine.dtype == torch.float32
            torch.testing.assert_close(mine.double(), wanted, rtol=0, atol=1e-4 * float(wanted.abs().max()) + 1e-6)
        by_products.append(2 - ticks.exact_calls)

    compare_products()
    assert sum(by_products) > 10


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize(("N", "shape"), [(16, (1, 1, 1, 1)), (16, (11, 1, 13, 5)), (32, (3, 2, 1, 9))], ids=str)
def test_dense_cells_in_float32(name: str, N: int, shape: tuple[int, ...]) -> None:
    cell = Cell(*(parameter * 0.3 for parameter in random_cell(N, 1.0, False)))
    learn = (Tick(x=(1,), e=(0,)), Tick(x=(1,), own=(1, 0)))
    compare(name, torch.float32, 1e-5, cell, shape, (Tick(x=(0,)),), learn)


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize(("N", "rows"), [(4, 20), (12, 3)])
def test_a_population_is_its_members(name: str, rows: int, N: int) -> None:
    """Cells with zeros in common, some constants in common, the rest their own; two groups each."""
    forward, learn = (Tick(x=(0,)),), (Tick(x=(1,), e=(0,)), Tick(x=(1,), own=(1,)))
    dtype, tolerance = (torch.float32, 1e-5) if name == "triton" else (torch.float64, 1e-10)
    first = random_cell(N, 0.4, True)
    cells = [Cell(*(p + 0.1 * torch.randn_like(p) * (p.abs() < 5) * (p != 0) for p in first)) for _ in range(3)]
    population = Cell.stack(cells)
    compare(name, dtype, tolerance, population, (rows, 2, 3, 4), forward, learn)

    state = State(*(torch.rand(2, 6, 3, 4, N, dtype=torch.float64)))
    x, e = torch.randn(rows, 6, 3, dtype=torch.float64), torch.randn(rows, 6, 4, dtype=torch.float64)
    told = torch.randn(rows, 6, 4, MESSAGES, dtype=torch.float64)
    change, message = ROWWISE["reference"](population, forward, learn, frozenset([0])).learn(state, x, e, told)
    for k, cell in enumerate(cells):
        part = slice(2 * k, 2 * k + 2)
        alone = ROWWISE["reference"](cell, forward, learn, frozenset([0]))
        own, own_message = alone.learn(State(*(s[part] for s in state)), x[:, part], e[:, part], told[:, part])
        torch.testing.assert_close(change.c[part], own.c)
        torch.testing.assert_close(message[:, part], own_message)


@pytest.mark.parametrize("name", [*sorted(set(EXACT) - {"reference"}), "products"])
def test_many_steps_stay_together(name: str) -> None:
    """What is left out is read by nothing: learning steps of backprop end alike."""
    steps = 15 if name == "triton" else 50  # interpreted
    dtype, device = torch.float32 if name == "triton" else torch.float64, kernels_run_here(name)
    weights, ends = torch.randn(1, 6, 4, dtype=torch.float64), []
    for which, kind, place in ((name, dtype, device), ("reference", torch.float64, "cpu")):
        algorithm = programs.backprop(dtype=torch.float64).to(place, kind).on(which)
        state = algorithm.encode(weights.to(place))
        torch.manual_seed(0)
        for _ in range(steps):
            x, e = torch.randn(8, 1, 6, dtype=torch.float64), torch.randn(8, 1, 4, dtype=torch.float64)
            change, _ = algorithm.learn(state, x.to(place, kind), e.to(place, kind), samples=8)
            state = algorithm.commit(state, change)
        ends.append(algorithm.decode(state).cpu().double())
    torch.testing.assert_close(ends[0], ends[1], rtol=0, atol=1e-8 if dtype == torch.float64 else 1e-3)
    assert (ends[0] - weights).abs().max() > 0.1


@pytest.mark.gpu
def test_fast_approximations_stay_near() -> None:
    """The hardware's tanh is off by 2^-11; that is why it is an option."""
    cell = Cell(*(parameter * 0.3 for parameter in random_cell(16, 1.0, False)))
    compare("triton-fast", torch.float32, 1e-2, cell, (33, 1, 30, 10), (Tick(x=(0,)),), (Tick(x=(1,), e=(0,)),))


def test_the_fastest_is_chosen_by_zeros() -> None:
    """Products for sparse cells; for dense ones and for populations, whose members may diverge, compiled ticks."""
    algorithm = programs.backprop()
    cell = algorithm.cell
    assert isinstance(algorithm._implementation, Products)
    dense = random_cell(5, 1.0, False)._replace(P_f=torch.randn(5, 1).double())
    population = Cell.stack([cell, cell])
    for other in (replace(algorithm, cell=dense, fine=False), replace(algorithm, cell=population)):
        assert isinstance(other._implementation.ticks, Native)
    assert eager(cell) is ROWWISE["fused"]
    assert eager(random_cell(16, 1.0, False)) is ROWWISE["reference"]
    assert eager(cell._replace(W=cell.W.clone().requires_grad_())) is ROWWISE["reference"]


def test_slicing_over_rows_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    algorithm = programs.backprop(dtype=torch.float64).on("fused")
    state, x, e = algorithm.encode(torch.randn(1, 4, 5).double()), torch.randn(7, 1, 4).double(), torch.randn(7, 1, 5)
    whole, message = algorithm.learn(state, x, e.double(), samples=7)
    monkeypatch.setattr(fused, "SLICE_ELEMENTS", 2 * 4 * 5 * 5)
    sliced, sliced_message = algorithm.learn(state, x, e.double(), samples=7)
    torch.testing.assert_close((sliced.planes, sliced_message), (whole.planes, message), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", EXACT)
def test_ticks_are_differentiable(name: str) -> None:
    """Meta-learning and cloning take gradients of V_M through the same functions."""
    ticks = ((Tick(x=(0,)),), (Tick(x=(0,), e=(0,)), Tick(x=(1,), own=(1,))))
    cell = Cell(*(parameter.requires_grad_() for parameter in random_cell(2, 0.5, False)))  # zeros learn too
    state = State(*(torch.rand(2, 1, 2, 2, 2, dtype=torch.float64)))
    x, e = torch.randn(2, 1, 2, dtype=torch.float64), torch.randn(2, 1, 2, dtype=torch.float64)

    def out(*parameters: Tensor) -> tuple[Tensor, ...]:
        """Through the own messages too."""
        implementation = ROWWISE[name](Cell(*parameters), *ticks, frozenset([0]))
        y = implementation.forward(state, x)
        change, message = implementation.learn(state, x, e, y[..., 1:])
        return change.c, message, y[..., 0]

    assert torch.autograd.gradcheck(out, tuple(cell))


@pytest.mark.parametrize("N", [3, 12])
def test_gradients_through_own_messages_are_the_references(N: int) -> None:
    """Of the parameters and of what was told."""
    ticks = (Tick(x=(0,)),), (Tick(x=(1,), e=(0,), own=(1,)), Tick(x=(1,), own=(0, 1)))
    cell, state = random_cell(N, 0.5, False), State(*torch.rand(2, 1, 3, 4, N, dtype=torch.float64))
    x, e, told = (torch.randn(5, 1, *size, dtype=torch.float64) for size in ((3,), (4,), (4, MESSAGES)))
    gradients = []
    for name in ("fused", "reference"):
        inputs = [tensor.clone().requires_grad_() for tensor in (*cell, told)]
        change, message = ROWWISE[name](Cell(*inputs[:-1]), *ticks, frozenset(range(N))).learn(state, x, e, inputs[-1])
        (change.c.square().sum() + message.square().sum()).backward()
        gradients.append([tensor.grad for tensor in inputs if tensor is not inputs[4]])  # P_f has no part in it
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-9)
    assert gradients[0][-1].abs().min() > 0


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("told", [None, 1])
def test_own_messages_that_are_missing(name: str, told: int | None) -> None:
    dtype = torch.float32 if name == "triton" else torch.float64
    cell, state = random_cell(3, 0.5, False, dtype), State(*torch.rand(2, 1, 3, 4, 3, dtype=dtype))
    implementation = ROWWISE[name](cell, (Tick(x=(0,)),), (Tick(own=(0, 1)),), frozenset([0]))
    x, e = torch.zeros(2, 1, 3, dtype=dtype), torch.zeros(2, 1, 4, dtype=dtype)
    with pytest.raises(ValueError, match=rf"own should hold the 2 own messages that the ticks feed, got {told or 0}"):
        implementation.learn(state, x, e, None if told is None else e.unsqueeze(-1))


@pytest.mark.parametrize("name", [*EXACT, "products"])
def test_torch_transforms_apply(name: str) -> None:
    """vmap and func.grad see tensors that a kernel can't read."""
    algorithm = programs.backprop(dtype=torch.float64).on(name)
    weights, x = torch.randn(3, 1, 4, 2, dtype=torch.float64), torch.randn(5, 1, 4, dtype=torch.float64)

    def output(w: Tensor) -> Tensor:
        return algorithm.forward(algorithm.encode(w), x)

    torch.testing.assert_close(torch.vmap(output)(weights), torch.stack([output(w) for w in weights]))
    torch.testing.assert_close(
        torch.func.grad(lambda w: output(w).sum())(weights[0]).sum(-1), 2 * x.sum(0), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("N", [3, 12])
def test_a_cell_that_learns_is_run_as_it_is_now(name: str, N: int) -> None:
    """An optimizer changes parameters in place, between evaluations without a gradient."""
    device = kernels_run_here(name)
    cell = Cell(*(p.to(device, torch.float32).requires_grad_() for p in random_cell(N, 0.5, False)))
    ticks, x = ((Tick(x=(0,)),), (Tick(x=(0,), e=(0,)),)), torch.randn(5, 1, 3, device=device)
    state = State(*torch.rand(2, 1, 3, 4, N, device=device))
    implementation = ROWWISE[name](cell, *ticks, frozenset([0]))
    with torch.no_grad():
        before = implementation.forward(state, x)
        for parameter in cell:
            parameter.add_(0.1)
        after = implementation.forward(state, x)
        fresh = ROWWISE["reference"](cell, *ticks, frozenset([0])).forward(state, x)
    assert not torch.allclose(before, after)
    torch.testing.assert_close(after, fresh, rtol=1e-4, atol=1e-5)
