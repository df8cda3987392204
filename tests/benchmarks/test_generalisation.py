"""The benchmark of generalisation: its figures against those by hand, its tasks, and as a user runs it."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path

import generalisation
import pytest
import torch
from cells import (
    Cell,
    Runs,
    cells,
    diverged,
    final_loss,
    first_step,
    of_cells,
    race,
    relative,
    settled,
    speed_up,
    trailing,
)
from generalisation import Ask, learn, optimize
from torch import Tensor
from unseen import ALPHABET, FROM_DIRECTORY, TASKS

from lightning_vsml.lab.datasets import DatasetError
from lightning_vsml.lab.ensembles import OPTIMIZERS, RATES


def runs(*losses: Sequence[float] | Tensor, accuracy: Sequence[Sequence[float]] | None = None) -> Runs:
    """One seed, a curve for each rate."""
    loss = torch.stack([torch.as_tensor(curve, dtype=torch.float32) for curve in losses])[:, None]
    right = torch.full_like(loss, math.nan) if accuracy is None else torch.tensor(accuracy)[:, None]
    return Runs(tuple(range(len(losses))), loss, right)


def test_the_best_rate_counts_for_each_window_and_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("comparison.BOUNDS", (0, 2))
    nan = math.nan
    optimizers = {
        "a": runs([4, 2, 9, 9], [5, 5, 1, nan], [6, 6, 3, 5], accuracy=[[0.1] * 4, [0.2] * 4, [0.3, 0.3, 0.1, 0.1]]),
        "b": runs([3, 5, 5, 5], [9, 9, 2, 4], [9, 9, 9, 9], accuracy=[[0.0] * 4, [0.5] * 4, [0.1] * 4]),
    }
    early, early_right, late, late_right = cells("t", optimizers, runs([2, 1, 5, 4], accuracy=[[0.25, 0.25, 0.5, 0.5]]))
    assert (early.window, early.rivals, early.edges, early.best) == ((0, 2), {"a": 3.0, "b": 4.0}, ("a", "b"), "a")
    assert (early.own, early.ratio, early.lead, early.ahead) == (1.5, 0.5, 0.5, True)
    assert (early_right.best, early_right.lead, early_right.ahead) == ("b", -0.25, False)
    assert (late.rivals, late.edges, late.lead, late.ahead) == ({"a": 4.0, "b": 3.0}, ("a",), -0.5, False)
    assert (late_right.lead, late_right.ahead) == (0.0, True)  # a tie
    assert [cell.figure for cell in cells("t", {"a": runs([1, 1, 1, 1])}, runs([1, 1, 1, 1]))] == ["loss", "loss"]


def test_one_rate_for_the_whole_run() -> None:
    one = settled(runs([4, 2, 9, 9], [5, 5, 1, math.nan], [6, 6, 3, 5], accuracy=[[0.1] * 4, [0.2] * 4, [0.3] * 4]))
    assert one.rates == (2,) and one.loss.tolist() == [[[6, 6, 3, 5]]]
    assert one.accuracy[0, 0, 0] == pytest.approx(0.3)


def test_what_is_said_of_cells() -> None:
    def cell(figure: str, best: float, own: float, window: tuple[int, int] = (0, 50)) -> Cell:
        return Cell("t", window, figure, {"a": best}, (), own)

    said = of_cells(
        [
            *(cell("loss", 1.0, own) for own in (0.5, 1.04, 1.2, math.inf)),
            *(cell("accuracy", 0.9, own) for own in (0.895, 0.8)),
            cell("loss", 1.0, 0.25, (50, 200)),
        ]
    )
    assert (said["cells ahead"], said["cells ahead by loss"], said["cells ahead by accuracy"]) == (
        *("29% of 7", "40% of 5", "0% of 2"),
    )
    assert said["cells 5 % of the loss or 1 point behind"] == "3"
    expected = sum(map(math.log, (0.5, 1.04, 1.2, 10))) / 4
    assert said["mean log(loss / best tuned), 0-50"] == f"{expected:+.3f}"
    assert said["mean log(loss / best tuned), 50-200"] == f"{math.log(0.25):+.3f}"
    assert (said["largest shortfall of loss"], said["- where, loss"]) == ("inf %", "t, 0-50")
    assert said["largest shortfall of accuracy"] == "10.00 points"


def test_smoothing_and_first_steps() -> None:
    two_seeds = torch.tensor([[[4.0, 2, 0, 0], [0, 2, 0, 4]]])
    smooth = trailing(two_seeds, 2)
    assert smooth.tolist() == [[2, 1, 1]]
    assert first_step(smooth, 1.0, 2, falling=True) == 3  # the mean of steps 2 and 3
    assert first_step(smooth, 0.5, 2, falling=True) == math.inf
    assert first_step(smooth, 2.0, 2, falling=False) == 2


def test_speed_up_final_loss_and_divergence() -> None:
    steps = torch.arange(1.0, 41)  # means over 2
    adam = runs(41 - steps, torch.full((40,), math.nan))
    assert final_loss(adam) == 2.5  # of the last 4
    assert speed_up(adam, adam) == 1
    assert speed_up(runs(torch.cat([41 - 4 * steps[:11], torch.ones(29)])), adam) == pytest.approx(40 / 11)
    assert speed_up(runs(torch.full((40,), 2.0)), adam) == 0
    assert relative(runs(torch.full((40,), 5.0)), adam) == 2
    assert diverged(adam) == 1
    assert [diverged(runs([1, peak])) for peak in (9, 10, 11, math.inf)] == [0, 0, 1, 1]


def test_the_race_to_adam_s_accuracy() -> None:
    up = (torch.arange(1.0, 121) / 120).tolist()
    adam = runs([0.0] * 120, [0.0] * 120, accuracy=[up, [0.1] * 120])
    twice = [min(2 * value, 1.0) for value in up]
    assert race(adam, adam) == 100
    assert race(runs([0.0] * 120, accuracy=[twice]), adam) == 55  # by the mean of steps 36 to 55: 91 / 120
    assert race(runs([0.0] * 120, accuracy=[[0.1] * 120]), adam) == math.inf


def test_tasks() -> None:
    """All but those that need a data directory: networks take the data, and seeds decide."""
    assert len(TASKS) >= 16 and len(ALPHABET) <= 60 and set(OPTIMIZERS) == set(RATES)
    for task in TASKS.values():
        assert sum(parameter.numel() for parameter in task.module(0).parameters()) > 0
        if task.load in FROM_DIRECTORY:
            continue
        data = task.load(Path())
        (x, y), (again, _) = (next(task.batches(data, 3, 1)) for _ in range(2))
        assert len(x) == task.batch and torch.equal(x, again)
        with torch.no_grad():
            first, same, other = (task.judge(task.module(seed)(x), y) for seed in (1, 1, 2))
        assert first[0].isfinite() and first[1].isnan() == (task.family == "regression")
        assert first[0] == same[0] != other[0]


IRIS, DIABETES = "iris, 4-8-3", "diabetes, targets standardised, 10-16-1"


def test_an_algorithm_runs_the_same_network_on_the_same_batches() -> None:
    """As backprop follows SGD, and the optimizers' ensemble does at that rate."""
    ask = Ask(IRIS, seed=1, steps=30, data_dir=Path())
    own = learn(ask._replace(algorithm="backprop", factor=1.25))  # of 0.1
    theirs = optimize(ask)["sgd"]
    place = RATES["sgd"].index(0.125)
    torch.testing.assert_close(own.loss, theirs.loss[:, place], rtol=1e-3, atol=1e-4)
    assert torch.equal(own.accuracy, theirs.metric[:, place]) and own.cost > 0


def test_a_run_is_infinite_from_where_it_diverges(monkeypatch: pytest.MonkeyPatch) -> None:
    def steep(outputs: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:  # within float32's reach, but not its derivative
        loss, accuracy = TASKS[IRIS].judge(outputs, y)
        return (1e37 * loss).where(loss.isfinite(), loss) ** 1.02, accuracy

    monkeypatch.setitem(TASKS, "steep", TASKS[IRIS]._replace(judge=steep))
    ask = Ask(IRIS, seed=0, steps=20, data_dir=Path(), algorithm="backprop")
    for name, factor, accuracy in ((DIABETES, 1e36, math.nan), ("steep", 1e36, 0.0)):
        own = learn(ask._replace(task=name, factor=factor))
        assert own.loss[0].isfinite() and own.loss[-1] == math.inf
        assert float(own.accuracy[-1]) == pytest.approx(accuracy, nan_ok=True)
        assert diverged(Runs((1.0,), own.loss[None, None], own.accuracy[None, None])) == 1


def test_a_run_of_two_tasks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--tasks", "iris*", "diabetes, targets s*", "--algorithm", "backprop", "--factors", "2"]
    arguments += ["--seeds", "2", "--steps", "102", "--cache", str(tmp_path / "cache")]
    generalisation.main([*arguments, "--csv", str(tmp_path / "all.csv"), "--picture", str(tmp_path / "all.png")])
    said = capsys.readouterr().out
    assert (
        "cells ahead of adam, one rate a task" in said
        and "steps to best Adam's accuracy at 100" in said
        and IRIS in said
    )
    assert (tmp_path / "all.png").read_bytes()[:4] == b"\x89PNG"

    rows = list(csv.DictReader((tmp_path / "all.csv").read_text().splitlines()))
    assert len(rows) == 2 * 2 * (4 * 10 + 2)  # tasks, windows, rates of optimizers and factors of the algorithm
    found = {tuple(row[c] for c in ("task", "learner", "rate", "window")): row for row in rows}
    slow, fast = found[IRIS, "backprop", "1", "0-50"], found[IRIS, "backprop, 2 lr", "2", "0-50"]
    sgd = {rate: float(found[IRIS, "sgd", rate, "0-50"]["loss"]) for rate in ("0.0625", "0.125", "0.25")}
    assert sgd["0.0625"] > float(slow["loss"]) > sgd["0.125"] > float(fast["loss"]) > sgd["0.25"]  # 0.1 and 0.2
    assert math.isnan(float(found[DIABETES, "backprop", "1", "0-50"]["accuracy"]))

    kept = list((tmp_path / "cache").iterdir())
    assert len(kept) == 4
    for file in kept:  # what is kept is what counts
        curves = torch.load(file, weights_only=True)
        torch.save({kind: (loss * 0, right) for kind, (loss, right) in curves.items()}, file)
    generalisation.main([*arguments, "--tasks", "iris*", "--factors"])
    assert "0% of 2" in capsys.readouterr().out


def test_what_cannot_be_run(tmp_path: Path) -> None:
    for arguments, message in (
        (["--tasks", "none such"], "no task is left; there are Fashion"),
        (["--algorithm", "none_such"], "none_such"),
        (["--algorithm", "vsml_scratch", "--factors", "2"], "no learning rate"),
        (["--algorithm", "backprop", "backprop"], "different names"),
    ):
        with pytest.raises(SystemExit, match=message):
            generalisation.main([*arguments, "--data-dir", str(tmp_path)])


def test_without_fashion_mnist(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def missing(data_dir: Path) -> None:
        raise DatasetError(f"not in {data_dir}")

    monkeypatch.setattr(generalisation, "fashion", missing)
    with pytest.raises(SystemExit, match="no task is left"):
        generalisation.main(["--tasks", "Fashion*", "--data-dir", str(tmp_path)])
    assert "Without Fashion-MNIST: not in" in capsys.readouterr().out
