"""The function families of Table 1, against their formulas."""

import pytest
import torch

from lightning_vsml.meta.draw import Draw
from lightning_vsml.meta.sequences.functions import FAMILIES, Functions, streams


def drawn(family: str, functions: int = 500, mappings: int = 1, length: int = 100) -> tuple[torch.Tensor, torch.Tensor]:
    return streams(family, Draw(torch.Generator().manual_seed(3)), functions, mappings, length)


def test_boolean_functions_are_all_sixteen() -> None:
    x, y = drawn("boolean")
    assert set(x.unique().tolist()) == set(y.unique().tolist()) == {0.0, 1.0}
    tables = set()
    for function in range(500):
        table = {}
        for (a, b), value in zip(x[:, function].tolist(), y[:, function].tolist(), strict=True):
            assert table.setdefault((a, b), value) == value  # it is a function
        tables.add(tuple(table[at] for at in ((0, 0), (0, 1), (1, 0), (1, 1))))
    assert len(tables) == 16 and {(0, 1, 1, 0), (1, 0, 0, 1)} < tables  # XOR and its negation


def test_semilinear_functions_are_a_neuron() -> None:
    x, y = drawn("semilinear")
    assert float(x.abs().max()) <= 1
    logits = (2 * y - 1).double().atanh()
    ones = torch.ones(100, 1).double()
    for function in range(5):
        inputs = torch.cat([x[:, function].double(), ones], 1)
        w = torch.linalg.lstsq(inputs, logits[:, function]).solution
        torch.testing.assert_close(inputs @ w, logits[:, function], atol=1e-4, rtol=1e-4)
        assert float(w.abs().max()) <= 1.001


def test_quadratic_functions() -> None:
    x, y = drawn("quadratic")
    value = (y - 0.5).double() / 0.3 * 6
    for function in range(5):
        a, b = x[:, function].double().unbind(-1)
        inputs = torch.stack([a * a, b * b, a * b, a, b, torch.ones(100).double()], 1)
        w = torch.linalg.lstsq(inputs, value[:, function]).solution
        torch.testing.assert_close(inputs @ w, value[:, function], atol=1e-4, rtol=1e-4)
        assert float(w.abs().max()) <= 1.001
    assert float(y.min()) >= 0.2 and float(y.max()) <= 0.8


@pytest.mark.parametrize("family", FAMILIES)
def test_variance_is_what_a_guess_of_the_mean_loses(family: str) -> None:
    _, y = drawn(family, 4000)
    assert float((y - y.mean()).square().mean()) == pytest.approx(FAMILIES[family].variance, rel=0.05)


@pytest.mark.parametrize("family", FAMILIES)
def test_functions_change_along_a_stream(family: str) -> None:
    x, y = drawn(family, 50, mappings=2, length=40)
    assert x.shape == (80, 50, 2) and y.shape == (80, 50)
    problem = Functions(family, units=4, length=(10, 40), mappings=3, functions=6, segment=16)
    for number in range(10):
        episode = problem.episode(number, 0.0, 0)
        assert episode.segments == -(-len(episode.x) // 16) and episode.x.shape[1] == 6
        assert torch.equal(episode.y, problem.episode(number, 0.0, 0).y)
    V = problem.start(0)
    loss, learner = episode.run(V, episode.fresh(V), 0)
    assert 0.3 < float(loss) < 30 and learner.state.shape == (8, 6, 1, 1)


def test_held_out_functions_are_others() -> None:
    problem = Functions("semilinear", units=4, length=(10, 40))
    found = problem.held_out(problem.start(0))
    assert set(found) == {"mse_fresh", "mse_carried", "gain"} and found == problem.held_out(problem.start(0))


def test_settings_out_of_range() -> None:
    with pytest.raises(ValueError, match="family should be one of 'boolean', 'semilinear', 'quadratic', got 'cubic'"):
        Functions("cubic")
    with pytest.raises(ValueError, match="length should be two numbers"):
        Functions(length=(20, 10))
    with pytest.raises(ValueError, match="units should be at least 1"):
        Functions(units=0)
