"""The benchmark of online learning: its baselines against scikit-learn and torch, and as a user runs it."""

import argparse
import csv
import os
import subprocess
import sys
from pathlib import Path

import families
import mplp
import pytest
import rules
import torch
from baselines import GRIDS, NearestMean, nearest_neighbour
from comparison import Contender, Run, first_step, in_window, table
from group import Group
from online import sizes
from side_by_side import SideBySide
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from streams import nearest
from torch import nn

from lightning_vsml.algorithms.rules import RULES
from lightning_vsml.lab.curves import batches, learning_curves
from lightning_vsml.lab.datasets import Images
from lightning_vsml.lab.networks import Dense, Network
from lightning_vsml.meta.sequences.looks import Stream

ROOT = Path(__file__).parents[1]
SEEDS = (3, 5)
STEPS, BATCH = 12, 4


@pytest.fixture(scope="module")
def images() -> Images:
    generator = torch.Generator().manual_seed(1)
    x, y = torch.rand(40, 1, 2, 3, generator=generator), torch.arange(40) % 4
    return Images("random", x, y, x, y)


def stream(images: Images, seed: int) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Batches as one seed gets them."""
    chosen = [indices[:, 0] for indices in batches(len(images.x), BATCH, STEPS, [seed])]
    return [images.x.flatten(1)[c] for c in chosen], [images.y[c] for c in chosen]


@pytest.mark.filterwarnings("ignore:invalid value encountered in divide:RuntimeWarning")  # of one example per class
@pytest.mark.parametrize("kind", ["mean", "neighbour"])
def test_memories_are_scikit_learn_s(images: Images, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("baselines.ROWS", 10)  # several rounds, of two batches
    share = {"steps": STEPS, "batch": BATCH, "seeds": SEEDS}
    if kind == "mean":
        online = learning_curves(NearestMean, images, **share).online
    else:
        online = nearest_neighbour(images, **share)
    for place, seed in enumerate(SEEDS):
        x, y = stream(images, seed)
        assert float(online[0, place]) == float((y[0] == 0).float().mean())
        for step in range(1, STEPS):
            theirs = NearestCentroid() if kind == "mean" else KNeighborsClassifier(1)
            theirs.fit(torch.cat(x[:step]).numpy(), torch.cat(y[:step]).numpy())
            assert float(online[step, place]) == pytest.approx(theirs.score(x[step].numpy(), y[step].numpy()))


def test_a_grid_runs_torch_s_optimizers_and_the_best_one_counts(images: Images) -> None:
    group = Group(images, (), BATCH, STEPS, SEEDS)
    for contender in group.optimizers():
        alone = {}
        for lr in GRIDS[contender.name].rates:
            online = torch.zeros(STEPS, len(SEEDS))
            for place, seed in enumerate(SEEDS):
                net = nn.Linear(6, 4)
                with torch.no_grad():
                    (layer,) = Network((Dense(4),)).initial((6,), [seed])
                    net.weight.copy_(layer[0, :-1].T)
                    net.bias.copy_(layer[0, -1])
                optimizer = {
                    "SGD": lambda p, lr: torch.optim.SGD(p, lr=lr),
                    "momentum": lambda p, lr: torch.optim.SGD(p, lr=lr, momentum=0.9),
                    "Adam": lambda p, lr: torch.optim.Adam(p, lr=lr),
                }[contender.name](net.parameters(), lr)
                for step, (x, y) in enumerate(zip(*stream(images, seed), strict=True)):
                    logits = net(x)
                    online[step, place] = float((logits.argmax(1) == y).float().mean())
                    optimizer.zero_grad()
                    nn.functional.cross_entropy(logits, y).backward()
                    optimizer.step()
            alone[lr] = online
        for run in contender.runs:
            torch.testing.assert_close(run.online, alone[run.lr])
        best = max(float(online[2:9].mean()) for online in alone.values())
        assert float(in_window(contender, (2, 9)).online.mean()) == pytest.approx(best)


def test_differences_are_paired() -> None:
    def contender(name: str, *online: list[float]) -> Contender:
        return Contender(name, "", tuple(Run(float(n), torch.tensor([row]), {}) for n, row in enumerate(online)))

    ours = contender("ours", [0.5, 0.7, 0.9])
    theirs = contender("theirs", [0.1, 0.1, 0.1], [0.4, 0.6, 0.8], [0.0, 0.0, 0.1])
    row, other = table([ours, theirs], (0, 1), ["theirs"])
    assert row["online_mean"] == pytest.approx(0.7) and row["online_std"] == pytest.approx(0.2)
    assert row["difference_to_best_theirs"] == pytest.approx(0.1)
    assert row["standard_error_to_best_theirs"] == pytest.approx(0, abs=1e-6)
    assert (row["lr_tuned"], other["lr_tuned"], other["lr"], other["lr_at_edge"]) == (False, True, 1.0, False)
    assert table([contender("theirs", [0.2], [0.1])], (0, 1), [])[0]["lr_at_edge"]


def test_the_first_step_that_reaches_a_target() -> None:
    run = Run(0.1, torch.zeros(1, 2), {step: torch.tensor([a, a]) for step, a in ((1, 0.2), (5, 0.6), (9, 0.5))})
    assert (first_step(run, 0.5, 9), first_step(run, 0.5, 4), first_step(run, 0.7, 9)) == (5, None, None)


def run(*arguments: str, folder: Path, script: str = "online.py") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "benchmarks" / script), *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def test_as_a_user_runs_it(tmp_path: Path) -> None:
    done = run(
        *("--dataset", "digits", "--seeds", "2", "--steps", "101", "--batch-size", "8", "--hidden", "6,5"),
        *("--algorithm", "backprop", "--long", "102"),
        folder=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    out = tmp_path / "logs" / "online"
    online, race, long = (
        list(csv.DictReader((out / f"{name}.csv").read_text().splitlines())) for name in ("online", "race", "long")
    )
    learners = ["SGD", "momentum", "Adam", "nearest mean", "1-NN", "backprop"]
    assert {row["network"] for row in (*online, *race, *long)} == {"64-6-5-10"}
    assert [(row["window"], row["learner"]) for row in online] == [(w, n) for w in ("0-50", "50-101") for n in learners]
    assert [row["learner"] for row in race] == [name for name in learners if name != "1-NN"]
    assert [row["learner"] for row in long] == ["SGD", "backprop"]
    assert all(float(row["ratio_to_adam"]) == 1 for row in race if row["learner"] == "Adam")
    assert (out / "online.png").read_bytes()[:4] == b"\x89PNG"

    for row in online:
        assert 0.05 < float(row["online_mean"]) <= 1 and row["seeds"] == "2"


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
def test_rates_side_by_side_are_torch_s_optimizers(kind: str) -> None:
    network, rates = Network((Dense(5), Dense(4)), torch.relu), (0.01, 0.1, 0.5)
    weights = network.initial((6,), SEEDS)
    together = SideBySide(weights, network, rates, kind == "Adam")
    alone = [GRIDS[kind].learner(weights, network, lr=lr) for lr in rates]
    for _ in range(8):
        x, y = torch.randn(3, 2, 6), torch.randint(4, (3, 2))
        logits = together.step(x, y)
        for place, learner in enumerate(alone):
            torch.testing.assert_close(logits[:, place], learner.step(x, y), rtol=1e-4, atol=1e-5)


def test_a_stream_s_neighbours_are_scikit_learn_s() -> None:
    examples = Stream(torch.randn(30, 2, 4), torch.randint(3, (30, 2)))
    (found,) = nearest(examples).right.unbind(1)[:1]
    for step in range(1, 30):
        theirs = KNeighborsClassifier(1).fit(examples.x[:step, 0].numpy(), examples.y[:step, 0].numpy())
        assert float(found[step]) == theirs.score(examples.x[step, :1].numpy(), examples.y[step, :1].numpy())


def test_streams_as_a_user_runs_it(tmp_path: Path) -> None:
    done = run(
        *("--dataset", "digits", "--look", "7x7", "--streams", "4", "--steps", "200"),
        folder=tmp_path,
        script="streams.py",
    )
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((tmp_path / "logs" / "streams" / "streams.csv").read_text().splitlines()))
    assert {row["window"] for row in rows} == {"0-10", "10-50", "50-200"}
    accuracy = {row["learner"]: float(row["accuracy"]) for row in rows if row["window"] == "10-50"}
    assert set(accuracy) == {"vsml_scratch", "SGD", "Adam", "nearest mean"}
    assert accuracy["vsml_scratch"] > max(accuracy["SGD"], accuracy["Adam"]) + 0.1  # with their best of ten rates
    assert (tmp_path / "logs" / "streams" / "streams.png").read_bytes()[:4] == b"\x89PNG"


def test_fixed_weights_as_a_user_runs_it(tmp_path: Path) -> None:
    done = run("--streams", "256", folder=tmp_path, script="fixed_weight.py")
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "logs" / "fixed_weight" / "fixed_weight.csv").read_text().splitlines()
    rows = {row["family"]: row for row in csv.DictReader(lines)}
    assert lines[0] == "family,mse,cycles"
    paper = {"boolean": 0.0058, "semilinear_1000": 0.0025, "quadratic": 0.00068}
    assert all(float(rows[name]["mse"]) < mse for name, mse in paper.items())
    assert int(rows["XOR"]["cycles"]) <= 20 and "semilinear_64" in rows
    assert (tmp_path / "logs" / "fixed_weight" / "fixed_weight.png").read_bytes()[:4] == b"\x89PNG"


def test_local_rules(images: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every row that a run has, on images too few to learn from."""
    monkeypatch.setattr(rules, "VALIDATION", 10)
    found = {(experiment, figure): value for experiment, figure, value in rules.rows(images, steps=3, seeds=1)}
    assert {experiment for experiment, _ in found} == {"backprop", *RULES}
    assert found["plasticity", "missing bits that are recalled"] > 0.95
    assert found["plasticity", "missing bits that are recalled without a trace"] == 0.5


def test_message_passing(tmp_path: Path, images: Images) -> None:
    """Sinusoids by the checkpoint, and networks of another data set than it is meant for."""
    found = {figure: value for _, figure, value in mplp.sinusoids(4, tmp_path / "sinusoids.png")}
    assert found["mean squared error after 0 steps"] > 0.03 > 0.0012 > found["mean squared error after 5 steps"]
    assert (tmp_path / "sinusoids.png").read_bytes()[:4] == b"\x89PNG"
    data = mplp.Shrunk(images._replace(x=images.x.repeat(200, 1, 1, 1), y=images.y.repeat(200)), 3)
    assert data.train[0].shape == (3000, 9) and data.validation[0].shape == (5000, 9)
    for how in ("sgd", "mplp_mnist"):
        assert 0 <= mplp.learned(data, 4, 0, how, 0.1) <= 1


@pytest.mark.parametrize("name", ["sgd", *families.ALGORITHMS])
def test_every_family_runs_the_tasks(name: str, images: Images) -> None:
    task = families.Task("random", "", None, lambda: families.head(6, 5, nn.Sigmoid()), 4, 3)
    split = families.Split(images.x.flatten(1), images.y)
    assert 0 <= families.accuracy(task, split, name, families.rates(name)[0], 0, split) <= 1


def test_wrong_arguments_are_errors(tmp_path: Path) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="expected sizes of hidden layers joined by commas, as 64,32"):
        sizes("32x")
    done = run("--algorithm", "adam", folder=tmp_path)
    assert done.returncode == 2 and "the shipped ones are: " in done.stderr and "Traceback" not in done.stderr
