"""Fixtures every test module shares."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from lightning_vsml import LearningAlgorithm, checkpoints
from lightning_vsml.ticks import IMPLEMENTATIONS

settings.register_profile("fixed", derandomize=True, database=None, deadline=None)
settings.load_profile("fixed")

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(autouse=True)
def _one_thread_and_a_seed() -> Iterator[None]:
    """Small tensors run fastest, and repeatably, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(params=checkpoints.names())
def algorithm(request: pytest.FixtureRequest) -> LearningAlgorithm:
    """Every shipped algorithm."""
    return checkpoints.load(request.param)


@pytest.fixture(params=sorted(IMPLEMENTATIONS))
def ticks(request: pytest.FixtureRequest) -> str:
    """Every tick implementation."""
    return request.param


@pytest.fixture
def any_algorithm(algorithm: LearningAlgorithm, ticks: str) -> LearningAlgorithm:
    """Every shipped algorithm on every tick implementation."""
    return algorithm.on(ticks)


@pytest.fixture(scope="session")
def mnist_dir() -> Path:
    """The real MNIST, where it lies beside the checkout."""
    if not (SHARED_DATA / "MNIST" / "raw" / "train-images-idx3-ubyte.gz").is_file():
        pytest.skip(f"the real MNIST is not in {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture(autouse=True)
def _needs_gpu(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
