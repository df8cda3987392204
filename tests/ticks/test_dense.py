"""The dense tick: compiled forms against the readable one, and that against torch's own LSTM."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from lightning_vsml import Cell
from lightning_vsml.algorithms.emergent import initial
from lightning_vsml.ticks.dense import Ticked, tick


def case(G: int, A: int, B: int, N: int, M: int, dtype: torch.dtype, shared: bool = False) -> list[Tensor]:
    """A cell's parameters, a state, and messages from before and from behind."""
    cell = initial(N, M, seed=1)
    tensors = [torch.randn(2 * N, 1 if shared else G, A, B), torch.randn(G, A, M), torch.randn(G, B, M)]
    return [tensor.to(dtype) for tensor in (*cell, *tensors)]


def run(tensors: list[Tensor], ticks: str, moves: bool = True) -> Ticked:
    return tick(Cell(*tensors[:6]), *tensors[6:], ticks, moves)


SIZES = st.tuples(
    st.integers(1, 5), st.integers(1, 40), st.integers(1, 12), st.sampled_from([4, 8, 16]), st.integers(1, 5)
)


@given(SIZES, st.booleans())
def test_native_is_the_readable_one(sizes: tuple[int, ...], shared: bool) -> None:
    tensors = case(*sizes, torch.float64, shared)
    for own, readable in zip(run(tensors, "native"), run(tensors, "reference"), strict=True):
        torch.testing.assert_close(own, readable.expand_as(own), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shared", [False, True])
def test_triton_is_the_readable_one(shared: bool) -> None:
    if torch.cuda.is_available():
        pytest.skip("runs in Triton's interpreter where there is no GPU")
    pytest.importorskip("triton")
    tensors = case(2, 9, 3, 12, 3, torch.float32, shared)
    for own, readable in zip(run(tensors, "triton"), run(tensors, "reference"), strict=True):
        torch.testing.assert_close(own, readable.expand_as(own), rtol=1e-5, atol=1e-5)


@pytest.mark.gpu
def test_a_gpu_runs_the_readable_one() -> None:
    tensors = [tensor.cuda() for tensor in case(8, 50, 10, 16, 8, torch.float32, shared=True)]
    for own, readable in zip(run(tensors, "auto"), run(tensors, "reference"), strict=True):
        torch.testing.assert_close(own, readable.expand_as(own), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-11), (torch.float32, 1e-4)])
@pytest.mark.parametrize("threads", [1, 2])
def test_the_way_back_is_that_of_autograd(dtype: torch.dtype, close: float, threads: int) -> None:
    torch.set_num_threads(threads)
    tensors = case(3, 19, 4, 8, 3, dtype)
    weights = [torch.randn_like(part) for part in run(tensors, "reference")]
    found = []
    for ticks in ("native", "reference"):
        own = [tensor.clone().requires_grad_() for tensor in tensors]
        first = run(own, ticks)  # two ticks, so that gradients of states, and messages both ways, go on
        second = run([*own[:6], first.state, first.backward, first.forward], ticks)
        total = sum((part * weight).sum() for part, weight in zip(second, weights, strict=True))
        found.append(torch.autograd.grad(total, own))
    for own, readable in zip(*found, strict=True):
        torch.testing.assert_close(own, readable, rtol=close, atol=close * float(readable.abs().max()))


def test_a_synapse_is_a_step_of_torchs_lstm() -> None:
    """Eqs. (5) and (7): what differs is whose messages a synapse gets."""
    G, A, B, N, M = 2, 3, 4, 8, 3
    tensors = case(G, A, B, N, M, torch.float64)
    cell, (state, m_f, m_b) = Cell(*tensors[:6]), tensors[6:]
    theirs = nn.LSTMCell(2 * M, N).double()
    with torch.no_grad():
        theirs.weight_ih.copy_(torch.cat([cell.V, cell.U]).T)
        theirs.weight_hh.copy_(cell.W.T)
        theirs.bias_ih.copy_(cell.b)
        theirs.bias_hh.zero_()
    after = tick(cell, state, m_f, m_b, "native")
    h_sum = torch.zeros(G, A, B, N, dtype=torch.float64)
    for g in range(G):
        for a in range(A):
            for b in range(B):
                h, c = state[:, g, a, b].chunk(2)
                h, c = theirs(torch.cat([m_f[g, a], m_b[g, b]]), (h, c))
                torch.testing.assert_close(after.state[:, g, a, b], torch.cat([h, c]))
                h_sum[g, a, b] = h
    torch.testing.assert_close(after.forward, h_sum.sum(1) @ cell.P_f / A**0.5)
    torch.testing.assert_close(after.backward, h_sum.sum(2) @ cell.P_b / B**0.5)


@pytest.mark.parametrize("ticks", ["native", "reference"])
def test_a_long_unroll_and_states_of_any_layout(ticks: str) -> None:
    tensors = case(2, 20, 3, 4, 2, torch.float64)
    other = [*tensors[:6], tensors[6].mT.contiguous().mT[:, :, :, :], *tensors[7:]]
    sliced = torch.randn(8, 4, 20, 3, dtype=torch.float64)
    sliced[:, 1:3] = tensors[6]
    for state in (other[6], sliced[:, 1:3]):
        one, two = tensors[6], state
        for _ in range(20):
            one = run([*tensors[:6], one, *tensors[7:]], ticks).state
            two = run([*tensors[:6], two, *tensors[7:]], ticks).state
        torch.testing.assert_close(one, two, rtol=1e-12, atol=1e-12)


def test_what_is_asked_for_and_can_not_be() -> None:
    odd = case(1, 3, 2, 5, 2, torch.float32)
    with pytest.raises(RuntimeError, match="units in fours, got 5"):
        run(odd, "native")
    assert run(odd, "auto").state.shape == (10, 1, 3, 2)  # by the readable one
    learning = [tensor.requires_grad_() for tensor in case(1, 3, 2, 4, 2, torch.float32)]
    with pytest.raises(RuntimeError, match="no way back"):
        run(learning, "triton")
    assert run(case(4, 3, 2, 4, 2, torch.float32), "native", moves=False).state.numel() == 0
