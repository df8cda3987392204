"""Every tick implementation against the reference, over random cells, protocols and shapes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lightning_vsml import programs
from lightning_vsml.ticks import IMPLEMENTATIONS, Cell, State, Tick, fastest, fused, structure

TWINS = sorted(set(IMPLEMENTATIONS) - {"reference"})
some_ticks = st.lists(
    st.builds(Tick, x=st.sampled_from([(), (0,), (1,), (0, 1)]), e=st.sampled_from([(), (0,)])), min_size=1, max_size=3
).map(tuple)


def random_cell(N: int, density: float, saturated: bool, dtype: torch.dtype = torch.float64) -> Cell:
    """Some parameters zero, some columns alike, some gates shut or open for good."""

    def sparse(*shape: int) -> Tensor:
        return torch.randn(shape) * (torch.rand(shape) < density)

    W, V, U, b = sparse(N, 4 * N), sparse(2, 4 * N), sparse(1, 4 * N), sparse(4 * N)
    if saturated:
        fixed = torch.rand(4 * N) < 0.4
        W[:, fixed], V[:, fixed], U[:, fixed] = 0, 0, 0
        b[fixed] = torch.tensor([-50.0, 0.0, 50.0])[torch.randint(0, 3, (int(fixed.sum()),))]
    if N > 1:  # two units with equal gates
        for parameter in (W, V, U):
            parameter.view(-1, 4, N)[..., 1] = parameter.view(-1, 4, N)[..., 0]
        b.view(4, N)[:, 1] = b.view(4, N)[:, 0]
    return Cell(*(p.to(dtype) for p in (W, V, U, b, sparse(N, 1), sparse(N, 1))))


@pytest.mark.parametrize("name", TWINS)
@settings(max_examples=150)
@given(
    seed=st.integers(0, 10_000),
    N=st.integers(1, 6),
    density=st.sampled_from([0.15, 0.5, 1.0]),
    saturated=st.booleans(),
    shape=st.tuples(st.integers(1, 5), st.integers(1, 2), st.integers(1, 4), st.integers(1, 4)),
    forward=some_ticks,
    learn=some_ticks,
)
def test_equal_to_the_reference(name, seed, N, density, saturated, shape, forward, learn) -> None:
    """Messages, and the change of every unit that something reads."""
    torch.manual_seed(seed)
    R, G, A, B = shape
    cell, codec = random_cell(N, density, saturated), frozenset([0])
    state = State(*(torch.rand(2, G, A, B, N, dtype=torch.float64) * 2 - 1))
    x, e = torch.randn(R, G, A, dtype=torch.float64), torch.randn(R, G, B, dtype=torch.float64)
    twin, reference = (IMPLEMENTATIONS[which](cell, forward, learn, codec) for which in (name, "reference"))
    plans = structure.plan_protocol(cell, forward, learn, codec)

    torch.testing.assert_close(twin.forward(state, x), reference.forward(state, x), rtol=1e-10, atol=1e-10)
    change, message = twin.learn(state, x, e)
    wanted, wanted_message = reference.learn(state, x, e)
    torch.testing.assert_close(message, wanted_message, rtol=1e-10, atol=1e-10)
    for ours, theirs, kept in ((change.h, wanted.h, plans.kept_h), (change.c, wanted.c, plans.kept_c)):
        for u in range(N):
            expected = theirs[..., u] if u in kept else torch.zeros(G, A, B, dtype=torch.float64)
            torch.testing.assert_close(ours[..., u], expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize("N", [5, 16, 32])
@pytest.mark.parametrize("shape", [(7, 1, 13, 5), (1, 1, 1, 1), (3, 2, 1, 9), (64, 1, 30, 10)])
def test_dense_cells_in_float32(name: str, N: int, shape: tuple[int, ...]) -> None:
    R, G, A, B = shape
    ticks = ((Tick(x=(0,)),), (Tick(x=(1,), e=(0,)), Tick(x=(1,))))
    cell = Cell(*(p * 0.3 for p in random_cell(N, 1.0, False, torch.float32)))
    state = State(*(torch.rand(2, G, A, B, N) * 2 - 1))
    x, e = torch.randn(R, G, A), torch.randn(R, G, B)
    twin, reference = (IMPLEMENTATIONS[which](cell, *ticks, frozenset([0])) for which in (name, "reference"))
    torch.testing.assert_close(twin.forward(state, x), reference.forward(state, x), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(twin.learn(state, x, e), reference.learn(state, x, e), rtol=1e-4, atol=2e-5 * R)


@pytest.mark.parametrize("name", TWINS)
def test_many_steps_stay_together(name: str) -> None:
    """What is left out is read by nothing: 50 learning steps of backprop end alike."""
    weights, ends = torch.randn(1, 6, 4, dtype=torch.float64), []
    for which in (name, "reference"):
        algorithm = programs.backprop(dtype=torch.float64).on(which)
        state = algorithm.encode(weights)
        torch.manual_seed(0)
        for _ in range(50):
            x, e = torch.randn(8, 1, 6, dtype=torch.float64), torch.randn(8, 1, 4, dtype=torch.float64)
            change, _ = algorithm.learn(state, x, e, samples=8)
            state = algorithm.commit(state, change)
        ends.append(algorithm.decode(state))
    torch.testing.assert_close(ends[0], ends[1], rtol=0, atol=1e-8)
    assert (ends[0] - weights).abs().max() > 0.1


def test_backprop_is_planned_as_its_table_says() -> None:
    """The forward pass forms nothing per row, input and output; scratch units are not kept up."""
    algorithm = programs.backprop()
    plans = structure.plan_protocol(algorithm.cell, *algorithm.protocol, codec=frozenset([0, 1]))
    assert [tick.h for tick in plans.forward.ticks] == [(0, 1)] and not plans.forward.spreads
    assert [tick.h for tick in plans.learn.ticks] == [(0, 1, 2, 3), (2, 3, 4)] and plans.learn.spreads
    assert (plans.kept_h, plans.kept_c) == ({2, 3}, {0, 1})


def test_the_fastest_is_chosen_by_the_zeros() -> None:
    assert fastest(programs.backprop().cell) == "fused"
    assert fastest(random_cell(16, 1.0, False)) == "reference"


def test_a_gate_may_be_shut_as_tightly_as_it_likes() -> None:
    """exp(1000) is beyond a float; the gate is 0 all the same."""
    cell = programs.backprop().cell
    cell.b[cell.b < 0] = -1000.0
    plans = structure.plan_protocol(cell, *programs.backprop().protocol, codec=frozenset([0, 1]))
    assert plans.learn.ticks[-1].gates[structure.F, 4] == 0.0


def test_slicing_over_rows_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    algorithm = programs.backprop(dtype=torch.float64).on("fused")
    state, x, e = algorithm.encode(torch.randn(1, 4, 5).double()), torch.randn(7, 1, 4).double(), torch.randn(7, 1, 5)
    whole = algorithm.learn(state, x, e.double(), samples=7)
    monkeypatch.setattr(fused, "SLICE_ELEMENTS", 2 * 4 * 5 * 5)
    torch.testing.assert_close(algorithm.learn(state, x, e.double(), samples=7), whole, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", sorted(IMPLEMENTATIONS))
def test_ticks_are_differentiable(name: str) -> None:
    """Meta-learning and cloning take gradients of V_M through the same functions."""
    ticks = ((Tick(x=(0,)),), (Tick(x=(0,), e=(0,)), Tick(x=(1,))))
    cell = Cell(*(parameter.requires_grad_() for parameter in random_cell(2, 0.5, False)))  # zeros learn too
    state = State(*(torch.rand(2, 1, 2, 2, 2, dtype=torch.float64)))
    x, e = torch.randn(2, 1, 2, dtype=torch.float64), torch.randn(2, 1, 2, dtype=torch.float64)

    def out(*parameters: Tensor) -> tuple[Tensor, ...]:
        implementation = IMPLEMENTATIONS[name](Cell(*parameters), *ticks, frozenset([0]))
        change, message = implementation.learn(state, x, e)
        return change.c, message, implementation.forward(state, x)

    assert torch.autograd.gradcheck(out, tuple(cell))
