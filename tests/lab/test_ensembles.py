"""Ensembles learn as torch's optimizers do, each copy as if alone."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from lightning_vsml.lab.ensembles import (
    OPTIMIZERS,
    RATES,
    SGD,
    Ensemble,
    Judge,
    binary,
    classification,
    regression,
    tuned,
)

STEPS, GRID = 12, (0.003, 0.02, 0.1)
THEIRS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "momentum": lambda parameters, lr: torch.optim.SGD(parameters, lr=lr, momentum=0.9),
    "adam": torch.optim.Adam,
    "adamw-cosine": torch.optim.AdamW,
}


def net() -> nn.Module:
    torch.manual_seed(0)
    layers = (nn.Conv2d(1, 3, 3, 2, 1), nn.BatchNorm2d(3, track_running_stats=False), nn.ReLU(), nn.Flatten())
    return nn.Sequential(*layers, nn.Linear(12, 5), nn.LayerNorm(5), nn.Tanh(), nn.Linear(5, 4)).double()


def batches() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(6, 1, 4, 4, generator=generator).double(), torch.randint(4, (6,), generator=generator))
        for _ in range(STEPS)
    ]


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_each_rate_is_torch_s_optimizer(kind: str) -> None:
    module = net()
    before = {name: parameter.clone() for name, parameter in module.named_parameters()}
    together = OPTIMIZERS[kind](Ensemble(module, classification, len(GRID)), GRID, STEPS)
    judged = [together.step(x, y) for x, y in batches()]
    assert all(torch.equal(before[name], parameter) for name, parameter in module.named_parameters())
    curves = tuned(module, classification, batches(), kind, GRID, steps=STEPS)
    torch.testing.assert_close(curves.loss, torch.stack([loss for loss, _ in judged]), rtol=0, atol=0)
    for place, lr in enumerate(GRID):
        alone = net()
        optimizer = THEIRS[kind](alone.parameters(), lr=lr)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS) if "cosine" in kind else None
        for (x, y), (loss, metric) in zip(batches(), judged, strict=True):
            outputs = alone(x)
            own = nn.functional.cross_entropy(outputs, y)
            torch.testing.assert_close(loss[place], own.detach(), rtol=1e-8, atol=1e-8)
            assert float(metric[place]) == float((outputs.argmax(1) == y).float().mean())
            optimizer.zero_grad()
            own.backward()
            optimizer.step()
            if schedule:
                schedule.step()
        for name, parameter in alone.named_parameters():
            stacked = together.ensemble.parameters[name][place]
            torch.testing.assert_close(stacked, parameter.detach(), rtol=1e-8, atol=1e-8)


def test_parameters_are_the_caller_s_to_move() -> None:
    ensemble = Ensemble(net(), classification, 2)
    (x, y), *_ = batches()
    ensemble.parameters["7.bias"][1] += torch.arange(4)
    moved = {name: parameter[1] for name, parameter in ensemble.parameters.items()}
    expected = torch.stack([net()(x), functional_call(net(), moved, (x,))]).detach()
    torch.testing.assert_close(ensemble.outputs(x), expected)
    gradients, loss, metric = ensemble.gradients(x, y)
    assert {name: g.shape for name, g in gradients.items()} == {n: p.shape for n, p in ensemble.parameters.items()}
    assert loss.shape == metric.shape == (2,) and loss[0] != loss[1]


@pytest.mark.parametrize(
    ("judge", "outputs", "y", "loss", "metric"),
    [
        (classification, [[0.0, 0.0], [0.0, 0.0]], [0, 1], 0.693147, 0.5),
        (classification, [[[0.0, 9.0]], [[9.0, 0.0]]], [[1], [0]], 0.000123, 1.0),  # a sequence
        (binary, [[0.0], [9.0]], [[0.0], [1.0]], 0.346635, 1.0),
        (regression, [[1.0], [3.0]], [[0.0], [1.0]], 2.5, float("nan")),
    ],
)
def test_judges(judge: Judge, outputs: list[object], y: list[object], loss: float, metric: float) -> None:
    found = judge(torch.tensor(outputs), torch.tensor(y))
    assert [float(value) for value in found] == pytest.approx([loss, metric], abs=1e-5, nan_ok=True)


def test_grids_have_ten_rates() -> None:
    assert set(RATES) == set(OPTIMIZERS) and all(len(set(rates)) == 10 for rates in RATES.values())


def test_own_errors() -> None:
    with pytest.raises(ValueError, match=r"track_running_stats=False in \['1'\]"):
        Ensemble(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), classification, 2)
    with pytest.raises(ValueError, match="Flatten has no trainable parameters"):
        Ensemble(nn.Flatten(), classification, 2)
    with pytest.raises(ValueError, match="for each of 2 copies, got 3"):
        SGD(Ensemble(nn.Linear(2, 2), classification, 2), GRID, STEPS)
    with pytest.raises(ValueError, match="one of sgd, momentum, adam, adamw-cosine, got 'lion'"):
        tuned(nn.Linear(2, 2), classification, [], "lion", steps=1)
    with pytest.raises(ValueError, match="no batches"):
        tuned(nn.Linear(2, 2), classification, [], "sgd", steps=1)
