"""LearningAlgorithm: pure functions around a cell."""

import pickle
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from helpers import with_own_messages
from sensing import sensing
from torch import Tensor

from lightning_vsml import Cell, Codec, LearningAlgorithm, Protocol, Stability, State, Tick, programs
from lightning_vsml.algorithms.base import Pace
from lightning_vsml.algorithms.change import Change
from lightning_vsml.ticks.reference import Reference


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
    before = state.clone()
    x, e = torch.randn(5, 1, 3), torch.randn(5, 1, 4)
    any_algorithm.forward(state, x)
    change, _ = any_algorithm.learn(state, x, e, samples=5)
    any_algorithm.commit(state, change)
    any_algorithm.overwrite(state, torch.randn(1, 3, 4))
    assert torch.equal(state, before)


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
    state = any_algorithm.encode(torch.randn(1, 3, 4) * 0.1)
    x, e = torch.randn(6, 1, 3), torch.randn(6, 1, 4) * 0.1

    def update(x: Tensor, e: Tensor, samples: int) -> Tensor:
        change, _ = any_algorithm.learn(state, x, e, samples)
        if any_algorithm.pace is Pace.COMMIT:  # what it makes of that minds no scale
            return any_algorithm.shown(change.planes)
        new = torch.where(memories, any_algorithm.commit(state, change), state)
        return any_algorithm.decode(new) - any_algorithm.decode(state)

    planes = any_algorithm.layout.planes
    memories = torch.tensor([p.part == 1 and any_algorithm.memory[p.unit] for p in planes]).view(-1, 1, 1, 1)
    once = update(x, e, 6)
    torch.testing.assert_close(update(torch.cat([x, x]), torch.cat([e, e]), 12), once, rtol=1e-3, atol=1e-5)
    more = 2 ** (1 - any_algorithm.positions)
    torch.testing.assert_close(update(torch.cat([x, x]), torch.cat([e, e]), 6), more * once, rtol=1e-3, atol=1e-5)


def test_changes_of_one_step_add_up(any_algorithm: LearningAlgorithm) -> None:
    state = any_algorithm.encode(torch.randn(1, 3, 4) * 0.1)
    x, e = torch.randn(6, 1, 3), torch.randn(6, 1, 4) * 0.1
    whole, _ = any_algorithm.learn(state, x, e, samples=6)
    parts = [any_algorithm.learn(state, x[s], e[s], samples=6)[0] for s in (slice(0, 2), slice(2, 6))]
    both = parts[0].plus(parts[1])
    assert (whole.rows, whole.inputs) == (both.rows, both.inputs) == (6, None)
    for plane, sum_ in zip(whole.planes, both.planes, strict=True):
        torch.testing.assert_close(plane, sum_, rtol=1e-4, atol=1e-4 * float(plane.abs().max()))


def test_changes_of_some_inputs_add_up() -> None:
    """Also with one of all inputs; an input that occurs twice counts twice."""
    first = Change(torch.tensor([[[[1.0], [2.0]]]]), 2, torch.tensor([0, 2]))
    second = Change(torch.tensor([[[[4.0], [8.0]]]]), 3, torch.tensor([2, 1]))
    both = first.plus(second)
    assert both.rows == 5 and both.whole(4).flatten().tolist() == [1, 8, 6, 0]
    algorithm, state = programs.backprop(), torch.full((1, 1, 4, 1), 10.0)
    assert algorithm.commit(state, both).flatten().tolist() == [11, 18, 16, 10]


def test_scratch_planes_take_the_mean_over_rows() -> None:
    """Summed over many positions a scratch unit's change would grow with each of them."""
    algorithm = sensing()
    state = algorithm.encode(torch.zeros(1, 1, 1))
    new = algorithm.commit(state, Change(torch.full_like(state, 0.5), 5.0))
    memories = [plane.part == 1 and algorithm.memory[plane.unit] for plane in algorithm.layout.planes]
    assert not all(memories)
    assert new.flatten().tolist() == pytest.approx([0.5 if memory else 0.1 for memory in memories])


def test_overwrite_moves_the_weight_and_nothing_else() -> None:
    algorithm = sensing()
    codes = torch.tensor([plane.codes for plane in algorithm.layout.planes])
    state, weights = torch.randn(len(codes), 1, 3, 4), torch.randn(1, 3, 4)
    new = algorithm.overwrite(state, weights)
    torch.testing.assert_close(algorithm.decode(new), weights, rtol=1e-4, atol=1e-4)
    assert len(codes) > 1 and torch.equal(new[~codes], state[~codes])
    for dtype in (torch.float32, torch.bfloat16):  # what decode gave, in whatever precision it was stored
        same = algorithm.overwrite(state, algorithm.decode(state).to(dtype))
        assert torch.equal(same, state)


def test_own_messages_are_found_anew_and_damped(ticks: str) -> None:
    """Those of the state and the input that the learn ticks get: asinh of what the forward ticks say."""
    algorithm = with_own_messages()
    readable = Reference(algorithm.cell, *algorithm.protocol[:2], frozenset([0, 1]))
    planes = algorithm.encode(torch.randn(1, 3, 4))
    state = State(*algorithm.layout.expand(planes))
    x, e = torch.randn(5, 1, 3, dtype=torch.float64), torch.randn(5, 1, 4, dtype=torch.float64)
    y = readable.forward(state, x)
    assert y.shape == (5, 1, 4, 3) and y[..., 1:].abs().max() > 10
    sent = algorithm.on(ticks).send(planes, x)
    torch.testing.assert_close(torch.stack(sent, -1), y, rtol=1e-5, atol=1e-5)
    assert algorithm.on(ticks).forward(planes, x).is_contiguous()
    ours, message = algorithm.on(ticks).learn(planes, x, e, samples=1)
    theirs, wanted = readable.learn(state, x, e, torch.asinh(y[..., 1:]))
    theirs = algorithm.layout.compress(*theirs)
    close = {"rtol": 1e-5, "atol": 1e-6 * float(theirs[0].abs().max())}
    torch.testing.assert_close(ours.planes[0], theirs[0], **close)
    torch.testing.assert_close(message, wanted[..., 0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(algorithm.on(ticks).learn(planes, x, e, 1, sent)[0].planes[0], theirs[0], **close)
    silent, _ = readable.learn(state, x, e, torch.zeros_like(y[..., 1:]))
    assert not torch.allclose(algorithm.layout.compress(*silent)[0], theirs[0])


def test_own_messages_of_a_population() -> None:
    one = with_own_messages()
    two = replace(one, cell=Cell.stack([one.cell, one.cell._replace(U=one.cell.U * 2)]))
    state = one.encode(torch.randn(2, 3, 4))
    x, e = torch.randn(5, 2, 3, dtype=torch.float64), torch.randn(5, 2, 4, dtype=torch.float64)
    both, alone = (algorithm.decode(algorithm.learn(state, x, e, samples=5)[0].planes) for algorithm in (two, one))
    torch.testing.assert_close(both[0], alone[0], rtol=1e-5, atol=1e-6)
    assert not torch.allclose(both[1], alone[1], rtol=1e-3)


def test_a_tick_without_own_messages_reads_as_ever() -> None:
    """Fingerprints, which hash it, are in the checkpoints of runs."""
    assert repr(Tick(x=(0,), e=(1, 2))) == "Tick(x=(0,), e=(1, 2))"
    assert repr(Tick(own=(3,))) == "Tick(x=(), e=(), own=(3,))"


def test_stability_rules() -> None:
    """They are about c, not about the weight that a plane holds."""
    algorithm = replace(programs.backprop(), stability=Stability(state_clip=4.0, change_clamp=1.0))
    scale = algorithm.card["constants"]["scale"]
    state = torch.tensor([3.5, 0, 0, 0, -3.9]).view(1, 1, 5, 1) * scale

    def change() -> Change:
        return Change(torch.tensor([9.0, 2.0, 0.5, 0, -0.5]).view(1, 1, 5, 1) * scale, 1)

    new = algorithm.commit(state, change()) / scale
    assert new.flatten().tolist() == pytest.approx([4.0, 1.0, 0.5, 0, -4.0])
    some = algorithm.commit(
        state[:, :, :2], change()._replace(planes=change().planes[:, :, :1], inputs=torch.tensor([1]))
    )
    assert (some / scale).flatten().tolist() == pytest.approx([3.5, 1.0])
    free = replace(algorithm, stability=Stability()).commit(state, change()) / scale
    assert free.flatten()[0].item() == pytest.approx(12.5)


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
        (lambda a: {"tolerance": 0.0}, "tolerance should be between 0 and 1, got 0.0"),
        (lambda a: {"ticks": "nope"}, "ticks should be one of"),
    ],
)
def test_parts_that_do_not_fit(change, message: str) -> None:
    algorithm = programs.backprop()
    with pytest.raises(ValueError, match=message):
        replace(algorithm, **change(algorithm))
