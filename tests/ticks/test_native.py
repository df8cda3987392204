"""Compiled ticks: when they compile, when they leave the work to torch, and what they do with awkward numbers."""

import ctypes
import hashlib
import logging
import os
import subprocess
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lightning_vsml import State, programs
from lightning_vsml.ticks import Native, compiled
from lightning_vsml.ticks.native import compiler

COARSE = {"scale": 2.0**10, "eps": 2.0**-8, "zeta": 2.0**-8, "k": 2.0**8}  # float32 does for them


def native(lr: float = 0.1) -> Native:
    algorithm = programs.backprop(lr=lr, **COARSE)
    return Native(algorithm.cell, *algorithm.protocol[:2], frozenset([0, 1]))


def feeds(rows: int, A: int = 6, B: int = 4) -> tuple[State, Tensor, Tensor]:
    torch.manual_seed(0)
    algorithm = programs.backprop(**COARSE)
    state = State(*algorithm.layout.expand(algorithm.encode(torch.randn(1, A, B))))
    return state, torch.randn(rows, 1, A), torch.randn(rows, 1, B)


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """As in a new process, with an empty cache."""
    monkeypatch.setenv("LIGHTNING_VSML_CACHE", str(tmp_path / "cache"))
    compiler.library.cache_clear()
    compiled.inform.cache_clear()
    yield tmp_path
    compiler.library.cache_clear()
    compiled.inform.cache_clear()


class Messages(logging.Handler):
    """Every message of ours, each as often as it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.list: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.list.append(record.getMessage())


@pytest.fixture
def messages() -> Iterator[list[str]]:
    handler = Messages()
    logging.getLogger("lightning_vsml").addHandler(handler)
    yield handler.list
    logging.getLogger("lightning_vsml").removeHandler(handler)


def test_compiles_once_for_all_shapes_and_learning_rates(fresh: Path, messages: list[str]) -> None:
    for lr in (0.1, 0.2):
        ticks = native(lr)
        for rows, A, B in ((1, 6, 4), (64, 6, 4), (13, 6, 4), (9, 3, 70)):  # 13: the last, short batch
            ticks.learn(*feeds(rows, A, B))
    assert len(list((fresh / "cache").iterdir())) == 1
    assert len(messages) == 1 and "Compiling the ticks of 5 units" in messages[0]
    compiler.library.cache_clear()
    native().learn(*feeds(3))  # another process
    assert len(messages) == 1


def truncated(library: Path) -> None:
    library.write_bytes(library.read_bytes()[: library.stat().st_size // 2])


def empty(library: Path) -> None:
    library.write_bytes(b"")


def foreign(library: Path) -> None:
    """Another library that loads, and has none of the functions."""
    source = library.with_suffix(".cpp")
    source.write_text('extern "C" int other() { return 1; }')
    subprocess.run([compiler.compiler() or "c++", "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
    source.unlink()


def of_another_system(library: Path) -> None:
    """Whole, as the digest in its name says, but nothing that this system can load."""
    content = b"\x7fELF of elsewhere"
    library.unlink()
    stem = library.stem.split("-")[0]
    library.with_name(f"{stem}-{hashlib.sha256(content).hexdigest()[:32]}.so").write_bytes(content)


@pytest.mark.parametrize("damage", [truncated, empty, foreign, of_another_system])
def test_a_damaged_library_is_compiled_anew(damage: Callable[[Path], None], fresh: Path, messages: list[str]) -> None:
    case = feeds(12)
    before = native().learn(*case)
    [library] = (fresh / "cache").iterdir()
    whole = library.read_bytes()
    copy = fresh / "copy"
    copy.write_bytes(whole)
    os.replace(copy, library)  # the process goes on with the file that it has loaded; the next one finds this
    damage(library)
    compiler.library.cache_clear()
    torch.testing.assert_close(native().learn(*case), before, rtol=0, atol=0)
    assert [file.read_bytes() for file in (fresh / "cache").iterdir()] == [whole]
    assert len(messages) == 3 and "made anew" in messages[1] and str(library.parent) in messages[1]
    assert "Compiling the ticks of 5 units" in messages[2]


def without_compiler(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("CXX", raising=False)


def with_broken_compiler(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    script = folder / "broken"
    script.write_text("#!/bin/sh\necho 'no such option' >&2\nexit 1\n")
    script.chmod(0o755)
    monkeypatch.setenv("CXX", str(script))


def without_cache(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    (folder / "file").write_text("")
    monkeypatch.setenv("LIGHTNING_VSML_CACHE", str(folder / "file" / "below"))


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (without_compiler, "no C++ compiler found"),
        (with_broken_compiler, "broken failed (exit status 1): no such option"),
        (without_cache, "set LIGHTNING_VSML_CACHE"),
    ],
)
def test_what_can_not_be_compiled_runs_in_torch(
    spoil: Callable[[pytest.MonkeyPatch, Path], None],
    why: str,
    fresh: Path,
    monkeypatch: pytest.MonkeyPatch,
    messages: list[str],
) -> None:
    spoil(monkeypatch, fresh)
    for _ in range(2):
        ticks, (state, x, e) = native(), feeds(12)
        torch.testing.assert_close(ticks.learn(state, x, e), ticks.eager.learn(state, x, e), rtol=0, atol=0)
        torch.testing.assert_close(ticks.forward(state, x), ticks.eager.forward(state, x), rtol=0, atol=0)
    told = [message for message in messages if "run in torch" in message]
    assert len(told) == 1 and why in told[0]
    assert not list(fresh.glob("cache/*"))  # nothing half-written


def test_other_dtypes_run_in_torch(messages: list[str]) -> None:
    compiled.inform.cache_clear()
    state, x, e = feeds(12)
    change, _ = native().learn(State(*(part.double() for part in state)), x.double(), e.double())
    assert change.c.dtype == torch.float64
    assert "native ticks need everything in float32, or in float64" in messages[0]


@pytest.mark.parametrize("rows", [2, 40])
def test_threads_share_the_work(rows: int) -> None:
    ticks, (state, x, e) = native(), feeds(rows, 70, 9)
    alone = ticks.forward(state, x), ticks.learn(state, x, e)
    torch.set_num_threads(3)
    torch.testing.assert_close((ticks.forward(state, x), ticks.learn(state, x, e)), alone, rtol=1e-5, atol=1e-6)


def test_rows_do_not_meet() -> None:
    """A row that is not a number spoils the sums over rows, and no other row's message."""
    ticks, (state, x, e) = native(), feeds(20)
    _, clean = ticks.learn(state, x, e)
    x[3, 0, 2] = torch.nan
    change, message = ticks.learn(state, x, e)
    assert message[3, 0, 2].isnan().all() and change.c[0, 2, :, 0].isnan().all()
    others = torch.ones(20, 6, dtype=torch.bool)
    others[3, 2] = False
    assert torch.equal(message[:, 0][others], clean[:, 0][others])
    assert change.c[0, [0, 1, 3, 4, 5], :, 0].isfinite().all()
    assert ticks.forward(state, x)[3].isnan().all() and ticks.forward(state, x)[[0, 1, 2, 4]].isfinite().all()


GATES = """
extern "C" void gates(const float* z, float* tanh, float* sigmoid, long n) {
  for (long i = 0; i < n; i += W) {
    store(tanh + i, tanh_(load(z + i, n - i)), n - i);
    store(sigmoid + i, half(load(z + i, n - i)), n - i);
  }
}
"""


def test_tanh_and_sigmoid_against_float64() -> None:
    """Relative errors below 5e-7, of tiny values too; exactly 1 far out: an open forget gate forgets nothing."""
    lanes = resources.files("lightning_vsml.ticks.native").joinpath("lanes.hpp").read_text()
    run = compiler.library("\n".join(["using F = float;", "namespace {", lanes, "}", GATES]), "a test").gates
    z = torch.cat([torch.logspace(-20, 1.5, 2**16), -torch.logspace(-20, 1.5, 2**16), torch.linspace(-12, 12, 2**16)])
    tanh, half = torch.empty_like(z), torch.empty_like(z)
    run(*(ctypes.c_void_p(tensor.data_ptr()) for tensor in (z, tanh, half)), ctypes.c_long(len(z)))
    for ours, exact in ((tanh, z.double().tanh()), (half, (z.double() / 2).tanh() / 2)):
        torch.testing.assert_close(ours.double(), exact, rtol=5e-7, atol=0)
    assert tanh.abs().max() == 1.0 and half.abs().max() == 0.5
    assert (tanh[z.abs() > 8.01].abs() == 1.0).all() and (half[z.abs() > 16.02].abs() == 0.5).all()


def test_outputs_are_laid_out_as_a_layers() -> None:
    """Dropout draws its mask in the order of memory; a layer's output is contiguous."""
    for rows in (2, 40):
        assert native().forward(*feeds(rows)[:2]).is_contiguous()
        assert native().learn(*feeds(rows))[1].is_contiguous()
