"""Emergent algorithms: what a learning step is, and that files keep it."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lightning_vsml import Cell, checkpoints
from lightning_vsml.algorithms import emergent
from lightning_vsml.algorithms.emergent import Emergent, initial
from lightning_vsml.ticks.dense import tick


@pytest.fixture
def algorithm() -> Emergent:
    return Emergent(
        "scratch", initial(8, 3).__class__(*(p.double() for p in initial(8, 3))), card={"kind": "meta-learned"}
    )


def test_states_begin_as_noise_that_follows_from_the_weights(algorithm: Emergent) -> None:
    weights = torch.randn(1, 40, 30)
    state = algorithm.begin(weights)
    assert state.shape == (16, 1, 40, 30) and state.dtype == torch.float64
    assert float(state.std()) == pytest.approx(algorithm.std, rel=0.05)
    assert torch.equal(state, algorithm.begin(weights.double()))
    assert not torch.equal(state, algorithm.begin(weights + 1e-6))


def test_a_learning_step(algorithm: Emergent) -> None:
    """Forward messages leave no trace; a learning tick of every row, and the mean of what it changes."""
    state, x = algorithm.begin(torch.randn(1, 5, 4)), algorithm.enter(torch.randn(6, 1, 5).double())
    e = torch.randn(6, 1, 4).double()
    (sent,) = algorithm.send(state, x)
    change, back = algorithm.learn(state, x, algorithm.feedback(e), samples=6)
    after, one = [], algorithm.cell
    for row in range(6):
        quiet = torch.zeros(1, 4, 3).double()
        torch.testing.assert_close(sent[row], tick(one, state, x[row], quiet, "reference").forward)
        behind = torch.stack([e[row], (e[row] > 0).double(), torch.ones(1, 4).double()], -1)
        ticked = tick(one, state, x[row], behind, "reference")
        torch.testing.assert_close(back[row], ticked.backward)
        after.append(ticked.state)
    torch.testing.assert_close(algorithm.commit(state, change), torch.stack(after).mean(0))


def test_rows_are_computed_a_few_at_a_time(algorithm: Emergent, monkeypatch: pytest.MonkeyPatch) -> None:
    state, x = algorithm.begin(torch.randn(1, 5, 4)), algorithm.enter(torch.randn(7, 1, 5).double())
    e = algorithm.feedback(torch.randn(7, 1, 4).double())
    whole = (algorithm.send(state, x)[0], *algorithm.learn(state, x, e, 7))
    monkeypatch.setattr(emergent, "STATES", 2 * state.numel())
    parts = (algorithm.send(state, x)[0], *algorithm.learn(state, x, e, 7))
    torch.testing.assert_close(whole[0], parts[0])
    torch.testing.assert_close(whole[1].planes, parts[1].planes)
    torch.testing.assert_close(whole[2], parts[2])


def test_groups_learn_by_themselves(algorithm: Emergent) -> None:
    state, x = algorithm.begin(torch.randn(2, 5, 4)), algorithm.enter(torch.randn(3, 2, 5).double())
    e = algorithm.feedback(torch.randn(3, 2, 4).double())
    change, back = algorithm.learn(state, x, e, 3)
    for g in (0, 1):
        own, message = algorithm.learn(state[:, g : g + 1], x[:, g : g + 1], e[:, g : g + 1], 3)
        torch.testing.assert_close(own.planes, change.planes[:, g : g + 1])
        torch.testing.assert_close(message, back[:, g : g + 1])


def test_a_single_sample_is_not_averaged(algorithm: Emergent) -> None:
    state, x = algorithm.begin(torch.randn(1, 5, 4)), algorithm.enter(torch.randn(1, 1, 5).double())
    e = algorithm.feedback(torch.randn(1, 1, 4).double())
    expected = algorithm.learning_tick(state, x[0], e[0]).state
    torch.testing.assert_close(algorithm.commit(state, algorithm.learn(state, x, e, 1)[0]), expected)


@pytest.mark.parametrize("messages", [1, 2, 8])
def test_messages_of_any_size(messages: int) -> None:
    algorithm = Emergent("", initial(4, messages))
    x, e = algorithm.enter(torch.randn(2, 1, 3)), algorithm.feedback(torch.randn(2, 1, 5))
    assert x.shape == (2, 1, 3, messages) and e.shape == (2, 1, 5, messages)
    assert algorithm.send(algorithm.begin(torch.zeros(1, 3, 5)), x)[0].shape == e.shape


def test_a_checkpoint_keeps_it(algorithm: Emergent, tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    checkpoints.save(algorithm, path, made_by={"command": "a test"})
    loaded = checkpoints.load(path)
    assert isinstance(loaded, Emergent) and loaded.name == "mine" and loaded.card["family"] == "emergent"
    assert loaded.fingerprint == algorithm.fingerprint != replace(algorithm, std=0.2).fingerprint
    with pytest.raises(checkpoints.CheckpointError, match=r"family 'emergent', but expected was .* 'cellular'"):
        checkpoints.load(path, kind=checkpoints.LearningAlgorithm)


def test_parts_that_do_not_fit() -> None:
    cell = initial(4, 2)
    with pytest.raises(ValueError, match="P_f should send as many numbers as V takes, 2, got 1"):
        Emergent("", Cell(*cell[:4], cell.P_f[:, :1], cell.P_b))
    with pytest.raises(ValueError, match="std should be a finite number"):
        Emergent("", cell, std=-1.0)
    with pytest.raises(ValueError, match="ticks should be one of 'auto', 'native'"):
        Emergent("", cell, ticks="products")
    with pytest.raises(ValueError, match="exact ticks, so there is no tolerance"):
        Emergent("scratch", cell).on(tolerance=1e-3)
