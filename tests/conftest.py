"""Fixtures every test module shares."""

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # of examples too, which run beside other tests
HAS_TRITON = importlib.util.find_spec("triton") is not None
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # kernels run in Python, on the CPU; Triton reads it when it is imported

from sensing import sensing  # noqa: E402

from lightning_vsml import LearningAlgorithm, checkpoints  # noqa: E402
from lightning_vsml.ticks import IMPLEMENTATIONS  # noqa: E402

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


@pytest.fixture(scope="session", autouse=True)
def _fresh_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Random cells of tests do not fill the user's cache; every run compiles anew, its workers together."""
    run = tmp_path_factory.getbasetemp()
    run = run.parent if "PYTEST_XDIST_WORKER" in os.environ else run
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIGHTNING_VSML_CACHE", str(run / "cache"))
        yield


@pytest.fixture(params=[*checkpoints.names("cellular"), "sensing"])
def algorithm(request: pytest.FixtureRequest) -> LearningAlgorithm:
    """Every shipped algorithm whose weights are readable, and a small one that does what none of them does."""
    if request.param == "sensing":
        return sensing()
    return checkpoints.load(request.param, kind=LearningAlgorithm)


@pytest.fixture(params=["products", "reference", "fused", "native"])
def ticks(request: pytest.FixtureRequest) -> str:
    """Every tick implementation that can train a network on the CPU."""
    return request.param


@pytest.fixture(params=sorted(set(IMPLEMENTATIONS) - {"triton-fast"}))
def any_algorithm(algorithm: LearningAlgorithm, request: pytest.FixtureRequest) -> LearningAlgorithm:
    """Each of them on every tick implementation that is exact."""
    if request.param == "triton" and (torch.cuda.is_available() or not HAS_TRITON):
        pytest.skip("needs Triton's interpreter on the CPU")
    return algorithm.on(request.param)


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
