"""DDP on two CPU processes: one state, the same result as one process with the joined batch, as SGD under DDP."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import Module, classification, mlp, trainer
from torch import Tensor

from lightning_vsml import VSMLLearner

SCRIPT = Path(__file__).parent / "ddp_fit.py"
STEPS = 24

Weights = dict[str, Tensor]


def fits(strategy: str, out: Path, *names: str) -> dict[str, Weights]:
    """The weights that each run ends with, the same on both processes."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), strategy, str(out), *names], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    saved = {name: torch.load(out / f"{name}.pt", weights_only=True) for name in names}
    assert {name for name, fit in saved.items() if fit["drift"]} == set()
    return {name: fit["weights"] for name, fit in saved.items()}


def difference(ours: Weights, theirs: Weights) -> float:
    """The largest of a layer, relative to it."""
    return max(float((ours[name] - theirs[name]).norm() / theirs[name].norm()) for name in theirs)


@pytest.mark.parametrize("strategy", ["ddp", "ddp_spawn", "ddp_fork"])
def test_two_processes_learn_as_one(tmp_path: Path, strategy: str) -> None:
    ours = fits(strategy, tmp_path, "backprop-even")["backprop-even"]
    one = Module(mlp())  # samples 2n and 2n + 1 were the n-th ones of the two processes
    trainer(VSMLLearner("backprop", lr=0.1), max_steps=STEPS).fit(one, classification(batch=8))
    assert difference(ours, one.net.state_dict()) < 1e-5
    assert difference(ours, mlp().state_dict()) > 0.1  # it learned


def test_as_sgd_on_two_processes(tmp_path: Path) -> None:
    """Last batches of different sizes; layers that only one of the processes uses; single parameters; clipping; layers
    left to the optimizer. Synapses that remember more than weights stay together, too.
    """
    pairs = [(f"backprop-{data}", f"sgd-{data}") for data in ("even", "uneven", "skipping", "prelu", "clipped")]
    pairs.append(("hybrid-even", "sgd-even"))
    names = dict.fromkeys(name for pair in pairs for name in pair)
    ends = fits("ddp", tmp_path, *names, "sensing-uneven", "sensing-skipping")
    for ours, sgd in pairs:
        assert difference(ends[ours], ends[sgd]) < 1e-4
