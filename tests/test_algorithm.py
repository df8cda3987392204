"""LearningAlgorithm: pure functions around a cell."""

import pickle
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from helpers import with_own_messages
from torch import Tensor

from lightning_vsml import Cell, Codec, LearningAlgorithm, Protocol, Stability, State, Tick, programs
from lightning_vsml.ticks import IMPLEMENTATIONS


def test_weights_survive_encoding(any_algorithm: LearningAlgorithm) -> None:
    weights = torch.randn(2, 3, 4)
    torch.testing.assert_close(any_algorithm.decode(any_algorithm.encode(weights)), weights, rtol=1e-6, atol=0)


def test_forward_is_the_layer(any_algorithm: LearningAlgorithm) -> None:
    weights, x = torch.randn(2, 3, 4), torch.randn(5, 2, 3)
    y = any_algorithm.forward(any_algorithm.encode(weights), x)
    tolerance = 1e-3 if any_algorithm.card["kind"] == "constructed" else 0.03
    torch.testing.assert_close(y, torch.einsum("rga,gab->rgb", x, weights), rtol=tolerance, atol=tolerance)


def test_nothing_is_changed_in_place(any_algorithm: LearningAlgorithm) -> None:
    state = any_algorithm.encode(torch.randn(1, 3, 4))
    before = State(*(s.clone() for s in state))
    x, e = torch.randn(5, 1, 3), torch.randn(5, 1, 4)
    any_algorithm.forward(state, x)
    change, _ = any_algorithm.learn(state, x, e, samples=5)
    any_algorithm.commit(state, change)
    any_algorithm.overwrite(state, torch.randn(1, 3, 4))
    assert all(torch.equal(now, then) for now, then in zip(state, before, strict=True))


@pytest.mark.parametrize("copy", [deepcopy, lambda algorithm: pickle.loads(pickle.dumps(algorithm))])
def test_survives_copies_after_use(any_algorithm: LearningAlgorithm, copy: Callable) -> None:
    """As spawned processes, and copies of a Trainer with its callbacks, demand."""
    state, x = any_algorithm.encode(torch.randn(1, 3, 4)), torch.randn(5, 1, 3)
    y = any_algorithm.forward(state, x)
    other = copy(any_algorithm)
    assert torch.equal(other.forward(state, x), y) and other.fingerprint == any_algorithm.fingerprint


def test_samples_are_averaged_positions_summed(any_algorithm: LearningAlgorithm) -> None:
    """Twice the samples: memories change the same. The same rows as positions of half the samples: twice as much.

    Or less, where the algorithm says so.
    """
    memories = torch.tensor(any_algorithm.memory)
    state = any_algorithm.encode(torch.randn(1, 3, 4) * 0.1)
    x, e = torch.randn(6, 1, 3), torch.randn(6, 1, 4) * 0.1

    def update(x: Tensor, e: Tensor, samples: int) -> Tensor:
        change, _ = any_algorithm.learn(state, x, e, samples)
        moved = (any_algorithm.commit(state, change).c - state.c)[..., memories]
        return moved @ any_algorithm.codec.decode[memories]

    once = update(x, e, 6)
    torch.testing.assert_close(update(torch.cat([x, x]), torch.cat([e, e]), 12), once, rtol=1e-3, atol=1e-5)
    more = 2 ** (1 - any_algorithm.positions)
    torch.testing.assert_close(update(torch.cat([x, x]), torch.cat([e, e]), 6), more * once, rtol=1e-3, atol=1e-5)


def test_changes_of_one_step_add_up(any_algorithm: LearningAlgorithm) -> None:
    state = any_algorithm.encode(torch.randn(1, 3, 4) * 0.1)
    x, e = torch.randn(6, 1, 3), torch.randn(6, 1, 4) * 0.1
    whole, _ = any_algorithm.learn(state, x, e, samples=6)
    parts = [any_algorithm.learn(state, x[s], e[s], samples=6)[0] for s in (slice(0, 2), slice(2, 6))]
    for both, sum_ in zip(whole, parts[0].plus(parts[1]), strict=True):
        torch.testing.assert_close(torch.as_tensor(both), torch.as_tensor(sum_))


def test_scratch_units_stay_bounded_over_many_positions() -> None:
    """Summed over 10,000 positions a scratch unit's change would grow with each step; its mean does not."""
    algorithm = programs.backprop()
    state = algorithm.encode(torch.randn(1, 2, 2) * 0.1)
    for _ in range(20):
        change, _ = algorithm.learn(state, torch.randn(1000, 1, 2), torch.randn(1000, 1, 2) * 1e-3, samples=1)
        state = algorithm.commit(state, change)
    assert all(s[..., 2:].abs().max() < 1 for s in state)


def test_overwrite_moves_the_weight_and_nothing_else() -> None:
    algorithm = programs.backprop()
    state = State(*(torch.randn(1, 3, 4, 5) for _ in range(2)))
    weights = torch.randn(1, 3, 4)
    new = algorithm.overwrite(state, weights)
    torch.testing.assert_close(algorithm.decode(new), weights, rtol=1e-4, atol=1e-4)
    assert torch.equal(new.h, state.h) and torch.equal(new.c[..., 2:], state.c[..., 2:])
    for dtype in (torch.float32, torch.bfloat16):  # what decode gave, in whatever precision it was stored
        same = algorithm.overwrite(state, algorithm.decode(state).to(dtype))
        assert torch.equal(same.c, state.c)


@pytest.mark.parametrize("ticks", ["reference", "fused", "native"])
def test_own_messages_are_found_anew_and_damped(ticks: str) -> None:
    """Those of the state and the input that the learn ticks get: asinh of what the forward ticks say."""
    algorithm = with_own_messages().on(ticks)
    implementation = IMPLEMENTATIONS[ticks](algorithm.cell, *algorithm.protocol, frozenset([0, 1]))
    state = algorithm.encode(torch.randn(1, 3, 4))
    x, e = torch.randn(5, 1, 3, dtype=torch.float64), torch.randn(5, 1, 4, dtype=torch.float64)
    y = implementation.forward(state, x)
    assert y.shape == (5, 1, 4, 3) and y[..., 1:].abs().max() > 10
    assert torch.equal(algorithm.forward(state, x), y[..., 0]) and algorithm.forward(state, x).is_contiguous()
    ours, message = algorithm.learn(state, x, e, samples=1)
    theirs, wanted = implementation.learn(state, x, e, torch.asinh(y[..., 1:]))
    assert torch.equal(ours.c[..., 0], theirs.c[..., 0]) and torch.equal(message, wanted[..., 0])
    silent, _ = implementation.learn(state, x, e, torch.zeros_like(y[..., 1:]))
    assert not torch.allclose(silent.c[..., 0], theirs.c[..., 0])


def test_own_messages_of_a_population() -> None:
    one = with_own_messages()
    two = replace(one, cell=Cell.stack([one.cell, one.cell._replace(U=one.cell.U * 2)]))
    state = one.encode(torch.randn(2, 3, 4))
    x, e = torch.randn(5, 2, 3, dtype=torch.float64), torch.randn(5, 2, 4, dtype=torch.float64)
    both, alone = two.learn(state, x, e, samples=5)[0], one.learn(state, x, e, samples=5)[0]
    torch.testing.assert_close(both.c[0, ..., :2], alone.c[0, ..., :2], rtol=1e-9, atol=1e-12)
    assert not torch.allclose(both.c[1, ..., :2], alone.c[1, ..., :2])


def test_a_tick_without_own_messages_reads_as_ever() -> None:
    """Fingerprints, which hash it, are in the checkpoints of runs."""
    assert repr(Tick(x=(0,), e=(1, 2))) == "Tick(x=(0,), e=(1, 2))"
    assert repr(Tick(own=(3,))) == "Tick(x=(), e=(), own=(3,))"


def test_stability_rules() -> None:
    algorithm = replace(programs.backprop(), stability=Stability(state_clip=4.0, change_clamp=1.0))
    state = State(torch.zeros(1, 1, 1, 5), torch.tensor([3.5, 0, 0, 0, -3.9]).view(1, 1, 1, 5))
    change, _ = algorithm.learn(state, torch.zeros(1, 1, 1), torch.zeros(1, 1, 1), samples=1)
    big = change._replace(c=torch.tensor([9.0, 2.0, 0.5, 0, -0.5]).view(1, 1, 1, 5), h=torch.full((1, 1, 1, 5), -7.0))
    new = algorithm.commit(state, big)
    assert new.c.flatten().tolist() == pytest.approx([4.0, 1.0, 0.5, 0, -4.0])
    assert new.h.flatten().tolist() == [-1.0] * 5
    free = replace(algorithm, stability=Stability()).commit(state, big)
    assert free.c.flatten()[0].item() == pytest.approx(12.5)


def test_fingerprint() -> None:
    one = programs.backprop()
    assert one.fingerprint == replace(one, name="other", card={}).fingerprint
    assert one.fingerprint == one.to("cpu").fingerprint
    assert len({one.fingerprint, programs.backprop(lr=0.2).fingerprint, one.to(dtype=torch.float64).fingerprint}) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: {"cell": a.cell._replace(V=torch.zeros(2, 7))}, r"V should have shape \('any', 20\)"),
        (lambda a: {"cell": a.cell._replace(b=torch.zeros(20, 1))}, "Cell parameter b should have shape"),
        (lambda a: {"cell": a.cell._replace(P_f=torch.zeros(5, 0))}, r"cell.P_f should have shape \(5, 1\) or more"),
        (lambda a: {"cell": a.cell._replace(P_b=torch.zeros(5, 2))}, r"cell.P_b should have shape \(5, 1\)"),
        (lambda a: {"codec": Codec(torch.ones(5), torch.ones(5))}, "decode @ codec.encode should be 1"),
        (lambda a: {"codec": Codec(torch.ones(4), torch.ones(5))}, r"codec.encode should have shape \(5,\)"),
        (lambda a: {"memory": (True,)}, r"memory should have shape \(5,\)"),
        (lambda a: {"protocol": Protocol((Tick(x=(2,)),), (Tick(),))}, r"feeds channels \(2,\), but the cell has only"),
        (lambda a: {"protocol": Protocol((), (Tick(),))}, "protocol.forward should hold at least one tick"),
        (
            lambda a: {"protocol": Protocol((Tick(own=(0,)),), (Tick(),))},
            "protocol.forward should feed no own messages",
        ),
        (lambda a: {"protocol": Protocol((Tick(),), (Tick(own=(1,)),))}, r"learn feeds channels \(1,\), but the cell"),
        (
            lambda a: {"protocol": Protocol((Tick(),), (Tick(own=(0,)),))},
            "feeds 1 own messages, but the cell has only 0",
        ),
        (lambda a: {"lr": 0.0}, "lr should be positive"),
        (lambda a: {"positions": 1.5}, r"positions should be from 0 \(sum\) to 1 \(mean\), got 1.5"),
        (lambda a: {"ticks": "nope"}, "ticks should be one of"),
    ],
)
def test_parts_that_do_not_fit(change, message: str) -> None:
    algorithm = programs.backprop()
    with pytest.raises(ValueError, match=message):
        replace(algorithm, **change(algorithm))
