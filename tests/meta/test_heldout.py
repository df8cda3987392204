"""Held-out tasks and their baselines, against torch.optim by hand."""

import math
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from lightning_vsml import programs
from lightning_vsml.meta import Tasks, heldout
from lightning_vsml.meta.figure import draw
from lightning_vsml.meta.heldout import HeldOut, Standing

TASKS = [Tasks(datasets=["clusters"], hidden=(4, 6), batch=(4, 6), examples=100).sample(n, {}) for n in range(2)]
RATES = {"SGD": (torch.optim.SGD, (0.01, 0.3)), "Adam": (torch.optim.Adam, (0.001, 0.02))}


@pytest.fixture
def standing(monkeypatch: pytest.MonkeyPatch) -> HeldOut:
    monkeypatch.setattr(heldout, "RATES", RATES)
    return HeldOut(TASKS, steps=15, seeds=2)


def by_hand(task: object, optimizer: type[torch.optim.Optimizer], lr: float, seed: int) -> torch.Tensor:
    """Online accuracy of one network of torch modules; all of these tasks have no images."""
    torch.manual_seed(task.seed + seed)
    sizes = [task.x.shape[1], *(layer.units for layer in task.network.layers)]
    linears = [nn.Linear(a, b) for a, b in pairwise(sizes)]
    running = optimizer([p for linear in linears for p in linear.parameters()], lr=lr)
    right = []
    for x, y in task.batches(15, 2):
        out = x[:, seed]
        for place, linear in enumerate(linears):
            out = linear(task.network.activation(out) if place else out)
        running.zero_grad()
        cross_entropy(out, y[:, seed]).backward()
        running.step()
        right.append((out.argmax(-1) == y[:, seed]).float().mean())
    return torch.stack(right)


def test_baselines_are_single_runs_with_the_best_rate_for_each_task(standing: HeldOut) -> None:
    assert set(standing.baselines) == {"SGD", "Adam"}
    for name, (optimizer, rates) in RATES.items():
        assert standing.baselines[name].shape == (2, 15)
        for place, task in enumerate(TASKS):
            runs = [sum(by_hand(task, optimizer, lr, seed) for seed in range(2)) / 2 for lr in rates]
            best = max(runs, key=lambda run: float(run.mean()))
            torch.testing.assert_close(standing.baselines[name][place], best)


def test_backprop_stands_where_sgd_with_its_rate_stands(standing: HeldOut, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heldout, "RATES", {"SGD": (torch.optim.SGD, (0.3,))})
    judged = standing.judge(programs.backprop(lr=0.3))
    torch.testing.assert_close(judged.accuracy, judged.baselines["SGD"])
    assert judged.gain == pytest.approx(0, abs=1e-6)


def test_the_gain_is_positive_for_what_is_better_than_the_best_baseline() -> None:
    weak, strong, ours = (torch.full((3, 40), value) for value in (0.5, 0.7, 0.9))
    better = Standing(ours, {"SGD": weak, "Adam": strong})
    assert better.gain == pytest.approx(math.log(0.305 / 0.105), rel=1e-4)
    assert Standing(weak, {"SGD": strong}).gain == pytest.approx(-math.log(0.505 / 0.305), rel=1e-4)
    assert Standing(torch.ones(1, 40), {"SGD": weak}).gain == pytest.approx(math.log(0.505 / 0.005), rel=1e-3)


def test_early_and_late_steps_count_alike() -> None:
    """Three windows of 24 steps: 2, 4 and 18 long."""
    base = torch.full((1, 24), 0.5)
    for first, last in ((0, 2), (2, 6), (6, 24)):
        ours = base.clone()
        ours[:, first:last] = 0.9
        assert Standing(ours, {"SGD": base}).gain == pytest.approx(math.log(0.505 / 0.105) / 3, rel=1e-4)


@pytest.mark.parametrize("steps", [3, 4, 11, 12])
def test_short_runs_have_a_gain(steps: int) -> None:
    base, ours = torch.full((2, steps), 0.5), torch.full((2, steps), 0.6)
    assert Standing(ours, {"SGD": base}).gain == pytest.approx(math.log(0.505 / 0.405), rel=1e-4)


@pytest.mark.parametrize("tasks", [1, 6])
def test_the_figure_has_a_panel_for_each_task(tasks: int) -> None:
    curves = torch.rand(tasks, 9)
    figure = draw(Standing(curves, {"SGD": curves / 2, "Adam": curves / 3}), [f"task {n}" for n in range(tasks)])
    panels = [panel for panel in figure.axes if panel.get_title()]
    assert [panel.get_title() for panel in panels] == [f"task {n}" for n in range(tasks)]
    assert all(len(panel.lines) == 3 for panel in panels)
    smooth = torch.tensor(panels[0].lines[2].get_ydata())
    want = torch.stack([curves[0, max(0, n - n // 6) : n + n // 6 + 1].mean() for n in range(9)])
    torch.testing.assert_close(smooth, want)
