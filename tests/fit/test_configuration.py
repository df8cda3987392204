"""The learner in a LightningCLI: written as YAML, read from it, and passed on unchanged."""

import sys
from pathlib import Path

import pytest
import yaml
from helpers import Module, classification, mlp
from lightning.pytorch.cli import LightningCLI
from torch.utils.data import DataLoader

from lightning_vsml import VSMLLearner

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Lightning uses jsonargparse as it was

QUIET = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}


class Task(Module):
    """Takes no arguments but numbers, and brings its data."""

    def __init__(self, lr: float = 0.1) -> None:
        super().__init__(mlp(), lr=lr)

    def train_dataloader(self) -> DataLoader:
        return classification()


def run(config: Path, *arguments: str) -> LightningCLI:
    return LightningCLI(
        Task,
        args=["fit", "--config", str(config), *arguments],
        save_config_callback=None,
        trainer_defaults={**QUIET, "accelerator": "cpu"},
        seed_everything_default=0,
    )


@pytest.fixture(autouse=True)
def _nothing_on_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["program"])


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "config.yaml"
    learner = {
        "class_path": "lightning_vsml.VSMLLearner",
        "init_args": {"algorithm": "backprop", "lr": 0.05, "unmapped": "freeze", "follow_optimizer": False},
    }
    file.write_text(yaml.safe_dump({"trainer": {"max_steps": 3, "callbacks": [learner]}}))
    return file


def test_the_learner_from_yaml(config: Path) -> None:
    cli = run(config)
    [learner] = [callback for callback in cli.trainer.callbacks if isinstance(callback, VSMLLearner)]
    assert (learner.lr, learner.unmapped, learner.follow_optimizer) == (0.05, "freeze", False)
    assert len(cli.model.losses) == 3


def test_yaml_round_trips(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What --print_config shows, every default filled in, is a configuration that does the same."""
    with pytest.raises(SystemExit) as done:
        run(config, "--print_config")
    assert not done.value.code
    again = tmp_path / "again.yaml"
    again.write_text(capsys.readouterr().out)
    [callback] = yaml.safe_load(again.read_text())["trainer"]["callbacks"]
    assert callback["class_path"] == "lightning_vsml.VSMLLearner"
    assert callback["init_args"]["forward"] == "cell" and callback["init_args"]["lr"] == 0.05
    first, second = run(config), run(again)
    assert first.model.losses == second.model.losses
    assert repr(first.trainer.callbacks[0]) == repr(second.trainer.callbacks[0])


def test_a_path_in_yaml(config: Path, tmp_path: Path) -> None:
    from lightning_vsml import checkpoints, programs

    checkpoints.save(programs.backprop(lr=0.2), tmp_path / "mine.safetensors", made_by={})
    settings = yaml.safe_load(config.read_text())
    settings["trainer"]["callbacks"][0]["init_args"] = {"algorithm": str(tmp_path / "mine.safetensors")}
    config.write_text(yaml.safe_dump(settings))
    [learner] = [c for c in run(config).trainer.callbacks if isinstance(c, VSMLLearner)]
    assert learner.lr == 0.2


def test_a_wrong_argument_in_yaml_is_an_error(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text(config.read_text().replace("follow_optimizer", "follow_shceduler"))
    with pytest.raises(SystemExit) as done:
        run(config)
    assert done.value.code == 2 and "follow_shceduler" in capsys.readouterr().err


def test_on_the_command_line(config: Path) -> None:
    config.write_text("trainer: {max_steps: 2}")
    cli = run(config, "--trainer.callbacks+=lightning_vsml.VSMLLearner", "--trainer.callbacks.lr=0.3")
    [learner] = [c for c in cli.trainer.callbacks if isinstance(c, VSMLLearner)]
    assert learner.lr == 0.3
