"""What a learning step costs: each tick implementation, a textbook LSTM per synapse, and SGD, in one run.

    python benchmarks/ticks.py                                # backprop on two layers, batch 1 and 64
    python benchmarks/ticks.py --all                          # every layer, batch size and cell: half an hour
    python benchmarks/ticks.py --cells dense-16 --layers 784x10 --samples 16
    python benchmarks/ticks.py --device cuda                  # Triton in place of the native ticks
    python benchmarks/ticks.py --layers 784x32 --samples 64 --torch-compile   # and the fused ticks under torch.compile

A learning step is forward, learn, commit and decode of one layer, and the unfolding of a convolution; SGD's is forward,
backward and update of the same layer. Textbook runs torch's LSTMCell on every (sample, synapse). Times are medians in
ms, to be compared within one run. What takes too long is run on fewer rows and multiplied; such times begin with ~.

limit: the least time that the step's tanh and sigmoid could take, by a sweep of the kernels' own tanh over a vector in
the cache (on a GPU: of torch.tanh), over the time it took.
"""

import argparse
import ctypes
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from importlib import resources

import torch
from torch import Tensor, nn

from lightning_vsml import Cell, Codec, LearningAlgorithm, checkpoints
from lightning_vsml.grids import GRIDS
from lightning_vsml.ticks.native.compiler import library
from lightning_vsml.ticks.plan.outputs import outputs
from lightning_vsml.ticks.plan.structure import plan_protocol

LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "784x10": (lambda: nn.Linear(784, 10), (784,)),
    "784x32": (lambda: nn.Linear(784, 32), (784,)),
    "784x128": (lambda: nn.Linear(784, 128), (784,)),
    "512x512": (lambda: nn.Linear(512, 512), (512,)),
    "3x3x32x32": (lambda: nn.Conv2d(32, 32, 3, padding=1), (32, 14, 14)),
}
# Rows x synapses that are run, at 16 units.
AT_ONCE = {"textbook": 2**20, "reference": 2**22, "fused": 2**22, "native": 2**25}


def dense(units: int) -> LearningAlgorithm:
    """Random parameters under the protocol of backprop; it learns nothing, but costs what a learned cell costs."""
    torch.manual_seed(0)
    shapes = [(units, 4 * units), (2, 4 * units), (1, 4 * units), (4 * units,), (units, 1), (units, 1)]
    first = torch.eye(units)[0]
    return replace(
        checkpoints.load("backprop"),
        name=f"dense-{units}",
        cell=Cell(*(torch.randn(shape) * 0.3 for shape in shapes)),
        codec=Codec(first, first),
        memory=(True,) * units,
    )


CELLS: dict[str, Callable[[], LearningAlgorithm]] = {
    "backprop": lambda: checkpoints.load("backprop"),
    "dense-16": lambda: dense(16),
    "dense-32": lambda: dense(32),
}


class Case:
    """A layer, its input and a feedback for every row."""

    def __init__(self, layer: str, samples: int, algorithm: LearningAlgorithm, device: str) -> None:
        torch.manual_seed(0)
        build, shape = LAYERS[layer]
        self.algorithm, self.device, self.samples = algorithm.to(device), device, samples
        self.layer = build().to(device)
        self.grid = GRIDS[type(self.layer)](self.layer)
        self.x = torch.randn(samples, *shape, device=device)
        self.state = self.algorithm.encode(self.grid.read(torch.float32))
        messages = self.grid.messages(self.x, torch.float32)
        (self.R, self.G, self.A), self.B = messages.shape, self.grid.shape[-1]
        self.e = torch.randn(self.R, self.G, self.B, device=device) * 0.1

    def step(self, ticks: str, rows: int) -> Callable[[], object]:
        algorithm, few = self.algorithm.on(ticks), self.e[:rows]

        def run() -> Tensor:
            x = self.grid.messages(self.x, torch.float32)[:rows]
            algorithm.forward(self.state, x)
            change, _ = algorithm.learn(self.state, x, few, samples=self.samples)
            state = algorithm.commit(self.state, change)
            del change
            return algorithm.decode(state)

        return run

    def torch_compiled(self) -> Callable[[], object]:
        """The fused ticks under torch.compile."""
        implementation = self.algorithm.on("fused")._implementation
        forward, learn = torch.compile(implementation.forward), torch.compile(implementation.learn)

        def run() -> None:
            x = self.grid.messages(self.x, torch.float32)
            forward(self.state, x)
            learn(self.state, x, self.e)

        return run

    def textbook(self, rows: int) -> Callable[[], object]:
        """The same ticks by LSTMCell, one row per sample and synapse; messages and merging as in the definition."""
        cell, G, A, B = self.algorithm.cell, self.G, self.A, self.B
        x, e = self.grid.messages(self.x, torch.float32)[:rows], self.e[:rows]
        lstm = nn.LSTMCell(cell.V.shape[0] + cell.U.shape[0], cell.units, device=self.device)
        with torch.no_grad():
            lstm.weight_hh.copy_(cell.W.T)
            lstm.weight_ih.copy_(torch.cat([cell.V, cell.U]).T)
            lstm.bias_ih.copy_(cell.b)
            lstm.bias_hh.zero_()

        def unroll(ticks: tuple) -> tuple[Tensor, Tensor]:
            h, c = (part.expand(rows, G, A, B, cell.units).reshape(-1, cell.units) for part in self.state)
            for tick in ticks:
                fed = [x.unsqueeze(-1) * (channel in tick.x) for channel in range(cell.V.shape[0])]
                fed += [e.unsqueeze(-2) * (channel in tick.e) for channel in range(cell.U.shape[0])]
                message = torch.stack([part.expand(rows, G, A, B) for part in fed], dim=-1)
                h, c = lstm(message.view(-1, message.shape[-1]), (h, c))
            return h.view(rows, G, A, B, -1), c.view(rows, G, A, B, -1)

        def run() -> object:
            y = (unroll(self.algorithm.protocol.forward)[0] @ cell.P_f).sum(2)
            h, c = unroll(self.algorithm.protocol.learn)
            return y, (h @ cell.P_b).sum(3), h.mean(0), c.mean(0)

        return run

    def sgd(self) -> Callable[[], object]:
        optimizer = torch.optim.SGD(self.layer.parameters(), lr=0.1)
        inputs = self.x.clone().requires_grad_()
        gradient = torch.randn_like(self.layer(inputs)) / self.samples

        def run() -> None:
            optimizer.zero_grad()
            self.layer(inputs).backward(gradient)
            optimizer.step()

        return run

    def transcendental(self) -> int:
        """How many values of tanh and sigmoid a learning step takes, by the plan."""
        algorithm = self.algorithm
        codec = torch.stack(list(algorithm.codec)).abs().sum(0).nonzero().flatten().tolist()
        plans = plan_protocol(algorithm.cell, *algorithm.protocol, frozenset(codec))
        sizes, total = {"r": self.R, "a": self.A, "b": self.B}, 0
        for out in outputs(algorithm.cell, plans).values():
            results = [*out.messages, *(change.node for change in out.changes)]
            nodes = (out.graph.nodes[place] for place in out.graph.reach(results, lambda _: False)[0])
            total += sum(self.G * math.prod(sizes[d] for d in n.on) for n in nodes if n.op in ("tanh", "half"))
        return total

    def rows(self, ticks: str) -> int:
        """How many rows to run, of those there are."""
        few = AT_ONCE.get(ticks, 2**62) * 16 // self.algorithm.cell.units // (self.G * self.A * self.B)
        return min(self.R, max(1, few))


def median(run: Callable[[], object], seconds: float, device: str) -> float:
    """Median time of ``run`` in seconds, over at least 3 runs and about ``seconds``."""

    def once() -> float:
        start = time.perf_counter()
        run()
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    once()
    times: list[float] = []
    while len(times) < 3 or sum(times) < seconds:
        times.append(once())
    return statistics.median(times)


_SWEEP = """
extern "C" long sweep(long repeats, int threads) {
#pragma omp parallel num_threads(threads)
  {
    V x[256];
    for (int i = 0; i < 256; i++) x[i] = V{} + F(0.01) * i;
    for (long r = 0; r < repeats; r++) {
      for (int i = 0; i < 256; i++) x[i] = tanh_(x[i]);
      asm volatile("" : : "r"(x) : "memory");
    }
  }
  return repeats * threads * 256 * W;
}
"""


def torch_sweep(device: str) -> float:
    """Seconds of torch.tanh for one element."""
    x = torch.randn(2**22, device=device)
    y = torch.empty_like(x)
    return median(lambda: torch.tanh(x, out=y), 0.3, device) / x.numel()


def sweep(device: str) -> float:
    """Seconds of the kernels' tanh for one element, on all cores; on a GPU of torch's."""
    if device == "cuda":
        return torch_sweep(device)
    lanes = resources.files("lightning_vsml.ticks.native").joinpath("lanes.hpp").read_text()
    run = library("\n".join(["using F = float;", "namespace {", lanes, "}", _SWEEP]), "sweep").sweep
    run.restype = ctypes.c_long
    elements = run(2000, torch.get_num_threads())
    return median(lambda: run(2000, torch.get_num_threads()), 0.5, device) / elements


def measure(case: Case, kernels: list[str], seconds: float) -> tuple[dict[str, float], dict[str, int]]:
    """Median times in seconds, and how many rows they were taken from."""
    times, rows = {}, {}
    with torch.no_grad():
        for name in ("textbook", "reference", "fused", *kernels):
            rows[name] = case.rows(name)
            run = case.textbook(rows[name]) if name == "textbook" else case.step(name, rows[name])
            times[name] = median(run, seconds, case.device) * case.R / rows[name]
    times["SGD"] = median(case.sgd(), seconds, case.device)
    return times, rows


def torch_compile_line(case: Case, seconds: float) -> str:
    """What torch.compile makes of the fused ticks, and how long that takes."""
    run = case.torch_compiled()
    with torch.no_grad():
        start = time.perf_counter()
        run()
        first = time.perf_counter() - start
        time_ms = median(run, seconds, case.device) * 1e3
    return f"fused under torch.compile: {time_ms:.3g} ms without commit and decode; the first call took {first:.0f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=["backprop"])
    parser.add_argument("--layers", nargs="+", choices=LAYERS, default=["784x10", "784x128"])
    parser.add_argument("--samples", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--all", action="store_true", help="every cell and layer, with 1, 16, 64 and 256 samples")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each measurement")
    parser.add_argument("--torch-compile", action="store_true", help="also the fused ticks under torch.compile")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    options = parser.parse_args()
    if options.all:
        layers = [layer for layer in LAYERS if layer != "784x32"]
        options.cells, options.layers, options.samples = list(CELLS), layers, [1, 16, 64, 256]
    cases = [(c, l, s) for c in options.cells for l in options.layers for s in options.samples]
    kernels = ["native"] if options.device == "cpu" else ["triton", "triton-fast"]
    fastest = kernels[0]
    element = sweep(options.device)
    where = torch.cuda.get_device_name() if options.device == "cuda" else f"{torch.get_num_threads()} CPU cores"
    columns = ["cell", "layer", "S", "textbook", "reference", "fused", *kernels, "SGD"]
    columns += [f"textbook / {fastest}", f"{fastest} / SGD", "limit"]
    print(
        f"torch {torch.__version__}, {where}; tanh sweep {element * 1e9:.3f} ns per element, "
        f"torch.tanh {torch_sweep(options.device) * 1e9:.3f}\n"
    )
    print("| " + " | ".join(columns) + " |\n|" + "---|" * len(columns), flush=True)
    for cell, layer, samples in cases:
        case = Case(layer, samples, CELLS[cell](), options.device)
        times, rows = measure(case, kernels, options.seconds)
        shown = [f"{'~' if rows.get(n, case.R) < case.R else ''}{times[n] * 1e3:.3g}" for n in times]
        gain, price = times["textbook"] / times[fastest], times[fastest] / times["SGD"]
        limit = case.transcendental() * element / times[fastest]
        ratios = [f"{gain:.0f}", f"{price:.0f}", f"{limit:.0%}"]
        print("| " + " | ".join([cell, layer, str(samples), *shown, *ratios]) + " |", flush=True)
        if options.torch_compile:
            print(torch_compile_line(case, options.seconds))


if __name__ == "__main__":
    main()
