"""Ticks as products against exact ticks: in reach, far out, and where little is left of much."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lightning_vsml import LearningAlgorithm, checkpoints, programs
from lightning_vsml.ticks import Cell, Fused, Products, RowWise, implementation
from lightning_vsml.ticks.products.algebra import NotSeparable
from lightning_vsml.ticks.products.phases import Ranges
from lightning_vsml.ticks.sites import Rows, Site

SHAPE = 1, 12, 7  # (G, A, B)
ROWS = 16
COARSE = {"scale": 2.0**10, "eps": 2.0**-8, "zeta": 2.0**-8, "k": 2.0**8}  # saturates early
CONSTANTS = pytest.mark.parametrize("constants", [{}, COARSE], ids=["shipped", "coarse"])

load = cache(checkpoints.load)  # layouts take a while


def codec(algorithm: LearningAlgorithm) -> frozenset[int]:
    return frozenset(torch.stack(list(algorithm.codec)).abs().sum(0).nonzero().flatten().tolist())


def products(algorithm: LearningAlgorithm) -> Products:
    """Without any plan yet."""
    made = implementation(
        "products",
        algorithm.cell,
        *algorithm.protocol,
        codec(algorithm),
        algorithm.layout,
        tolerance=algorithm.tolerance,
        exact=torch.float64,
    )
    assert isinstance(made, Products)
    return made


def exact(algorithm: LearningAlgorithm) -> RowWise:
    """Every sample by itself in float64; what rounds to 0 or 1 in the cell's own dtype is that."""
    ticks = Fused(algorithm.cell, *algorithm.protocol, codec(algorithm))
    ticks.cell = Cell(*(parameter.double() for parameter in algorithm.cell))
    return RowWise(ticks, algorithm.layout, torch.float64)


Results = dict[str, Tensor]


def forward(ticks: Products | RowWise, planes: Tensor, site: Site) -> Results:
    return {f"output {channel}": sent for channel, sent in enumerate(ticks.forward(planes, site))}


def learn(ticks: Products | RowWise, planes: Tensor, site: Site, e: Tensor, own: Sequence[Tensor] = ()) -> Results:
    changes, message = ticks.learn(planes, site, e, own, [1.0] * len(planes))
    return {"message": message, **{f"change of plane {n}": change for n, change in enumerate(changes)}}


def run(ticks: Products | RowWise, planes: Tensor, x: Tensor, e: Tensor, own: Sequence[Tensor] = ()) -> Results:
    site = Rows(x, tuple(planes.shape[1:]))
    return forward(ticks, planes, site) | learn(ticks, planes, site, e, own)


def difference(ours: Tensor, theirs: Tensor) -> float:
    """Relative, by Frobenius norms."""
    assert ours.shape == theirs.shape
    return float((ours.double() - theirs.double()).norm() / theirs.double().norm().clamp_min(1e-300))


def check(ours: Results, theirs: Results, tolerance: float, floors: dict[str, float] | None = None) -> None:
    """Every result within ``tolerance`` of its norm, plus a floor for each value."""
    assert ours.keys() == theirs.keys()
    for name, wanted in theirs.items():
        error = (ours[name].double() - wanted.double()).norm()
        allowed = tolerance * wanted.double().norm() + (floors or {}).get(name, 0.0) * math.sqrt(wanted.numel())
        assert error <= allowed, f"{name}: {difference(ours[name], wanted):.2e} of its norm"


def double(*tensors: Tensor) -> list[Tensor]:
    return [tensor.double() for tensor in tensors]


def bounded(*shape: int) -> Tensor:
    """Up to 1; the largest is."""
    values = torch.randn(shape)
    return values / values.abs().max()


def scales(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(math.log10(low), math.log10(high)).map(lambda power: 10**power)


@pytest.mark.parametrize(("name", "examples"), [("backprop", 30), ("cloned_backprop", 20), ("meta_mnist", 12)])
def test_shipped_algorithms_on_all_scales(name: str, examples: int) -> None:
    """In float32, on states that learning has come to; exact ticks are counted, not compared."""
    algorithm = load(name)
    reach, wanted, by_products = algorithm.reach, exact(algorithm), 0

    @settings(max_examples=examples)
    @given(
        x=scales(1e-3, 2e3), e=scales(1e-4, 1e3), w=scales(1e-3, 1e3), steps=st.integers(0, 2), seed=st.integers(0, 99)
    )
    def compare(x: float, e: float, w: float, steps: int, seed: int) -> None:
        nonlocal by_products
        torch.manual_seed(seed)
        x, e, w = min(x, reach.x), min(e, reach.e), min(w, reach.w)
        planes = algorithm.encode(bounded(*SHAPE) * w)
        for _ in range(steps + 1):
            inputs, feedback = bounded(ROWS, 1, 12) * x, bounded(ROWS, 1, 7) * e
            sent = wanted.forward(planes.double(), Rows(inputs.double(), SHAPE))
            own = [torch.asinh(message) for message in sent[1:]]
            last = planes
            theirs = run(wanted, *double(planes, inputs, feedback), own)
            change = torch.stack([theirs[f"change of plane {n}"] for n in range(len(planes))])
            planes = planes + (change / ROWS).float()
        ticks = products(algorithm)
        # of numbers around 1, as what is no weight is, less than rounding is left out
        rounding = ROWS * torch.finfo(torch.float32).eps / 1024
        floors = {f"change of plane {n}": rounding for n, at in enumerate(algorithm.layout.planes) if not at.codes}
        for phase in (forward, partial(learn, e=feedback, own=[message.float() for message in own])):
            before = ticks.exact_calls
            ours = phase(ticks, last, Rows(inputs, SHAPE))
            if ticks.exact_calls == before:
                by_products += 1
                check(ours, {name: theirs[name] for name in ours}, 20 * algorithm.tolerance, floors)

    compare()
    print(name, by_products,examples)
    assert by_products > examples  # of twice as many
