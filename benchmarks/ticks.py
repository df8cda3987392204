"""What a learning step costs: each tick implementation, a textbook LSTM per synapse, and SGD, in one run.

    python benchmarks/ticks.py                  # the backprop program on three layers, batch 1 and 64
    python benchmarks/ticks.py --samples 16     # another batch size
    python benchmarks/ticks.py --dense 16       # a random cell of 16 units without zeros, instead

A learning step is one forward and one learn call of a single Linear layer; SGD's is forward, backward and update of the
same layer. Times are medians; compare them within one run only. Textbook runs torch's LSTMCell on every (sample,
synapse), for the same three ticks.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from lightning_vsml import Cell, Codec, LearningAlgorithm, State, checkpoints
from lightning_vsml.ticks import IMPLEMENTATIONS

LAYERS = ((784, 10), (784, 32), (784, 128))


def median(run: Callable[[], object], seconds: float) -> float:
    """Median time of ``run`` in seconds, over at least 3 runs and about ``seconds``."""
    run()
    times: list[float] = []
    while len(times) < 3 or sum(times) < seconds:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def dense(units: int) -> LearningAlgorithm:
    """Random parameters under the protocol of backprop; it learns nothing, but costs what a learned cell costs."""
    torch.manual_seed(0)
    shapes = [(units, 4 * units), (2, 4 * units), (1, 4 * units), (4 * units,), (units, 1), (units, 1)]
    first = torch.eye(units)[0]
    return replace(
        checkpoints.load("backprop"),
        name=f"dense, N = {units}",
        cell=Cell(*(torch.randn(shape) * 0.3 for shape in shapes)),
        codec=Codec(first, first),
        memory=(True,) * units,
    )


def learning_step(algorithm: LearningAlgorithm, state: State, x: Tensor, e: Tensor) -> Callable[[], object]:
    def run() -> Tensor:
        algorithm.forward(state, x)
        change, _ = algorithm.learn(state, x, e, samples=len(x))
        return algorithm.decode(algorithm.commit(state, change))

    return run


def textbook(algorithm: LearningAlgorithm, state: State, x: Tensor, e: Tensor) -> Callable[[], object]:
    """The same ticks by LSTMCell, one row per sample and synapse; messages and merging as in the definition."""
    cell, (S, _, A), B = algorithm.cell, x.shape, e.shape[-1]
    lstm = nn.LSTMCell(cell.V.shape[0] + cell.U.shape[0], cell.units)
    with torch.no_grad():
        lstm.weight_hh.copy_(cell.W.T)
        lstm.weight_ih.copy_(torch.cat([cell.V, cell.U]).T)
        lstm.bias_ih.copy_(cell.b)
        lstm.bias_hh.zero_()

    def unroll(ticks: tuple) -> tuple[Tensor, Tensor]:
        h, c = (part.expand(S, A, B, cell.units).reshape(-1, cell.units) for part in state)
        for tick in ticks:
            fed = [x.view(S, A, 1) * (channel in tick.x) for channel in range(cell.V.shape[0])]
            fed += [e.view(S, 1, B) * (channel in tick.e) for channel in range(cell.U.shape[0])]
            message = torch.stack([part.expand(S, A, B) for part in fed], dim=-1)
            h, c = lstm(message.view(-1, message.shape[-1]), (h, c))
        return h.view(S, A, B, -1), c.view(S, A, B, -1)

    def run() -> object:
        y = (unroll(algorithm.protocol.forward)[0] @ cell.P_f).sum(1)
        h, c = unroll(algorithm.protocol.learn)
        return y, (h @ cell.P_b).sum(2), h.mean(0), c.mean(0)

    return run


def sgd_step(x: Tensor, e: Tensor) -> Callable[[], object]:
    layer = nn.Linear(x.shape[-1] - 1, e.shape[-1])
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    inputs, gradient = x[:, 0, :-1].requires_grad_(), -e[:, 0] / len(x)

    def run() -> None:
        optimizer.zero_grad()
        layer(inputs).backward(gradient)
        optimizer.step()

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--algorithm", default="backprop")
    parser.add_argument("--dense", type=int, metavar="N", help="a random dense cell of N units instead")
    parser.add_argument("--samples", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--seconds", type=float, default=1.0, help="for each measurement")
    options = parser.parse_args()
    algorithm = dense(options.dense) if options.dense else checkpoints.load(options.algorithm)

    names = ["textbook", *sorted(IMPLEMENTATIONS, reverse=True)]
    table = Table(title=f"{algorithm.name}, ms per learning step, torch {torch.__version__}")
    for column in ("layer", "S", *names, "SGD", "textbook / fused", "fused / SGD"):
        table.add_column(column, justify="right")
    for A, B in LAYERS:
        for S in options.samples:
            torch.manual_seed(0)
            state = algorithm.encode(torch.randn(1, A + 1, B) * 0.05)
            x, e = torch.randn(S, 1, A + 1), torch.randn(S, 1, B) * 0.1
            with torch.no_grad():
                times = {"textbook": median(textbook(algorithm, state, x, e), options.seconds)}
                for name in IMPLEMENTATIONS:
                    times[name] = median(learning_step(algorithm.on(name), state, x, e), options.seconds)
            times["SGD"] = median(sgd_step(x, e), options.seconds)
            cells = [f"{times[name] * 1e3:.2f}" for name in (*names, "SGD")]
            gain, price = times["textbook"] / times["fused"], times["fused"] / times["SGD"]
            table.add_row(f"{A} x {B}", str(S), *cells, f"{gain:.0f}", f"{price:.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
