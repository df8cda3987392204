"""The command, as a user runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import Module, classification, mlp, trainer
from lightning.pytorch import Trainer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_vsml import VSMLLearner, checkpoints, datasets
from lightning_vsml.algorithms.adaptive import Coordinates
from lightning_vsml.algorithms.meta_rnn import MetaRNN
from lightning_vsml.algorithms.mplp import MPLP
from lightning_vsml.meta import MetaLearningModule, SequenceModule
from lightning_vsml.meta import __main__ as command
from lightning_vsml.meta.trials import Trials
from lightning_vsml.meta.wide import WideModule

SMOKE = ["--preset", "smoke", "--trainer.enable_progress_bar", "false", "--out", "tiny.safetensors"]

pytestmark = [
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty"),
    pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning"),  # Lightning's use
]


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def test_it_makes_a_checkpoint_that_learns(capsys: pytest.CaptureFixture[str]) -> None:
    command.main([*SMOKE, "--model.horizon", "[4, 8]"])
    algorithm = checkpoints.load(Path("tiny.safetensors"))
    card = json.loads(Path("tiny.json").read_text())
    assert card["kind"] == "meta-learned" and card["start"] == "cloned_backprop"
    made_by = card["made_by"]
    assert made_by["recipe"]["horizon"] == [4, 8] and made_by["recipe"]["outer"]["name"] == "CMAES"
    assert made_by["steps"] == 4 and made_by["skipped_steps"] == 0 and made_by["device"] == "cpu"
    assert "W g 0.1562" in made_by["coordinates"] and made_by["minutes"] >= 0
    assert made_by["command"] == f"python -m lightning_vsml.meta {' '.join(SMOKE)} --model.horizon '[4, 8]'"
    assert card["measured"][0]["data"] == "held-out tasks"
    assert "wrote tiny.safetensors and tiny.json" in capsys.readouterr().out
    assert {"meta_loss", "held_out/gain"} <= set(EventAccumulator("runs/meta/tiny").Reload().Tags()["scalars"])

    module = Module(mlp())
    trainer(VSMLLearner("tiny.safetensors"), max_steps=60).fit(module, classification())
    assert sum(module.losses[-12:]) < 0.97 * sum(module.losses[:12])
    assert algorithm.lr == 0.1


def test_it_stops_and_resumes_to_the_same_end() -> None:
    command.main([*SMOKE, "--run_dir", "whole", "--trainer.max_epochs", "3"])
    whole = checkpoints.load(Path("tiny.safetensors"))
    command.main([*SMOKE, "--run_dir", "stopped", "--trainer.max_epochs", "1"])
    with pytest.raises(SystemExit, match="stopped holds a run already: --resume continues it; choose another"):
        command.main([*SMOKE, "--run_dir", "stopped"])
    with pytest.raises(SystemExit, match="the checkpoint's run has another recipe: seed differ"):
        command.main([*SMOKE, "--run_dir", "stopped", "--resume", "--model.seed", "1"])
    command.main([*SMOKE, "--run_dir", "stopped", "--resume", "--trainer.max_epochs", "3"])
    resumed = checkpoints.load(Path("tiny.safetensors"))
    assert resumed.fingerprint == whole.fingerprint
    assert resumed.card["made_by"]["coordinates"] == whole.card["made_by"]["coordinates"]
    assert "minutes" not in resumed.card["made_by"]  # nobody knows


def test_fixed_weight_learners_are_made_the_same_way(capsys: pytest.CaptureFixture[str]) -> None:
    """By gradients through sequences: one command, one file, one folder to resume from."""
    small = ["--model.problem.init_args.length", "[4, 8]", "--model.problem.init_args.functions", "4"]
    start = ["--preset", "fixed_weight", *SMOKE[2:], "--model.every", "4", *small]
    command.main([*start, "--run_dir", "whole", "--trainer.max_epochs", "2"])
    whole = checkpoints.load(Path("tiny.safetensors"), kind=MetaRNN)
    made_by = whole.card["made_by"]
    assert made_by["recipe"]["problem"] == "Functions" and made_by["recipe"]["length"] == [4, 8]
    assert made_by["steps"] == 8 and made_by["command"].startswith(
        "python -m lightning_vsml.meta --preset fixed_weight"
    )
    assert whole.card["measured"][0]["data"] == "held-out sequences" and whole.card["functions"] == "boolean"
    assert "wrote tiny.safetensors and tiny.json" in capsys.readouterr().out
    assert {"loss", "lr", "held_out/gain"} <= set(EventAccumulator("whole").Reload().Tags()["scalars"])
    with pytest.raises(SystemExit, match=r"whole holds a run already: --resume continues it"):
        command.main([*start, "--run_dir", "whole", "--trainer.max_epochs", "2"])
    with pytest.raises(SystemExit, match="family should be one of 'boolean', 'semilinear', 'quadratic', got 'cubic'"):
        command.main([*start, "--model.problem.init_args.family", "cubic"])


def test_protocols_are_made_the_same_way() -> None:
    """The preset of the checkpoint, with smaller rules."""
    small = {"messages": "2", "carry": "4", "hidden": "[6, 5]", "learners": "2"}
    settings = [word for name, value in small.items() for word in (f"--model.problem.init_args.{name}", value)]
    command.main(
        ["--preset", "mplp_sinusoid", *SMOKE[2:], "--model.every", "3", "--trainer.max_epochs", "1", *settings]
    )
    made = checkpoints.load(Path("tiny.safetensors"), kind=MPLP)
    assert made.sizes == (2, 4, (6, 5)) and made.sharing == "tensor" and "initial.2" in made.V
    assert made.card["made_by"]["recipe"]["problem"] == "Sinusoids" and made.card["made_by"]["steps"] == 3


def test_settings_of_a_file_choose_what_is_trained() -> None:
    """Whether coordinates of a program are searched, or all parameters of a dense cell."""
    Path("mine.yaml").write_text((command.PRESETS / "scratch.yaml").read_text())
    assert command._module(["--config", "mine.yaml"]) is command._module(["--preset", "scratch"]) is SequenceModule
    assert command._module(["--model.problem=lightning_vsml.meta.Streams"]) is SequenceModule
    assert command._module(["--preset=paper"]) is command._module([]) is MetaLearningModule


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "tiny.pt"], r"argument --out: should end in \.safetensors, got 'tiny\.pt'"),
        (["--resume"], r"there is nothing to resume in runs/meta/tiny: last\.ckpt is not there"),
        (
            ["--preset", "huge"],
            "--preset should be one of fixed_weight, .*, wide_smoke, got 'huge'",
        ),
        (
            ["--preset=huge"],
            "--preset should be one of fixed_weight, .*, wide_smoke, got 'huge'",
        ),
        (["--model.every", "0"], "every should be at least 1, got 0"),
        (["--model.space", "lstm"], "space should be one of 'backprop', 'cloned_backprop', got 'lstm'"),
        (["--model.tasks.datasets", "[mnits]"], "dataset should be one of mnist, fashion_mnist, digits, got 'mnits'"),
    ],
)
def test_wrong_arguments_are_errors_and_leave_nothing_behind(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    start = [] if arguments[0].startswith("--preset") else SMOKE
    with pytest.raises(SystemExit, match=message):
        command.main([*start, *arguments])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [("batch", "[8, 4]", "batch should be a range"), ("classes", "1", "classes should be at least 2")],
)
def test_wrong_settings_of_tasks_are_errors(
    option: str, value: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        command.main([*SMOKE, f"--model.tasks.{option}", value])
    assert message in f"{stopped.value} {capsys.readouterr().err}"
    assert not list(tmp_path.iterdir())


def test_a_data_set_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def missing(source: str, raw: Path, files: dict[str, str]) -> None:
        raise datasets.DatasetError(f"{raw} was not downloaded")

    monkeypatch.setattr(datasets, "_download", missing)
    with pytest.raises(SystemExit, match=r"lightning_vsml\.meta: error: nowhere/MNIST/raw was not downloaded"):
        command.main([*SMOKE, "--model.tasks.datasets", "[mnist]", "--model.data_dir", "nowhere"])
    assert not list(tmp_path.iterdir())


def test_a_failure_in_the_middle_leaves_no_checkpoint_half_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def short(*_: object) -> None:
        raise MemoryError("lower outer.population")

    monkeypatch.setattr(Trials, "judge", short)
    with pytest.raises(SystemExit, match=r"lower outer\.population"):
        command.main(SMOKE)
    assert not list(tmp_path.glob("tiny.*"))


@pytest.mark.parametrize("preset", sorted(path.stem for path in command.PRESETS.glob("*.yaml")))
def test_every_preset_is_a_module_that_could_run(preset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    built = []

    def fit(trainer: object, module: MetaLearningModule | SequenceModule | WideModule, ckpt_path: None) -> None:
        built.append(module)
        raise MemoryError("enough seen")

    monkeypatch.setattr(Trainer, "fit", fit)
    random = datasets.Images("mnist", torch.rand(6000, 1, 28, 28), torch.arange(6000) % 10, *[torch.empty(0)] * 2)
    monkeypatch.setattr(datasets, "load", lambda *_: random)  # whose first minibatches statistics are of
    with pytest.raises(SystemExit, match="enough seen"):
        command.main([f"--preset={preset}", "--out", "tiny.safetensors", "--trainer.accelerator", "cpu"])
    if isinstance(built[0], MetaLearningModule):
        assert built[0].search.size == built[0].space.size == len(built[0].u) > 0
    elif isinstance(built[0], WideModule):
        assert built[0].search.size == len(built[0].u) == len(Coordinates._fields)
    else:
        assert sum(p.numel() for p in built[0].parameters()) == built[0].result("").algorithm.size > 0


def test_without_the_extra_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "cma.py").write_text("raise ModuleNotFoundError(name='cma')")
    words = [sys.executable, "-m", "lightning_vsml.meta", "--help"]
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(words, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("python -m lightning_vsml.meta: error: lightning_vsml.meta needs cma: pip install")
    assert len(done.stderr.splitlines()) == 1
