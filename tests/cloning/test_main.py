"""The command, as a user runs it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_vsml import checkpoints
from lightning_vsml.cloning import TARGETS, check, drift
from lightning_vsml.cloning import __main__ as command

SMOKE = ["--preset", "smoke", "--accelerator", "cpu", "--out", "tiny.safetensors"]


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(drift, "STEPS", (2, 4))
    monkeypatch.setattr(check, "STEPS", 5)
    monkeypatch.setattr(check, "SEEDS", 2)


def test_it_makes_a_checkpoint_with_card_and_curves(capsys: pytest.CaptureFixture[str]) -> None:
    command.main([*SMOKE, "--iterations", "20", "--every", "10", "--seed", "3"])
    algorithm = checkpoints.load(Path("tiny.safetensors"))
    card = json.loads(Path("tiny.json").read_text())
    assert card["kind"] == "cloned" and card["target"] == "sgd" and card["made_by"]["device"] == "cpu"
    assert card["made_by"]["command"] == (
        "python -m lightning_vsml.cloning --preset smoke --iterations 20 --seed 3 --out tiny.safetensors"
    )
    assert card["made_by"]["recipe"]["iterations"] == 20 and card["made_by"]["data"] == "random numbers only"
    random, shallow, deep = card["measured"]
    assert {"error/forward", "error/systematic", "drift/2", "drift/4", "retention"} <= set(random)
    assert shallow["network"] == "64-10" and deep["network"] == "64-32-10 tanh" and "torch.optim" in deep["baseline"]
    assert algorithm.cell.units == 12
    curves = set(EventAccumulator("runs/cloning/tiny").Reload().Tags()["scalars"])
    assert {"error/forward", "error/backward", "error/change", "error/systematic", "retention", "drift/4"} <= curves
    assert "wrote tiny.safetensors and tiny.json" in capsys.readouterr().out


def test_it_stops_and_resumes_to_the_same_end(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = [*SMOKE, "--iterations", "20", "--every", "10"]
    command.main([*arguments, "--run-dir", "whole"])
    whole = checkpoints.load(Path("tiny.safetensors"))

    class Stopped(Exception):
        pass

    def stop(self, *_: object) -> None:
        if int(self.iteration) == 15:
            raise Stopped

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(command.CloningModule, "on_train_batch_start", stop, raising=False)
        command.main([*arguments, "--run-dir", "stopped"])
    with pytest.raises(SystemExit, match="stopped holds a run already: --resume continues it"):
        command.main([*arguments, "--run-dir", "stopped"])
    with pytest.raises(SystemExit, match=r"made with seed 0 \(now 1\)\. Resume with the same"):
        command.main([*arguments, "--run-dir", "stopped", "--resume", "--seed", "1"])
    command.main([*arguments, "--run-dir", "stopped", "--resume"])
    resumed = checkpoints.load(Path("tiny.safetensors"))
    assert resumed.fingerprint == whole.fingerprint


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "tiny.pt"], r"argument --out: should end in \.safetensors, got 'tiny\.pt'"),
        (["--resume"], r"there is nothing to resume in runs/cloning/tiny: last\.ckpt is not there"),
        (["--prune", "1"], r"argument --prune: expected a finite number of at least 0 and below 1, got '1'"),
        (["--structure", "dense", "--prune", "0.5"], r"only symmetric cells are pruned"),
        (["--iterations", "0"], r"argument --iterations: expected a whole number of at least 1, got '0'"),
    ],
)
def test_wrong_arguments_are_errors_and_leave_nothing_behind(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(SystemExit, match=message):
        command.main([*SMOKE, *arguments])
    assert not list(tmp_path.iterdir())


def test_the_check_tells_a_learner_from_one_that_does_not_learn() -> None:
    algorithm = checkpoints.load("backprop")
    good = check.learns_digits(algorithm, "sgd", steps=60, seeds=2)
    assert [m["network"] for m in good] == ["64-10", "64-32-10 tanh"]
    accuracy = float(good[0]["test_accuracy"].split()[0])
    assert accuracy > 80 and abs(accuracy - float(good[0]["baseline"].split()[2])) < 1
    mute = algorithm.cell._replace(W=torch.zeros_like(algorithm.cell.W))
    bad = check.learns_digits(replace(algorithm, cell=mute), "sgd", steps=60, seeds=2)
    assert float(bad[0]["test_accuracy"].split()[0]) < 40
    assert check.learns_digits(algorithm, "oja") == []


def test_drift_of_an_exact_algorithm_is_small_and_of_a_wrong_rate_is_not() -> None:
    algorithm = checkpoints.load("backprop")
    exact = drift.measure(algorithm, TARGETS["sgd"], steps=(10, 50))
    assert max(exact.values()) < 1e-3
    other = drift.measure(algorithm, TARGETS["momentum"], steps=(10,))
    assert other["drift/10"] > 0.2
