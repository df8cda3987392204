"""The example as a user runs it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NO_NETWORK = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", "no_proxy": ""}


def run(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """mnist_mlp.py in ``folder``, without network."""
    command = [sys.executable, str(ROOT / "examples" / "mnist_mlp.py"), *arguments]
    environment = {**os.environ, **NO_NETWORK, "OMP_NUM_THREADS": "2"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def accuracy(output: str) -> float:
    return float(re.search(r"test accuracy on \w+: ([\d.]+)%", output).group(1))  # type: ignore[union-attr]


def test_without_network_it_falls_back_to_digits_and_says_so_first(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    done = run(folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith("MNIST is not available: running on scikit-learn's 8x8 digits")
    last = done.stdout.strip().splitlines()[-3:]
    assert accuracy(last[0]) > 93
    assert re.fullmatch(r"300 steps of 64 in [\d.]+ s", last[1])
    folder = re.fullmatch(r"curves in (\S+): tensorboard --logdir logs", last[2]).group(1)  # type: ignore[union-attr]
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
    done = run("--dataset", dataset, folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("error: http")
    assert "use --dataset digits, which needs no download" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_algorithm_is_an_error(tmp_path: Path) -> None:
    done = run("--dataset", "digits", "--algorithm", "adam", folder=tmp_path)
    assert done.returncode == 1 and "the shipped ones are: " in done.stderr and "Traceback" not in done.stderr


def test_on_the_real_mnist(tmp_path: Path, mnist_dir: Path) -> None:
    """A few steps; the full run's accuracy is in the README, with its command."""
    done = run("--data-dir", str(mnist_dir), "--max-steps", "30", "--batch-size", "32", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert accuracy(done.stdout) > 60
