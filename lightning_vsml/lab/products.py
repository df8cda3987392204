"""Which matrix products the ticks of an algorithm become, on real data.

    python -m lightning_vsml.lab.products cloned_backprop --dataset digits --hidden 32 --steps 100

lets a small network learn, and prints for every grid of the last step what is kept of a synapse's units, the ranges
that the step's tensors were declared to lie in, and for each message and each plane's change how many products it is,
of how many terms and which of them are matrix products at all.
"""

from collections.abc import Iterator, Sequence

import torch
from rich.console import Console
from rich.table import Table

from lightning_vsml.algorithms import checkpoints
from lightning_vsml.algorithms.cellular import LearningAlgorithm
from lightning_vsml.algorithms.options import Parser, count, positive
from lightning_vsml.lab import datasets
from lightning_vsml.lab.curves import batches
from lightning_vsml.lab.networks import Dense, Network, learn
from lightning_vsml.ticks.plan.layout import Plane
from lightning_vsml.ticks.products import Products
from lightning_vsml.ticks.products.phases import Ranges
from lightning_vsml.ticks.products.planned import Planned
from lightning_vsml.ticks.products.ranks import Product


def run(algorithm: LearningAlgorithm, data: datasets.Images, hidden: Sequence[int], batch: int, steps: int) -> Products:
    """Let a perceptron learn; the products it did it by.

    Raises:
        ValueError: the algorithm does not run as products.
    """
    ticks = algorithm._implementation
    if not isinstance(ticks, Products):
        raise ValueError(
            f"{algorithm.name!r} has too few zeros for products and runs tick by tick. Take another algorithm, or try "
            'algorithm.on("products").'
        )
    x = data.x.flatten(1)
    network = Network((*map(Dense, hidden), Dense(int(data.y.max()) + 1)))
    states = [algorithm.encode(weights) for weights in network.initial(x.shape[1:], [0])]
    for chosen in batches(len(x), batch, steps, [0]):
        states, _ = learn(algorithm, network, states, x[chosen], data.y[chosen])
    return ticks


def describe(ticks: Products, phase: str, ranges: Ranges, plan: Planned) -> Table:
    """The products of one phase."""
    intervals = [f"x in {_interval(ranges.x)}"]
    intervals += [f"{'own ' + str(n) if n else 'e'} in {_interval(told)}" for n, told in enumerate(ranges.e)]
    if phase == "forward":
        intervals = intervals[:1]
    planes = [f"{_name(p)} in {_interval(r)}" for p, r in zip(ticks.layout.planes, ranges.planes, strict=True)]
    table = Table(title=f"{phase}: {', '.join(intervals)}; {', '.join(planes)}", title_justify="left")
    for heading in ("sum", "products", "matrix products", "terms (P, Q, G) of each"):
        table.add_column(heading, justify="left" if heading in ("sum", "terms (P, Q, G) of each") else "right")
    for name, products, note in _sums(ticks, phase, plan):
        terms = " ".join(f"{len(p.ra)},{len(p.rb)},{len(p.ab)}" for p in products)
        table.add_row(name, str(len(products)), str(sum(_is_matrix(p, name) for p in products)), f"{note}{terms}")
    functions: dict[str, int] = {}
    for atom in plan.algebra.atoms:
        if atom.kind in ("tanh", "sigm", "exp"):
            functions[atom.shape] = functions.get(atom.shape, 0) + 1
    made = ", ".join(f"{count} at {shape}" for shape, count in sorted(functions.items()) if shape) or "none"
    table.caption = f"transcendental functions: {made} (ra: sample and input, rb: sample and output, ab: synapse)"
    return table


def _sums(ticks: Products, phase: str, plan: Planned) -> Iterator[tuple[str, tuple[Product, ...], str]]:
    names = ["y", *(f"own message {n}" for n in range(1, len(plan.messages)))] if phase == "forward" else ["message"]
    for name, products in zip(names, plan.messages, strict=True):
        yield name, products, ""
    for plane, change in zip(ticks.layout.planes, plan.changes, strict=False):
        base = f"{change.ratio:.3g} of {_name(ticks.layout.planes[change.base])} + " if change.base is not None else ""
        yield f"change of {_name(plane)}", change.products, base


def _is_matrix(product: Product, sum_: str) -> bool:
    kinds = {"y": (product.ra, product.ab), "own": (product.ra, product.ab), "message": (product.rb, product.ab)}
    inner = kinds.get(sum_.split()[0], (product.ra, product.rb))
    return all(set(terms) != {()} for terms in inner)


def _name(plane: Plane) -> str:
    return "w" if plane.codes else f"{'hc'[plane.part]}{plane.unit}"


def _interval(ends: tuple[float, float]) -> str:
    return f"[{ends[0]:.3g}, {ends[1]:.3g}]"


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = Parser(__doc__, "python -m lightning_vsml.lab.products")
    parser.add_argument(
        "algorithm", help=f"{', '.join(checkpoints.names('cellular'))}, or the path of a .safetensors file"
    )
    parser.add_argument(
        "--dataset", choices=datasets.NAMES, default="digits", help="digits (default), mnist or fashion_mnist"
    )
    parser.add_argument("--data-dir", default="data", help="where MNIST/raw and FashionMNIST/raw lie (default data)")
    parser.add_argument("--hidden", type=count, nargs="*", default=[32], help="units of the hidden layers (default 32)")
    parser.add_argument("--batch-size", type=count, default=16, help="samples of a step (default 16)")
    parser.add_argument("--steps", type=count, default=100, help="of learning (default 100)")
    parser.add_argument("--tolerance", type=positive, help="relative error; default: the algorithm's own")
    options = parser.parse_args(arguments)
    parser.without_effect(options.dataset == "digits", "with --dataset digits", "--data-dir")
    with parser.refusing(datasets.DatasetError):
        algorithm = checkpoints.load(options.algorithm, kind=LearningAlgorithm).on(tolerance=options.tolerance)
        data = datasets.load(options.dataset, options.data_dir)
    parser.at_most("--batch-size", options.batch_size, len(data.x), "the training images")
    with torch.no_grad():
        ticks = run(algorithm, data, options.hidden, options.batch_size, options.steps)
    console = Console()
    kept = ", ".join(map(_name, ticks.layout.planes))
    console.print(
        f"{algorithm.name}: {algorithm.cell.units} units, kept for each synapse: {kept} ({len(ticks.layout.planes)} of "
        f"{2 * algorithm.cell.units} numbers). tolerance {ticks.tolerance:g}, {len(ticks.recent)} plans at the end, "
        f"{ticks.exact_calls} of {ticks.calls} calls by exact ticks."
    )
    for phase, ranges in ticks.recent:
        plan = ticks.planned(phase, ranges)
        console.print(describe(ticks, phase, ranges, plan))


if __name__ == "__main__":
    main()
