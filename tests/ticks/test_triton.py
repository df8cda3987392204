"""Triton ticks: compiled for an H200 without one, left to torch where they do not apply, and run on a GPU."""

import logging
import subprocess
import sys
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from helpers import Module, classification, cross_entropy, relative_differences, trainer
from torch import nn

from lightning_vsml import VSMLLearner, programs
from lightning_vsml.ticks import Triton, compiled
from lightning_vsml.ticks import triton as triton_ticks

COMPILE = """
import torch, triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from lightning_vsml.ticks.triton.dense import dense

def build(kernel, pointers, **constants):
    types = {name: "*fp32" if name in pointers else "i32" for name in kernel.arg_names}
    types.update(dict.fromkeys(constants, "constexpr"))
    source = ASTSource(fn=kernel, signature=types, constexprs=constants)
    made = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 4})
    print(kernel.__name__, "tanh.approx" in made.asm["ptx"], len(made.asm["cubin"]) > 1000)

for fast in (False, True):
    build(dense, {"W", "V", "U", "b", "P", "h", "c", "x", "e", "changes", "message"}, N=16, UNITS=16, TICKS=2,
          CARRIED=2, MESSAGES=1, BACKWARD=True, BA=2, BB=16, FAST=fast, PRECISION="tf32" if fast else "ieee")
"""


def test_kernels_compile_for_hopper(monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton's compiler needs no GPU; the interpreter, where the other tests run, would not notice what it refuses."""
    pytest.importorskip("triton")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", COMPILE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:-1] == [f"dense {fast} True" for fast in (False, True)]


@pytest.mark.parametrize("obstacle", ["no Triton", "another device", "another dtype"])
def test_where_triton_does_not_apply_torch_runs(
    obstacle: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if obstacle != "no Triton":
        pytest.importorskip("triton")
    dtype = torch.float64 if obstacle == "another dtype" else torch.float32
    monkeypatch.setenv("TRITON_INTERPRET", "1" if obstacle == "another dtype" else "0")
    if obstacle == "no Triton":
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    compiled.inform.cache_clear()
    triton_ticks._installed.cache_clear()
    logger = logging.getLogger("lightning_vsml")
    logger.addHandler(caplog.handler)
    algorithm = replace(programs.backprop(dtype=dtype), fine=False)
    state, x = algorithm.encode(torch.randn(1, 6, 4)), torch.randn(5, 1, 6, dtype=dtype)
    assert torch.equal(algorithm.on("triton").forward(state, x), algorithm.on("fused").forward(state, x))
    logger.removeHandler(caplog.handler)
    triton_ticks._installed.cache_clear()
    why = {"no Triton": "not installed", "another device": "on cuda", "another dtype": "need float32"}[obstacle]
    assert why in caplog.text


@pytest.mark.gpu
@pytest.mark.parametrize("ticks", ["auto", "fused", "reference"])
def test_a_network_on_a_gpu_follows_sgd(ticks: str) -> None:
    net = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 4))
    data, ends = classification(160, (6,)), []
    for callbacks in ([], [VSMLLearner("backprop", ticks=ticks)]):
        module = Module(deepcopy(net), cross_entropy, 0.1)
        fit = trainer(*callbacks, max_steps=100, accelerator="gpu")
        fit.fit(module, data)
        ends.append(module.net.cpu())
    assert max(relative_differences(*ends[::-1]).values()) < 1e-3


@pytest.mark.gpu
def test_dense_cells_get_triton_on_a_gpu() -> None:
    algorithm = programs.backprop()
    W = algorithm.cell.W + torch.randn_like(algorithm.cell.W)
    dense = replace(algorithm, cell=algorithm.cell._replace(W=W), fine=False).to("cuda")
    assert isinstance(dense._implementation.ticks, Triton)
