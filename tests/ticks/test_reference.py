"""The readable tick against torch's own LSTM, Theorem 1 of the paper, and a loop in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lightning_vsml.ticks import Cell, State, Tick, reference

sizes = st.integers(1, 4)


def random_cell(N: int, M_f: int = 2, M_b: int = 1, out: int = 1, own: int = 0, seed: int = 0) -> Cell:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(N, 4 * N), (M_f, 4 * N), (M_b, 4 * N), (4 * N,), (N, out + own), (N, out)]
    return Cell(*(torch.randn(shape, generator=generator, dtype=torch.float64) * 0.5 for shape in shapes))


def random_state(*shape: int) -> State:
    return State(*(torch.rand(2, *shape, dtype=torch.float64) * 2 - 1))


def torch_lstm(weight: Tensor, bias: Tensor, h: Tensor, c: Tensor) -> State:
    """torch's LSTMCell without input: h (n,), c (n,), weight (n, 4n) acting on h from the right."""
    cell = nn.LSTMCell(1, len(h), dtype=torch.float64)
    with torch.no_grad():
        cell.weight_ih.zero_()
        cell.weight_hh.copy_(weight.T)
        cell.bias_ih.copy_(bias)
        cell.bias_hh.zero_()
        return State(*cell(torch.zeros(1, dtype=torch.float64), (h, c)))


@settings(max_examples=25)
@given(A=st.integers(1, 3), N=sizes, M=sizes, seed=st.integers(0, 1000))
def test_theorem_1_a_grid_is_one_big_lstm(A: int, N: int, M: int, seed: int) -> None:
    """A recurrent A x A grid equals an LSTM with Wt[c,d,i,a,b,j] = [d=a] PV + [c=b] PU + [c=a][d=b] W."""
    cell = random_cell(N, M, M, out=M, seed=seed)
    torch.manual_seed(seed)
    state = random_state(A, A, N)
    m_f = state.h.sum(0) @ cell.P_f  # out to b is in to a = b
    m_b = state.h.sum(1) @ cell.P_b
    ours = reference.tick(cell, state, m_f, m_b)

    delta = torch.eye(A, dtype=torch.float64)
    PV, PU, W = ((m.unflatten(-1, (4, N))) for m in (cell.P_f @ cell.V, cell.P_b @ cell.U, cell.W))
    same = torch.ones(A, dtype=torch.float64)
    big = torch.einsum("da,c,b,igj->cdigabj", delta, same, same, PV)
    big += torch.einsum("cb,d,a,igj->cdigabj", delta, same, same, PU)
    big += torch.einsum("ca,db,igj->cdigabj", delta, delta, W)
    bias = cell.b.unflatten(0, (4, 1, 1, N)).expand(4, A, A, N)
    theirs = torch_lstm(big.reshape(A * A * N, -1), bias.flatten(), state.h.flatten(), state.c.flatten())

    for mine, plain in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.flatten(), plain, rtol=0, atol=1e-12)


@settings(max_examples=25)
@given(A=st.integers(1, 4), N=sizes, seed=st.integers(0, 1000))
def test_theorem_1_in_the_papers_rnn_form(A: int, N: int, seed: int) -> None:
    """s_ab <- sigm(b + s_ab W + sum_c s_ca V): the tick's output gate, with a memory so large that tanh(c) = 1."""
    torch.manual_seed(seed)
    W, V = torch.randn(2, N, N, dtype=torch.float64) * 0.5
    b = torch.randn(N, dtype=torch.float64)
    zero = torch.zeros(N, 3 * N, dtype=torch.float64)
    gates = torch.cat([torch.full((N,), 25.0), torch.full((N,), 25.0), torch.zeros(N), b]).double()
    eye = torch.eye(N, dtype=torch.float64)
    cell = Cell(
        torch.cat([zero, W], 1), torch.cat([zero, V], 1), torch.zeros(1, 4 * N).double(), gates, eye, eye[:, :1]
    )
    s = torch.rand(A, A, N, dtype=torch.float64)
    ours = reference.tick(cell, State(s, torch.full_like(s, 50.0)), s.sum(0), None).h

    delta = torch.eye(A, dtype=torch.float64)
    big = torch.einsum("da,c,b,ij->cdiabj", delta, torch.ones(A).double(), torch.ones(A).double(), V)
    big += torch.einsum("ca,db,ij->cdiabj", delta, delta, W)
    theirs = torch.sigmoid(b + torch.einsum("cdi,cdiabj->abj", s, big))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    if A == 1:
        torch.testing.assert_close(ours[0, 0], torch.sigmoid(b + s[0, 0] @ (V + W)), rtol=0, atol=1e-12)


@settings(max_examples=20)
@given(R=sizes, G=st.integers(1, 2), A=sizes, B=sizes, N=sizes, seed=st.integers(0, 1000))
def test_forward_and_learn_equal_a_loop_over_synapses(R: int, G: int, A: int, B: int, N: int, seed: int) -> None:
    torch.manual_seed(seed)
    """With two own messages: the second on a channel of its own, then on that of the feedback."""
    cell, state = random_cell(N, M_b=2, own=2, seed=seed), random_state(G, A, B, N)
    x, e, own = torch.randn(R, G, A).double(), torch.randn(R, G, B).double(), torch.randn(R, G, B, 2).double()
    forward = (Tick(x=(0,)), Tick(x=(1,), e=(0,)), Tick(x=(0, 1)))
    learn = (Tick(x=(0,)), Tick(x=(1,), e=(0,), own=(0, 1)), Tick(x=(0, 1), own=(1, 0)))
    lstm = nn.LSTMCell(4, N, dtype=torch.float64)
    with torch.no_grad():
        lstm.weight_hh.copy_(cell.W.T)
        lstm.weight_ih.copy_(torch.cat([cell.V, cell.U]).T)
        lstm.bias_ih.copy_(cell.b)
        lstm.bias_hh.zero_()

    y, change = torch.zeros(R, G, B, 3).double(), State(*(torch.zeros_like(s) for s in state))
    message = torch.zeros(R, G, A, 1).double()
    for r, g, a, b in torch.cartesian_prod(*(torch.arange(n) for n in (R, G, A, B))).view(-1, 4).tolist():
        h, c = state.h[g, a, b], state.c[g, a, b]
        for tick in learn:
            fed = [x[r, g, a] * (0 in tick.x), x[r, g, a] * (1 in tick.x), e[r, g, b] * (0 in tick.e), x.new_zeros(())]
            for told, channel in zip(own[r, g, b], tick.own, strict=False):
                fed[2 + channel] = fed[2 + channel] + told
            h, c = lstm(torch.stack(fed), (h, c))
        message[r, g, a] += h.detach() @ cell.P_b
        change.h[g, a, b] += h.detach() - state.h[g, a, b]
        change.c[g, a, b] += c.detach() - state.c[g, a, b]
        h, c = state.h[g, a, b], state.c[g, a, b]
        for tick in forward:
            fed = [x[r, g, a] * (0 in tick.x), x[r, g, a] * (1 in tick.x), x.new_zeros(()), x.new_zeros(())]
            h, c = lstm(torch.stack(fed), (h, c))
        y[r, g, b] += h.detach() @ cell.P_f

    implementation = reference.Reference(cell, forward, learn, frozenset())
    ours, message_ours = implementation.learn(state, x, e, own)
    torch.testing.assert_close(implementation.forward(state, x), y, rtol=0, atol=1e-12)
    torch.testing.assert_close(message_ours, message, rtol=0, atol=1e-12)
    for mine, looped in zip(ours, change, strict=True):
        torch.testing.assert_close(mine, looped, rtol=0, atol=1e-12)


def test_slicing_over_rows_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    cell, state = random_cell(3), random_state(1, 4, 5, 3)
    x, e = torch.randn(7, 1, 4).double(), torch.randn(7, 1, 5).double()
    implementation = reference.Reference(cell, (Tick(x=(0,)),), (Tick(x=(0,), e=(0,)), Tick(x=(1,))), frozenset())
    whole = implementation.learn(state, x, e)
    monkeypatch.setattr(reference, "SLICE_ELEMENTS", 2 * 4 * 5 * 3)
    sliced = implementation.learn(state, x, e)
    torch.testing.assert_close(whole, sliced, rtol=1e-12, atol=1e-12)
