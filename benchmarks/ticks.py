"""What a learning step costs: ticks as products, tick by tick, by a textbook LSTM per synapse, and SGD, in one run.

    python benchmarks/ticks.py                                # backprop on every layer, S = 1, 16, 64, 256
    python benchmarks/ticks.py --cells cloned_backprop adaptive --samples 64 --seconds 0.3
    python benchmarks/ticks.py --cells dense-16 --layers 784x10 784x128 --samples 1 64
    python benchmarks/ticks.py --columns textbook reference fused --layers 784x10 --samples 64   # the slow ones, too
    python benchmarks/ticks.py --threads 1 --dtype float64
    python benchmarks/ticks.py --device cuda                  # triton in place of the native ticks

A learning step of one layer is everything that a loop does with it: ``layer(x).backward(g); synapses.step()``, which is
forward, learn, backward message, commit, writing the weights back, and seeing that nobody else has changed them; from a
state that a few steps have led to. SGD's is ``zero_grad``, forward, backward (also to the input), and ``step``. Times
are medians in ms, to be compared within one row. What takes too long is run on fewer rows and multiplied; such times
begin with ~.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from lightning_vsml import Cell, Codec, LearningAlgorithm, attach, checkpoints
from lightning_vsml.algorithms.options import Parser, count, device, positive
from lightning_vsml.ticks.sites import Rows, Site

LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "784x10": (lambda: nn.Linear(784, 10), (784,)),
    "784x128": (lambda: nn.Linear(784, 128), (784,)),
    "512x512": (lambda: nn.Linear(512, 512), (512,)),
    "2048x2048": (lambda: nn.Linear(2048, 2048), (2048,)),
    "3x3x32x32": (lambda: nn.Conv2d(32, 32, 3, padding=1), (32, 14, 14)),
}
# Rows x synapses that are run, at 16 units.
AT_ONCE = {"textbook": 2**20, "reference": 2**22, "fused": 2**22, "native": 2**24}
WARM = 5  # learning steps before it is timed


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
        fine=False,
    )


CELLS: dict[str, Callable[[], LearningAlgorithm]] = {
    **{
        name: (lambda name=name: checkpoints.load(name, kind=LearningAlgorithm))
        for name in checkpoints.names("cellular")
    },  # type: ignore[misc]
    "dense-16": lambda: dense(16),
    "dense-32": lambda: dense(32),
}


class Case:
    """A layer, its input and the derivative of a loss by its output."""

    def __init__(
        self, layer: str, samples: int, algorithm: LearningAlgorithm, device: str, dtype: torch.dtype = torch.float32
    ) -> None:
        torch.manual_seed(0)
        build, shape = LAYERS[layer]
        self.algorithm, self.device, self.samples, self.dtype = algorithm.to(device, dtype), device, samples, dtype
        self.layer = build().to(device, dtype)
        self.x = torch.randn(samples, *shape, device=device, dtype=dtype)
        self.gradient = torch.randn_like(self.layer(self.x)).detach() * 0.1 / samples
        self.sparse = algorithm.on("auto")._implementation.__class__.__name__ == "Products"
        self.synapses = attach(self.layer, self.algorithm)
        self.grid, self.running = self.synapses.grids[""], self.algorithm
        self._warm()
        self.state = self.synapses.changes.states.current("")

    def _warm(self) -> None:
        for _ in range(WARM):
            self.layer(torch.randn_like(self.x)).backward(torch.randn_like(self.gradient) * 0.1 / self.samples)
            self.synapses.step()

    def site(self) -> Site:
        """Where the layer is used."""
        sites: list[Site] = []

        def run(site: Site) -> Tensor:
            sites.append(site)
            return site.forward(site.x, 1.0, self.state[0], 1.0)

        more = ("stride", "padding", "dilation", "groups") if isinstance(self.layer, nn.Conv2d) else ()
        self.grid.call(run, self.x, *self.grid.parameters, *(getattr(self.layer, name) for name in more))
        return sites[0]

    def feedback(self, rows: int) -> Tensor:
        """e of the first rows."""
        e = self.gradient.movedim(1, -1).reshape(-1, self.grid.groups, self.grid.fan_out)
        return e[:rows] * -self.samples

    def step(self, ticks: str, rows: int | None = None) -> Callable[[], object]:
        """A whole learning step; on fewer rows without what a layer does around it."""
        algorithm = self.algorithm.on(ticks)
        if rows is not None:
            self.running, site = algorithm, self.site()
            few = Rows(site.as_rows(site.x)[:rows].contiguous(), self.grid.shape, self.grid.bias is not None)
            e = self.feedback(rows)

            def on_rows() -> object:
                sent = algorithm.send(self.state, few)
                change, _ = algorithm.learn(self.state, few, e, self.samples, sent)
                return algorithm.decode(algorithm.commit(self.state, change))

            return on_rows
        self.synapses.detach()
        self.synapses = attach(self.layer, algorithm)
        self.running, inputs = self.synapses.changes.states.runs(""), self.x.clone().requires_grad_()
        with torch.enable_grad():
            self._warm()

        def run() -> object:
            with torch.enable_grad():
                self.layer(inputs).backward(self.gradient)
            return self.synapses.step()

        return run

    def textbook(self, rows: int) -> Callable[[], object]:
        """The same ticks by LSTMCell, one row per sample and synapse; messages and merging as in the definition."""
        algorithm, (G, A, B) = self.algorithm, self.grid.shape
        cell, site = algorithm.cell, self.site()
        x = nn.functional.pad(site.as_rows(site.x), (0, int(site.bias)), value=1.0)[:rows]
        e = self.feedback(rows)
        lstm = nn.LSTMCell(cell.V.shape[0] + cell.U.shape[0], cell.units, device=self.device, dtype=self.dtype)
        with torch.no_grad():
            lstm.weight_hh.copy_(cell.W.T)
            lstm.weight_ih.copy_(torch.cat([cell.V, cell.U]).T)
            lstm.bias_ih.copy_(cell.b)
            lstm.bias_hh.zero_()

        def unroll(ticks: tuple) -> tuple[Tensor, Tensor]:
            state = algorithm.layout.expand(self.state)
            h, c = (part.expand(rows, G, A, B, cell.units).reshape(-1, cell.units) for part in state)
            for tick in ticks:
                fed = [x.unsqueeze(-1) * (channel in tick.x) for channel in range(cell.V.shape[0])]
                fed += [e.unsqueeze(-2) * (channel in tick.e) for channel in range(cell.U.shape[0])]
                message = torch.stack([part.expand(rows, G, A, B) for part in fed], dim=-1)
                h, c = lstm(message.view(-1, message.shape[-1]), (h, c))
            return h.view(rows, G, A, B, -1), c.view(rows, G, A, B, -1)

        def run() -> object:
            y = (unroll(algorithm.protocol.forward)[0] @ cell.P_f).sum(2)
            h, c = unroll(algorithm.protocol.learn)
            return y, (h @ cell.P_b).sum(3), h.mean(0), c.mean(0)

        return run

    def sgd(self) -> Callable[[], object]:
        """Forward, gradients of input and weights, update."""
        self.synapses.detach()
        optimizer = torch.optim.SGD(self.layer.parameters(), lr=1e-6)
        inputs = self.x.clone().requires_grad_()

        def run() -> None:
            optimizer.zero_grad()
            with torch.enable_grad():
                self.layer(inputs).backward(self.gradient)
            optimizer.step()

        return run

    def rows(self, ticks: str) -> tuple[int, int]:
        """How many rows to run, and how many there are."""
        G, A, B = self.grid.shape
        few = AT_ONCE.get(ticks, 2**62) * 16 // self.algorithm.cell.units // (G * A * B)
        whole = self.site().rows
        return min(whole, max(1, few)), whole


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


def cell_of(case: Case, column: str, seconds: float) -> tuple[float, str]:
    """Median time in seconds, and how it is shown."""
    if column == "SGD":
        found = median(case.sgd(), seconds, case.device)
        return found, f"{found * 1e3:.3g}"
    if column == "products" and not case.sparse:
        return float("nan"), "-"
    few, whole = case.rows(column)
    run = case.textbook(few) if column == "textbook" else case.step(column, few if few < whole else None)
    found = median(run, seconds, case.device) * whole / few
    return found, f"{'~' if few < whole else ''}{found * 1e3:.3g}"


def main() -> None:
    """Command line."""
    parser = Parser(__doc__)
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=["backprop"])
    parser.add_argument("--layers", nargs="+", choices=LAYERS, default=list(LAYERS))
    parser.add_argument("--samples", type=count, nargs="+", default=[1, 16, 64, 256])
    parser.add_argument("--columns", nargs="*", default=[], help="of textbook, reference, fused: slow ones, besides")
    parser.add_argument("--fast", action="store_true", help="products and SGD alone")
    parser.add_argument("--seconds", type=positive, default=0.5, help="for each measurement")
    parser.add_argument("--threads", type=count, default=torch.get_num_threads())
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    parser.add_argument("--device", type=device, default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    compiled = "native" if options.device == "cpu" else "triton"
    columns = [*options.columns, *([] if options.fast else [compiled]), "products", "SGD"]
    where = torch.cuda.get_device_name() if options.device == "cuda" else f"{options.threads} threads"
    print(f"torch {torch.__version__}, {where}, {options.dtype}\n")
    compared = [column for column in (compiled, "products") if column in columns]
    headings = ["cell", "layer", "S", *columns, *(f"{column} / SGD" for column in compared), "exact calls"]
    print("| " + " | ".join(headings) + " |\n|" + "---|" * len(headings), flush=True)
    for name in options.cells:
        for layer in options.layers:
            for samples in options.samples:
                case = Case(layer, samples, CELLS[name](), options.device, getattr(torch, options.dtype))
                with torch.no_grad():
                    times = {column: cell_of(case, column, options.seconds) for column in columns}
                ratios = [times[column][0] / times["SGD"][0] for column in compared]
                shown = [f"{ratio:.2f}" if ratio == ratio else "-" for ratio in ratios]
                exact = case.running.exact_calls()[0] if case.sparse else 0
                row = [name, layer, str(samples), *(text for _, text in times.values()), *shown, str(exact)]
                print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
