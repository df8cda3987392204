"""Tasks of few shots, and meta-training on them."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from lightning_vsml.lab import datasets
from lightning_vsml.meta import Digits, Sinusoids
from lightning_vsml.meta.sequences.outer import bptt
from lightning_vsml.meta.sequences.passing import unroll

SMALL = {"messages": 2, "hidden": (6, 5), "examples": 4, "queries": 5, "learners": 3}


def test_sinusoids_are_as_the_paper_has_them() -> None:
    shots = Sinusoids(**SMALL).shots(400, torch.Generator().manual_seed(0))  # type: ignore[arg-type]
    assert shots.x.shape == shots.target.shape == (5, 4, 400, 1) and shots.query.shape == (5, 400, 1)
    x, y = torch.cat([shots.x.flatten(0, 1), shots.query_x]), torch.cat([shots.target.flatten(0, 1), shots.query])
    assert float(x.min()) >= -5 and float(x.max()) <= 5 and float(y.abs().max()) <= 0.5
    assert float(y.var()) == pytest.approx(Sinusoids.unit, rel=0.2)
    basis = torch.stack([x[:, 7, 0].sin(), x[:, 7, 0].cos()], 1)
    fit = torch.linalg.lstsq(basis, y[:, 7]).solution
    torch.testing.assert_close(basis @ fit, y[:, 7])
    assert 0.1 <= float(fit.norm()) <= 0.5 and float(fit[1]) >= 0  # phases from 0 to pi


@pytest.mark.parametrize("initial", ["random", "trained"])
@pytest.mark.parametrize("carry", [0, 4])
def test_gradients_are_those_of_the_whole_unroll(initial: str, carry: int) -> None:
    """Against differences, in float64."""
    problem = Sinusoids(initial=initial, carry=carry, steps=2, **SMALL)  # type: ignore[arg-type]
    torch.manual_seed(1)
    V = {n: t.double() + 0.1 * torch.rand(t.shape).double() for n, t in problem.start(0).items()}  # off the kinks
    shots = problem.episode(0, 0.0, 0).shots
    double = type(shots)(*(part.double() for part in shots))

    def loss(trained: dict[str, Tensor]) -> Tensor:
        algorithm, states = problem.learners_of(trained, 3, 0)
        return unroll(problem.net, algorithm, [state.double() for state in states], double)[0][1:].mean()

    trained = {name: tensor.requires_grad_() for name, tensor in V.items() if problem.is_trained(name)}
    gradients = torch.autograd.grad(loss({**V, **trained}), list(trained.values()), allow_unused=True)
    for (name, tensor), gradient in zip(trained.items(), gradients, strict=True):
        direction = torch.randn(tensor.shape, generator=torch.Generator().manual_seed(1)).double()
        with torch.no_grad():
            sides = [float(loss({**V, name: tensor + sign * 1e-6 * direction})) for sign in (1, -1)]
        slope = 0.0 if gradient is None else float((gradient * direction).sum())
        assert slope == pytest.approx((sides[0] - sides[1]) / 2e-6, rel=1e-3, abs=1e-7), name


def test_meta_training_learns() -> None:
    problem = Sinusoids(carry=4, initial="trained", **SMALL)  # type: ignore[arg-type]
    V = problem.start(0)
    trained = {name: tensor.requires_grad_() for name, tensor in V.items() if problem.is_trained(name)}
    fixed = {name: tensor for name, tensor in V.items() if name not in trained}
    optimizer = torch.optim.Adam(trained.values(), 3e-3)
    before = problem.held_out({**trained, **fixed})["loss_5"]
    for number in range(30):
        found = bptt(trained, fixed, problem.episode(number, 0.0, 0), (), 0)
        for name, parameter in trained.items():
            parameter.grad = found.gradients[name]
        optimizer.step()
    after = problem.held_out({**trained, **fixed})
    assert after["loss_5"] < 0.07 < before and after["gain"] > 2.6


def test_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small networks at first; validation images are no training images."""
    x = torch.arange(6000.0).view(-1, 1, 1, 1).expand(-1, 1, 28, 28) / 6000
    images = datasets.Images("mnist", x, torch.arange(6000) % 10, x[:0], torch.zeros(0).long())
    monkeypatch.setattr(datasets, "load", lambda *_: images)
    problem = Digits(data_dir=tmp_path, small=0.5, carry=0, steps=8, **SMALL)  # type: ignore[arg-type]
    early, late = problem.episode(0, 0.0, 0), problem.episode(0, 0.5, 0)
    assert early.shots.x.shape == (2, 4, 24, 36) and late.shots.x.shape == (8, 4, 3, 144)
    assert problem.episode(0, 0.4, 0).shots.x.shape == (8, 4, 24, 36)
    assert early.net.sizes == (36, 16, 10) and late.net.sizes == (144, 50, 10)
    for held_out, low, high in ((False, 0, 1000), (True, 1000, 6000)):
        shots = problem.shots(9, torch.Generator().manual_seed(0), held_out)
        numbers = (shots.x[..., 0] * 6000).round()
        assert low <= float(numbers.min()) and float(numbers.max()) < high
        assert torch.equal(numbers.long() % 10, shots.target)
    V = problem.start(0)
    for episode in (early, late):
        loss, _ = episode.run(V, (), 0)
        assert 0.9 < float(loss) < 1.5  # a unit is chance
    found = problem.held_out(V)
    assert set(found) == {*(f"loss_{step}" for step in range(9)), "accuracy", "gain"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"messages": 0}, "messages should be at least 1, got 0"),
        ({"carry": 2}, "carry should be 0, or more than messages, 8"),
        ({"initial": "zero"}, "initial should be 'random' or 'trained', got 'zero'"),
    ],
)
def test_settings_out_of_range(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sinusoids(**settings)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="small should be from 0 to 1, got 2"):
        Digits(small=2)
