"""DDP on two CPU processes: one state, the same result as one process with the joined batch, as SGD under DDP."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import Module, classification, mlp, relative_differences, trainer
from torch import nn

from lightning_vsml import VSMLLearner

SCRIPT = Path(__file__).parent / "scripts" / "ddp_fit.py"
STEPS = 24


def net(file: Path) -> tuple[nn.Module, float]:
    """The weights that a run has saved, and how far its processes were apart."""
    saved = torch.load(file, weights_only=True)
    loaded = mlp()
    loaded.load_state_dict(saved["weights"])
    return loaded, saved["drift"]


@pytest.mark.parametrize("strategy", ["ddp", "ddp_spawn", "ddp_fork"])
def test_two_processes_learn_as_one(tmp_path: Path, strategy: str) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), strategy, str(tmp_path)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr

    ours, drift = net(tmp_path / "learner_False.pt")
    assert drift == 0
    one = Module(mlp())  # samples 2n and 2n + 1 were the n-th ones of the two processes
    trainer(VSMLLearner("backprop", lr=0.1), max_steps=STEPS).fit(one, classification(batch=8))
    assert max(relative_differences(ours, one.net).values()) < 1e-5
    assert max(relative_differences(ours, net(tmp_path / "sgd_False.pt")[0]).values()) < 1e-4
    assert max(relative_differences(ours, mlp()).values()) > 0.1  # it learned

    for name in ("meta_False.pt", "meta_True.pt"):  # its synapses remember more than weights
        assert net(tmp_path / name)[1] == 0

    uneven, drift = net(tmp_path / "learner_True.pt")
    assert drift == 0
    assert max(relative_differences(uneven, net(tmp_path / "sgd_True.pt")[0]).values()) < 1e-4
