"""The examples as a user runs them."""

import csv
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_vsml import Synapses, VSMLLearner, checkpoints

ROOT = Path(__file__).parents[1]
NO_NETWORK = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", "no_proxy": ""}


def run(*arguments: str, folder: Path, example: str = "mnist_mlp") -> subprocess.CompletedProcess[str]:
    """An example in ``folder``, without network."""
    command = [sys.executable, str(ROOT / "examples" / f"{example}.py"), *arguments]
    environment = {**os.environ, **NO_NETWORK, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def refused(*arguments: str, example: str) -> str:
    """What an example that refuses its arguments ends with; within this process, which has imported torch already."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr(sys, "argv", [f"{example}.py", *arguments])
        patch.syspath_prepend(str(ROOT / "examples"))
        for name, value in NO_NETWORK.items():
            patch.setenv(name, value)
        runpy.run_path(str(ROOT / "examples" / f"{example}.py"), run_name="__main__")
    assert ended.value.code == 2
    return str(ended.value)


def ran(*arguments: str, example: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What an example prints, within this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [f"{example}.py", *arguments])
        patch.syspath_prepend(str(ROOT / "examples"))
        patch.chdir(folder)
        runpy.run_path(str(ROOT / "examples" / f"{example}.py"), run_name="__main__")
    return capsys.readouterr().out


def is_picture(file: Path) -> bool:
    return file.read_bytes()[:4] == b"\x89PNG"


def accuracy(output: str) -> float:
    return float(re.search(r"test accuracy on \w+: ([\d.]+)%", output).group(1))  # type: ignore[union-attr]


def test_without_network_it_falls_back_to_digits_and_says_so_first(tmp_path: Path) -> None:
    done = run(folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith("MNIST is not available: running on scikit-learn's 8x8 digits")
    last = done.stdout.strip().splitlines()[-3:]
    assert accuracy(last[0]) > 93
    assert re.fullmatch(r"300 steps of 64 in [\d.]+ s", last[1])
    folder = re.fullmatch(r"curves in (\S+): tensorboard --logdir logs/mnist_mlp", last[2]).group(1)  # type: ignore[union-attr]
    curves = set(EventAccumulator(str(tmp_path / folder)).Reload().Tags()["scalars"])
    wanted = {"vsml/lr", "fit/loss", "fit/accuracy", "val/loss", "val/accuracy"}
    wanted |= {f"vsml/{what}/net.{n}" for what in ("feedback_norm", "update_norm", "state_absmax") for n in (1, 3)}
    assert wanted <= curves


@pytest.mark.parametrize("learner", ["sgd", "adam"])
def test_other_learners(tmp_path: Path, learner: str) -> None:
    done = run("--learner", learner, "--dataset", "digits", "--hidden", "16", "--max-steps", "20", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"({learner}, seed 0)" in done.stdout and "VSMLLearner" not in done.stdout


@pytest.mark.parametrize("dataset", ["mnist", "fashion_mnist"])
def test_a_missing_dataset_asked_for_by_name_is_an_error(tmp_path: Path, dataset: str) -> None:
    said = refused("--dataset", dataset, "--data-dir", str(tmp_path), example="mnist_mlp")
    assert (
        said.startswith("mnist_mlp.py: error: http") and "or take the data set digits, which needs no download" in said
    )


def test_the_clone_trains_the_example(tmp_path: Path) -> None:
    done = run("--algorithm", "cloned_backprop", "--dataset", "digits", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert accuracy(done.stdout) > 93


def test_learning_curves(tmp_path: Path) -> None:
    """Picture, TensorBoard image, and numbers: backprop near SGD, `adaptive` above it; what was meta-learned learns."""
    done = run(
        *("--dataset", "digits", "--steps", "60", "--seeds", "3", "--hidden", "16", "--lr", "0.5"),
        folder=tmp_path,
        example="learning_curves",
    )
    assert done.returncode == 0, done.stderr
    out = tmp_path / "logs" / "learning_curves" / "version_0"
    rows = list(csv.DictReader((out / "learning_curves.csv").read_text().splitlines()))
    last = {row["learner"]: float(row["accuracy_mean"]) for row in rows if row["step"] == "60"}
    assert {name.split()[0] for name in last} == {*checkpoints.names("cellular"), "SGD"}
    assert last["SGD"] > 0.6
    assert all(abs(value - last["SGD"]) < 0.02 for name, value in last.items() if "backprop" in name)
    assert last["adaptive (constructed)"] > last["SGD"]
    assert all(value > 0.5 for name, value in last.items() if "meta-learned" in name)  # chance is 0.1
    assert (out / "learning_curves.png").read_bytes()[:4] == b"\x89PNG"
    tags = EventAccumulator(str(out)).Reload().Tags()
    assert tags["images"] == ["learning_curves"] and "digits 64-16-10/SGD" in tags["scalars"]


def test_a_loop_by_fabric(tmp_path: Path) -> None:
    done = run("--epochs", "10", folder=tmp_path, example="fabric")
    assert done.returncode == 0, done.stderr
    assert accuracy(done.stdout) > 93
    assert done.stdout.splitlines()[-1] == "220 steps of 64"


def test_neuronal_dynamics(tmp_path: Path) -> None:
    done = run(folder=tmp_path, example="neuronal_dynamics")
    assert done.returncode == 0, done.stderr
    errors = {kind: float(value) for kind, value in re.findall(r"(\w+): root mean square error ([\d.]+)%", done.stdout)}
    assert set(errors) == {"output", "change", "message"} and max(errors.values()) < 5
    out = tmp_path / "logs" / "neuronal_dynamics" / "version_0"
    rows = list(csv.DictReader((out / "neuronal_dynamics.csv").read_text().splitlines()))
    assert len(rows) == 81 * 81
    for row in rows[::97]:
        assert abs(float(row["output_target"]) - float(row["x"]) * float(row["w"])) < 1e-3
    assert (out / "neuronal_dynamics.png").read_bytes()[:4] == b"\x89PNG"
    assert EventAccumulator(str(out)).Reload().Tags()["images"] == ["neuronal_dynamics"]


def test_an_unknown_algorithm_is_an_error(tmp_path: Path) -> None:
    done = run("--dataset", "digits", "--algorithm", "adam", folder=tmp_path)
    assert done.returncode == 2 and "the shipped ones are: " in done.stderr and "Traceback" not in done.stderr


def test_an_unknown_algorithm_in_a_loop_by_fabric_is_an_error() -> None:
    assert "the shipped ones are: " in refused("--algorithm", "adam", example="fabric")


@pytest.mark.parametrize("example", ["learning_curves", "neuronal_dynamics"])
def test_figures_of_an_unknown_algorithm_are_an_error(
    tmp_path: Path, example: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "the shipped ones are: " in refused("--algorithm", "adam", example=example)
    assert not (tmp_path / "logs").exists()


def test_on_the_real_mnist(tmp_path: Path, mnist_dir: Path) -> None:
    """A few steps; the full run's accuracy is in the README, with its command."""
    done = run("--data-dir", str(mnist_dir), "--max-steps", "30", "--batch-size", "32", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert accuracy(done.stdout) > 60


def test_a_transformer_learns_which_characters_follow(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Better than by how often characters occur; and what it writes is shown."""
    small = ("--steps", "60", "--batch-size", "8", "--context", "16", "--width", "16")
    said = ran(*small, "--algorithm", "adaptive", example="transformer_lm", folder=tmp_path, capsys=capsys)
    loss, alone = (float(re.search(pattern, said).group(1)) for pattern in (r"loss: ([\d.]+)", r"occur: ([\d.]+)"))  # type: ignore[union-attr]
    assert loss < alone + 0.1 < 3.5 and "what it writes" in said and "The " in said
    logs = tmp_path / "logs" / "transformer_lm" / "version_0"
    assert "loss" in EventAccumulator(str(logs)).Reload().Tags()["scalars"]


def test_a_cnn_shows_its_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ("--steps", "40", "--channels", "4")
    for version in ("version_0", "version_1"):  # each run has a folder of its own
        said = ran(*small, example="cnn", folder=tmp_path, capsys=capsys)
        assert accuracy(said) > 80
        assert is_picture(tmp_path / "logs" / "cnn" / version / "mistakes.png")


def test_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = ran("--steps", "15", "--algorithm", "backprop", example="tabular", folder=tmp_path, capsys=capsys)
    rows = list(csv.DictReader((tmp_path / "logs" / "tabular" / "tabular.csv").read_text().splitlines()))
    assert len(rows) == 8 and "test accuracy, %" in said
    assert all(0 <= float(row[who]) <= 1 for row in rows for who in ("backprop", "SGD", "Adam"))
    wine = next(row for row in rows if (row["table"], row["features"]) == ("wine", "standardised"))
    assert abs(float(wine["backprop"]) - float(wine["SGD"])) < 0.05  # whose best rate of the three is backprop's own


def test_a_gan_comes_closer_to_the_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = ran("--steps", "60", "--hidden", "16", example="gan", folder=tmp_path, capsys=capsys)
    after, before = map(float, re.search(r"data: ([\d.]+), before ([\d.]+)", said).groups())  # type: ignore[union-attr]
    assert after < 0.8 * before
    assert is_picture(tmp_path / "logs" / "gan" / "version_0" / "samples.png")


def test_a_plain_loop_follows_sgd(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = ran("--steps", "100", example="plain_loop", folder=tmp_path, capsys=capsys)
    ours, theirs = map(float, re.findall(r"test accuracy on digits: ([\d.]+)%", said))
    assert theirs > 85 and abs(ours - theirs) < 1
    assert is_picture(tmp_path / "logs" / "plain_loop" / "losses.png")


def test_a_stream_is_predicted_before_it_is_learned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = ran("--examples", "200", example="online_learning", folder=tmp_path, capsys=capsys)
    rows = re.findall(r"│ (\w+).*?│ [\d.]+ +│ ([\d.]+) ", said)
    late = {name: max(float(hits) for other, hits in rows if other == name) for name, _ in rows}
    assert late["vsml_scratch"] > max(late["SGD"], late["Adam"]) and late["vsml_scratch"] > 70
    assert is_picture(tmp_path / "logs" / "online_learning" / "online_learning.png")


def test_a_learner_in_a_yaml(tmp_path: Path) -> None:
    config = ("fit", "--config", str(ROOT / "examples" / "cli.yaml"))
    done = run(*config, "--trainer.max_steps", "40", folder=tmp_path, example="cli")
    assert done.returncode == 0, done.stderr
    assert float(re.search(r"val/accuracy +│ ([\d.]+)", done.stdout).group(1)) > 0.8  # type: ignore[union-attr]
    assert list((tmp_path / "logs" / "cli" / "version_0").glob("events*"))


def test_ctrl_c_keeps_what_was_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a loop of one's own, and in a Trainer's."""
    calls, usual = [], Synapses.step

    def step(self: Synapses, *arguments: object, **settings: object) -> object:
        calls.append(1)
        if len(calls) % 20 == 0:
            raise KeyboardInterrupt
        return usual(self, *arguments, **settings)

    monkeypatch.setattr(Synapses, "step", step)
    said = ran(example="plain_loop", folder=tmp_path, capsys=capsys)
    assert "stopped: what follows is of what was done until here" in said and ", 19 steps, seed 0)" in said
    assert is_picture(tmp_path / "logs" / "plain_loop" / "losses.png")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(VSMLLearner, "on_train_batch_end", interrupt)
    said = ran("--channels", "4", example="cnn", folder=tmp_path, capsys=capsys)
    assert "stopped after 1 steps" in said and is_picture(tmp_path / "logs" / "cnn" / "version_0" / "mistakes.png")
