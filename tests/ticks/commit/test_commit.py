"""Commit ticks as programs against the readable ticks, on the rule that has them."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lightning_vsml import LearningAlgorithm
from lightning_vsml.algorithms.adaptive import adaptive
from lightning_vsml.algorithms.parts import Protocol
from lightning_vsml.ticks import CommitTick, Told
from lightning_vsml.ticks.native import pointwise

ADAPTIVE = adaptive(dtype=torch.float64)
SMALL = 2.0**-14  # of planes, as after some steps


def merged(algorithm: LearningAlgorithm, G: int, A: int, B: int, seed: int) -> Tensor:
    """Planes between learning and committing."""
    generator = torch.Generator().manual_seed(seed)
    planes = torch.randn(len(algorithm.layout.planes), G, A, B, generator=generator, dtype=torch.float64)
    scales = [1.0 if plane.codes else SMALL for plane in algorithm.layout.planes]
    planes = planes * planes.new_tensor(scales).view(-1, 1, 1, 1)
    positive = [
        not plane.codes and "squares" in names(algorithm)[place] for place, plane in enumerate(planes_of(algorithm))
    ]
    planes[positive] = planes[positive].square()
    planes[names(algorithm).index("square")].abs_()
    planes[names(algorithm).index("age")] = 7 * 2.0**-28
    return planes


def planes_of(algorithm: LearningAlgorithm) -> tuple:
    return algorithm.layout.planes


def names(algorithm: LearningAlgorithm) -> list[str]:
    from lightning_vsml.algorithms.adaptive.sheet import UNITS

    return [UNITS[plane.unit] for plane in algorithm.layout.planes]


def told(A: int, bias: bool, like: Tensor) -> Told:
    flags = like.new_zeros(A)
    if bias:
        flags[-1] = 1.0
        return Told(flags, like.new_zeros(A), like.new_full((A,), 0.7), like.new_full((A,), 0.6))
    return Told(flags, like.new_ones(A), like.new_full((A,), 1.3), like.new_ones(A))


@given(st.sampled_from([1, 3]), st.integers(1, 6), st.integers(1, 5), st.booleans(), st.integers(0, 3))
def test_programs_do_what_the_readable_ticks_do(G: int, A: int, B: int, bias: bool, seed: int) -> None:
    planes, commit = merged(ADAPTIVE, G, A, B, seed), ADAPTIVE._commit
    assert commit is not None
    outside = told(A, bias and A > 1, planes)
    fast, slow = commit(list(planes), outside), commit.by_ticks(planes, outside)
    for name, ours, exact in zip(names(ADAPTIVE), fast, slow, strict=True):
        torch.testing.assert_close(ours, exact, rtol=3e-5, atol=float(exact.abs().max()) * 3e-5 + 1e-20, msg=name)


@pytest.mark.parametrize("A", [64, 129, 600])  # of float64, 512 are summed at a time on AVX-512
def test_long_rows(A: int) -> None:
    planes, commit = merged(ADAPTIVE, 1, A, 2, 0), ADAPTIVE._commit
    assert commit is not None
    fast, slow = commit(list(planes), told(A, True, planes)), commit.by_ticks(planes, told(A, True, planes))
    assert ((fast - slow).abs() <= 3e-5 * (slow.abs() + planes.abs()) + 1e-12).all()  # of a sum that may cancel
    assert all(
        (fast[place] - plane).abs().max() > 1e-9 for place, plane in enumerate(planes) if plane.abs().max() > 0.1
    )


@pytest.mark.parametrize(("G", "A", "B"), [(1, 6, 4), (2, 3, 70), (33, 1, 1), (5, 1, 2)])
def test_without_a_compiler_torch_does_it(G: int, A: int, B: int, monkeypatch: pytest.MonkeyPatch) -> None:
    planes, commit = merged(ADAPTIVE, G, A, B, 0), ADAPTIVE._commit
    assert commit is not None and commit.compiled(torch.float64) is not None
    compiled = commit(list(planes), told(A, A > 1, planes))
    monkeypatch.setattr(commit, "compiled", lambda dtype: None)
    torch.testing.assert_close(commit(list(planes), told(A, A > 1, planes)), compiled, rtol=1e-9, atol=1e-18)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_compiled_compiles(dtype: torch.dtype) -> None:
    assert pointwise.kernel(dtype) is not None
    assert ADAPTIVE._commit is not None and ADAPTIVE._commit.compiled(dtype) is not None


def test_nothing_depends_on_how_many_threads_there_are() -> None:
    planes, commit = merged(ADAPTIVE, 1, 120, 90, 0), ADAPTIVE._commit
    assert commit is not None and planes[0].numel() > pointwise.FROM
    before, found = torch.get_num_threads(), []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(commit(list(planes), told(120, True, planes)))
    torch.set_num_threads(before)
    assert torch.equal(*found)


def test_float32_loses_nothing_to_cancellation() -> None:
    single = ADAPTIVE.to(dtype=torch.float32)
    planes, commit = merged(ADAPTIVE, 1, 9, 4, 1), single._commit
    assert commit is not None
    ours = commit(list(planes.float()), told(9, True, planes.float()))
    exact = commit.by_ticks(planes, told(9, True, planes))
    for name, plane, other in zip(names(ADAPTIVE), ours.double(), exact, strict=True):
        torch.testing.assert_close(plane, other, rtol=2e-4, atol=float(other.abs().max()) * 2e-5 + 1e-20, msg=name)


def test_what_is_larger_than_series_are_for_takes_the_readable_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    planes, commit = merged(ADAPTIVE, 1, 4, 3, 0), ADAPTIVE._commit
    assert commit is not None
    planes[names(ADAPTIVE).index("update")] = 0.01
    monkeypatch.setattr(commit, "_by_kernel", lambda *_: pytest.fail("series are not for that"))
    monkeypatch.setattr(commit, "by_torch", lambda *_: pytest.fail("series are not for that"))
    assert commit(list(planes), told(4, True, planes)).isfinite().all()


def test_what_is_kept_is_what_anything_reads() -> None:
    assert names(ADAPTIVE) == ["weight+", "update", "input", "square", "mean", "slow", "squares", "age", "travelled"]
    assert ADAPTIVE.layout.learned == 4  # the others only commit ticks change


def test_inputs_without_a_rate_stay_as_they_are() -> None:
    state = ADAPTIVE.encode(torch.randn(1, 5, 3, dtype=torch.float64))
    x, e = torch.randn(8, 1, 5, dtype=torch.float64), torch.randn(8, 1, 3, dtype=torch.float64)
    change, _ = ADAPTIVE.learn(state, x, e, 8)
    rate = torch.ones(5, dtype=torch.float64)
    rate[:2] = 0.0
    outside = Told.of(5, state)._replace(rate=rate)
    after = ADAPTIVE.commit(state, change, outside)
    assert torch.equal(after[:, :, :2], state[:, :, :2])
    assert (ADAPTIVE.decode(after) != ADAPTIVE.decode(state))[:, 2:].all()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (CommitTick(one=(99,)), "forward channel 99"),
        (CommitTick(outputs=((0, 99),)), "backward channel 99"),
        (CommitTick(outputs=((99, 0),)), "column of P_f 99"),
        (CommitTick(inputs=((99, 0),)), "column of P_b 99"),
    ],
)
def test_ticks_that_name_what_the_cell_has_not(wrong: CommitTick, said: str) -> None:
    protocol = Protocol(ADAPTIVE.protocol.forward, ADAPTIVE.protocol.learn, (wrong,))
    with pytest.raises(ValueError, match=f"protocol.commit names {said}"):
        protocol.validate(ADAPTIVE.cell)


def test_what_shows_as_a_gradient_has_to_be_told() -> None:
    with pytest.raises(ValueError, match="gradient should be given"):
        replace(ADAPTIVE, gradient=None)
