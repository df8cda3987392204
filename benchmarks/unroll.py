"""What a meta-training step of an emergent algorithm costs: an unroll and the way back through it, on one core.

python benchmarks/unroll.py                     # 64 learners x 100 examples x 49 inputs x 10 classes
python benchmarks/unroll.py --learners 8

Compiled ticks against the readable ones in torch, best of a few runs; with the least number of multiplications that the
ticks need, and how many were done in a second.
"""

import time

import torch
from rich.console import Console
from rich.table import Table

from lightning_vsml.algorithms.emergent import Emergent, initial
from lightning_vsml.algorithms.options import Parser, count
from lightning_vsml.meta.sequences.learning import Learning, unroll
from lightning_vsml.meta.sequences.looks import Stream
from lightning_vsml.ticks import Cell


def main() -> None:
    parser = Parser(__doc__)
    for name, value in (
        ("learners", 64),
        ("examples", 100),
        ("inputs", 49),
        ("classes", 10),
        ("units", 16),
        ("runs", 3),
    ):
        parser.add_argument(f"--{name}", type=count, default=value)
    parser.add_argument("--no-torch", action="store_true", help="compiled ticks only")
    options = parser.parse_args()
    torch.set_num_threads(1)
    N, T, S, A, B = (getattr(options, name) for name in ("units", "learners", "examples", "inputs", "classes"))
    stream = Stream(torch.randn(S, T, A), torch.randint(B, (S, T)))
    cell = Cell(*(parameter.requires_grad_() for parameter in initial(N)))
    fresh = Learning(stream, (A, B), S, 1, 0).fresh(cell._asdict())
    products = 2 * S * T * (A + 1) * B * 3 * 4 * N * N  # two ticks; h W there, and two of its size on the way back
    table = Table("ticks", "forwards, s", "backwards, s", "together, s", "10^9 multiplications / s")
    for ticks in ("native",) if options.no_torch else ("native", "reference"):
        best = min((measure(Emergent("", cell, ticks=ticks), fresh, stream) for _ in range(options.runs)), key=sum)
        table.add_row(ticks, *(f"{t:.2f}" for t in (*best, sum(best))), f"{products / sum(best) / 1e9:.1f}")
    table.title = f"{T} learners x {S} examples x {A} x {B} synapses, {N} units, one core"
    Console().print(table)


def measure(algorithm: Emergent, fresh: tuple[torch.Tensor, ...], stream: Stream) -> tuple[float, float]:
    begin = time.perf_counter()
    loss = unroll(algorithm, fresh, stream)[0].mean()
    there = time.perf_counter()
    torch.autograd.grad(loss, algorithm.cell, allow_unused=True)
    return there - begin, time.perf_counter() - there


if __name__ == "__main__":
    main()
