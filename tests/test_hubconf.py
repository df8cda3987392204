"""torch.hub finds the algorithms in a checkout."""

import re
from importlib.metadata import requires
from pathlib import Path

import pytest
import torch

from lightning_vsml import CheckpointError, checkpoints

ROOT = Path(__file__).parents[1]


def load(**arguments: str) -> object:
    return torch.hub.load(str(ROOT), "vsml_algorithm", source="local", **arguments)


def test_algorithms_by_name() -> None:
    assert load().fingerprint == checkpoints.load("backprop").fingerprint
    assert load(name="oja").fingerprint == checkpoints.load("oja").fingerprint
    with pytest.raises(CheckpointError, match="unknown learning algorithm 'adam'"):
        load(name="adam")


def test_dependencies_are_those_of_the_package() -> None:
    """torch.hub does not install them, but names what is missing."""
    needed = {re.match(r"[\w-]+", line)[0] for line in requires("lightning-vsml") or () if "extra ==" not in line}
    assert set(torch.hub._import_module("hubconf", ROOT / "hubconf.py").dependencies) == needed
