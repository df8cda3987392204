"""How much memory a learning step takes at its peak.

    python benchmarks/memory.py                               # on the CPU; counted by Linux in pages
    python benchmarks/memory.py --device cuda

Layers and cells are those of ``ticks.py``. numbers: how many float32 numbers a weight takes, the state at rest and what
a step adds to it at its peak, less inputs, outputs and messages; the module's own weights are not counted.
"""

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path

import torch
from ticks import CELLS, LAYERS, Case

from lightning_vsml.algorithms.options import Parser, count, device


def peak(run: Callable[[], object], device: str) -> int:
    """By how many bytes the memory in use grows during ``run`` at most; on a CPU Linux counts the pages."""
    run()
    gc.collect()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return torch.cuda.max_memory_allocated() - before
    libc = ctypes.CDLL(None)
    libc.mallopt(-3, 1 << 16)  # M_MMAP_THRESHOLD: what is freed goes back to the system, and counts when used again
    grown = []
    for _ in range(4):  # the first still has freed memory; now and then the system lends more than was asked for
        libc.malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
        before = _status("VmRSS")
        run()
        grown.append(_status("VmHWM") - before)
    return min(grown[1:])


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=list(CELLS))
    parser.add_argument("--layers", nargs="+", choices=LAYERS, default=["784x128", "512x512"])
    parser.add_argument("--samples", type=count, nargs="+", default=[1, 16, 64])
    parser.add_argument("--device", type=device, default="cpu")
    options = parser.parse_args()
    print("| cell | layer | S | planes | numbers a weight |\n|---|---|---|---|---|")
    for name, layer, samples in ((c, l, s) for c in options.cells for l in options.layers for s in options.samples):
        case = Case(layer, samples, CELLS[name](), options.device)
        weights = case.state[0].numel()
        G, A, B = case.grid.shape
        messages = 8 * case.site().rows * G * (A + B)
        with torch.no_grad():
            grown = peak(case.step("auto"), options.device) - messages
        numbers = len(case.state) + grown / 4 / weights
        print(f"| {name} | {layer} | {samples} | {len(case.state)} | {numbers:.2f} |", flush=True)


if __name__ == "__main__":
    main()
