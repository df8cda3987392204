"""The search, and the command that runs it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import Module, classification, mlp, trainer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_vsml import VSMLLearner, checkpoints, datasets
from lightning_vsml.algorithms.adaptive import Coordinates, adaptive
from lightning_vsml.meta import __main__ as command
from lightning_vsml.meta.wide import Distribution, WideModule
from lightning_vsml.meta.wide.generation import Generation, Settings, moved
from lightning_vsml.meta.wide.objective import BEST, WORST, against_tuned, compared, judge, windows
from lightning_vsml.meta.wide.standing import standing
from lightning_vsml.meta.wide.workers import Workers

SMOKE = ["--preset", "wide_smoke", "--trainer.enable_progress_bar", "false", "--out", "tiny.safetensors"]
SMALL = Distribution(datasets=(), widths=(4, 8), batch=(4, 8), examples=60)

pytestmark = [
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty"),
    pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning"),  # Lightning's use
]


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def test_it_makes_a_checkpoint_that_learns(capsys: pytest.CaptureFixture[str]) -> None:
    command.main([*SMOKE, "--model.begin.rate", "-2.0"])
    card = json.loads(Path("tiny.json").read_text())
    made_by, (measured,) = card["made_by"], card["measured"]
    assert card["kind"] == "meta-learned" and card["start"] == "adaptive" and made_by["steps"] == 4
    assert made_by["recipe"]["begin"] == Coordinates(rate=-2.0)._asdict() and made_by["minutes"] >= 0
    assert made_by["recipe"]["kept_out"]["shares"] == {"moons": 0.5, "sine": 0.5}
    assert made_by["command"] == f"python -m lightning_vsml.meta {' '.join(SMOKE)} --model.begin.rate -2.0"
    assert made_by["coordinates"]["rate"] != -2.0
    assert measured["against"] == ["sgd", "momentum", "adam", "adamw-cosine"]
    for which in ("other_seeds", "kept_out"):
        assert {0 <= measured[which][of]["ahead"] <= 1 for of in ("start", "found")} == {True}
        assert measured[which]["found"]["tasks"] == 1 and "mean log ratio" in measured[which]["found"]["from step 0"]
    assert "wrote tiny.safetensors and tiny.json" in capsys.readouterr().out
    tags = EventAccumulator("runs/meta/tiny").Reload().Tags()
    curves = {"meta_loss", "best", "coordinates/rate", "held_out/other_seeds", "held_out/kept_out"}
    assert curves <= set(tags["scalars"]) and "recipe/text_summary" in tags["tensors"]

    module = Module(mlp())
    trainer(VSMLLearner("tiny.safetensors"), max_steps=60).fit(module, classification())
    assert sum(module.losses[-12:]) < 0.97 * sum(module.losses[:12])
    found = adaptive(Coordinates(**card["coordinates"]))
    assert found.fingerprint == checkpoints.load(Path("tiny.safetensors")).fingerprint


def test_it_stops_and_resumes_to_the_same_end_on_more_processes() -> None:
    command.main([*SMOKE, "--run_dir", "whole"])
    whole = checkpoints.load(Path("tiny.safetensors"))
    command.main([*SMOKE, "--run_dir", "stopped", "--trainer.max_epochs", "1"])
    with pytest.raises(SystemExit, match="the checkpoint's run has another recipe: seed differ"):
        command.main([*SMOKE, "--run_dir", "stopped", "--resume", "--model.seed", "1"])
    command.main([*SMOKE, "--run_dir", "stopped", "--resume", "--model.processes", "2"])
    resumed = checkpoints.load(Path("tiny.safetensors"))
    assert resumed.fingerprint == whole.fingerprint and resumed.card["coordinates"] == whole.card["coordinates"]
    assert resumed.card["measured"] == whole.card["measured"]


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("tasks_per_step", "0", "tasks_per_step should be at least 1, got 0"),
        ("horizon", "[20, 10]", "horizon should be a range from short to long, got 20 to 10"),
        ("long", "2.0", r"long should be a share from 0 to 1, got 2\.0"),
        ("processes", "0", "processes should be at least 1, got 0"),
        ("begin", "{speed: 1.0}", "begin should name coordinates out of rate, .*, got speed"),
    ],
)
def test_wrong_arguments_are_errors_and_leave_nothing_behind(
    option: str, value: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(SystemExit, match=message):
        command.main([*SMOKE, f"--model.{option}", value])
    assert not list(tmp_path.iterdir())


def test_a_data_set_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def missing(source: str, raw: Path, files: dict[str, str]) -> None:
        raise datasets.DatasetError(f"{raw} was not downloaded")

    monkeypatch.setattr(datasets, "_download", missing)
    with pytest.raises(SystemExit, match=r"lightning_vsml\.meta: error: nowhere/MNIST/raw was not downloaded"):
        command.main(["--preset", "wide", *SMOKE[2:], "--model.data_dir", "nowhere"])
    assert not list(tmp_path.iterdir())


def test_settings_choose_the_module() -> None:
    assert command._module(["--preset", "wide"]) is command._module(["--model.distribution.classes=3"]) is WideModule


def test_windows_end_where_a_curve_does_and_are_lost_with_it() -> None:
    loss = torch.arange(300.0).unsqueeze(-1).repeat(1, 2)
    loss[120, 1] = torch.nan
    means = windows(loss)
    assert means[:, 0].tolist() == [24.5, 124.5, 249.5] and means[:, 1].tolist() == [24.5, torch.inf, torch.inf]
    assert windows(loss[:210]).shape == (2, 2) and windows(loss[:5]).shape == (1, 2)  # too short to count


def test_losses_are_compared_by_their_ratio() -> None:
    own = torch.tensor([1.0, 0.5, 1e-9, 1e9, torch.inf, 1.0, torch.inf])
    others = torch.tensor([1.0, 1.0, 1.0, 1.0, 1.0, torch.inf, torch.inf])
    ratios = compared(own, others, torch.tensor(1.0)).tolist()
    expected = [0.0, torch.log(torch.tensor(0.51 / 1.01)).item(), BEST, WORST, WORST, BEST, WORST]
    assert ratios == pytest.approx(expected)


def test_candidates_are_judged_against_the_start() -> None:
    settings = Settings(tasks_per_step=3, horizon=(4, 12), long=0.5, longest=30, seed=2)
    generation = Generation(Coordinates(), SMALL, settings, 5, Workers(1, {}, Path("data")))
    assert [number for number, *_ in generation.drawn()] == [15, 16, 17]
    lengths = {steps for n in range(9) for *_, steps in Generation(Coordinates(), SMALL, settings, n, Any).drawn()}
    assert 30 in lengths and all(4 <= steps <= 12 for steps in lengths - {30})
    u = torch.zeros(3, len(Coordinates._fields), dtype=torch.float64)
    u[1, 0], u[2, 0] = -20.0, torch.nan
    losses = generation.judge(u)
    assert losses.tolist()[::2] == pytest.approx([0.0, WORST], abs=1e-5) and 0 < losses[1] < WORST
    assert generation.best == pytest.approx(0.0, abs=1e-5)
    assert moved(Coordinates(), u)[1, 0] == Coordinates().rate - 10
    with pytest.raises(NotImplementedError, match="outer should only judge candidates"):
        generation.gradient(u[0])
    with pytest.raises(NotImplementedError, match="persistent should be false"):
        generation.go_on(u, u[0])


def test_tuned_optimizers_are_the_best_of_their_grids() -> None:
    task = SMALL.sample(0, {})
    cells = against_tuned(task, torch.tensor([Coordinates(), Coordinates(rate=-60.0, travel=-60.0)]), 30)
    assert cells.shape == (1, 2) and float(cells[0, 1]) > 0  # who does not move is behind
    assert judge(task, torch.tensor([Coordinates()] * 3), 30)[0].tolist() == pytest.approx([0, 0], abs=1e-5)
    told = standing([torch.tensor([-0.5, 0.25]), torch.tensor([-0.1])])
    assert told == {
        "tasks": 2,
        "ahead": 0.6667,
        "from step 0": {"ahead": 1.0, "mean log ratio": -0.3, "largest log ratio": -0.1},
        "from step 50": {"ahead": 0.0, "mean log ratio": 0.25, "largest log ratio": 0.25},
    }
