"""The Meta RNN: a 1 x 1 grid of an emergent algorithm, which is torch's LSTM."""

from pathlib import Path

import pytest
import torch
from torch import nn

from lightning_vsml import VSMLLearner, attach, checkpoints
from lightning_vsml.algorithms.emergent import Emergent, initial
from lightning_vsml.algorithms.meta_rnn import MetaRNN


@pytest.fixture
def algorithm() -> MetaRNN:
    cell = initial(8, 3, seed=4)
    cell = cell._replace(U=cell.U[:1], P_b=cell.P_b[:, :1])
    cell = type(cell)(*(parameter.double() for parameter in cell))
    return MetaRNN("learner", cell, std=0.0, card={"kind": "meta-learned"})


def test_it_is_the_emergent_family_with_one_input_and_one_output(algorithm: MetaRNN) -> None:
    """Theorem 1 of arXiv 2012.14905 as it is used: A = B = 1, one tick for every example."""
    x, y = torch.rand(30, 5, 2).double(), torch.rand(30, 5).double()
    predicted, after = algorithm.run(algorithm.fresh(5), x, y)
    emergent = Emergent("", algorithm.cell)
    state, previous = torch.zeros(16, 5, 1, 1).double(), torch.zeros(5).double()
    for step in range(30):
        told = torch.cat([x[step], previous.unsqueeze(-1)], -1).unsqueeze(1)
        ticked = emergent.learning_tick(state, told, torch.zeros(5, 1, 1).double())
        torch.testing.assert_close(predicted[step], ticked.forward[:, 0, 0].sigmoid(), rtol=1e-6, atol=1e-6)
        state, previous = ticked.state, y[step]
    torch.testing.assert_close(after.state, state, rtol=1e-6, atol=1e-6)


def test_it_is_torchs_lstm(algorithm: MetaRNN) -> None:
    cell = algorithm.cell
    theirs = nn.LSTM(3, 8).double()
    with torch.no_grad():
        for parameter, own in zip(theirs.parameters(), (cell.V.T, cell.W.T, cell.b, 0 * cell.b), strict=True):
            parameter.copy_(own)
    x, y = torch.rand(20, 4, 2).double(), torch.rand(20, 4).double()
    told = torch.cat([x, torch.cat([torch.zeros(1, 4), y[:-1]]).unsqueeze(-1)], -1)
    expected = (theirs(told)[0] @ cell.P_f[:, 0]).sigmoid()
    torch.testing.assert_close(algorithm.run(algorithm.fresh(4), x, y)[0], expected, rtol=1e-9, atol=1e-9)


def test_a_stream_in_parts(algorithm: MetaRNN) -> None:
    x, y = torch.rand(20, 3, 2).double(), torch.rand(20, 3).double()
    whole, end = algorithm.run(algorithm.fresh(3), x, y)
    first, learner = algorithm.run(algorithm.fresh(3), x[:7], y[:7])
    second, last = algorithm.run(learner, x[7:], y[7:])
    torch.testing.assert_close(torch.cat([first, second]), whole)
    torch.testing.assert_close(last.state, end.state)


def test_a_prediction_does_not_know_its_own_value(algorithm: MetaRNN) -> None:
    x, y = torch.rand(9, 2, 2).double(), torch.rand(9, 2).double()
    other = y.clone()
    other[5] += 1
    one, two = (algorithm.run(algorithm.fresh(2), x, values)[0] for values in (y, other))
    assert torch.equal(one[:6], two[:6]) and not torch.allclose(one[6], two[6])


def test_a_checkpoint_keeps_it(algorithm: MetaRNN, tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    checkpoints.save(algorithm, path, made_by={"command": "a test"})
    loaded = checkpoints.load(path)
    assert isinstance(loaded, MetaRNN) and loaded.fingerprint == algorithm.fingerprint
    assert loaded.fingerprint != Emergent("", algorithm.cell, 0.0).fingerprint


def test_it_is_no_algorithm_for_a_model(algorithm: MetaRNN) -> None:
    for use in (lambda: attach(nn.Linear(2, 1), algorithm), lambda: VSMLLearner(algorithm)):
        with pytest.raises(ValueError, match=r"'learner' is a learner by itself.*algorithm\.run\(learner, x, y\)"):
            use()
    with pytest.raises(ValueError, match=r"expects inputs \(steps, learners, 2\).*got \(4, 1, 3\)"):
        algorithm.run(algorithm.fresh(1), torch.rand(4, 1, 3), torch.rand(4, 1))
