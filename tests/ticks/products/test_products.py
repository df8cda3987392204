"""Ticks as products against exact ticks: in reach, far out, and where little is left of much."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sensing import sensing
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


@cache  # layouts take a while
def load(name: str) -> LearningAlgorithm:
    return sensing() if name == "sensing" else checkpoints.load(name, kind=LearningAlgorithm)


NAMES = [*checkpoints.names("cellular"), "sensing"]


def codec(algorithm: LearningAlgorithm) -> frozenset[int]:
    return frozenset(torch.stack(list(algorithm.codec)).abs().sum(0).nonzero().flatten().tolist())


def products(algorithm: LearningAlgorithm) -> Products:
    """Without any plan yet."""
    made = implementation(
        "products",
        algorithm.cell,
        *algorithm.protocol[:2],
        codec(algorithm),
        algorithm.layout,
        tolerance=algorithm.tolerance,
        exact=torch.float64,
    )
    assert isinstance(made, Products)
    return made


def exact(algorithm: LearningAlgorithm) -> RowWise:
    """Every sample by itself in float64; what rounds to 0 or 1 in the cell's own dtype is that."""
    ticks = Fused(algorithm.cell, *algorithm.protocol[:2], codec(algorithm))
    ticks.cell = Cell(*(parameter.double() for parameter in algorithm.cell))
    return RowWise(ticks, algorithm.layout, torch.float64)


Results = dict[str, Tensor]


def forward(ticks: Products | RowWise, planes: Tensor, site: Site) -> Results:
    return {f"output {channel}": sent for channel, sent in enumerate(ticks.forward(planes, site))}


def learned(ticks: Products | RowWise) -> int:
    """How many planes learn ticks change."""
    return ticks.layout.learned


def learn(ticks: Products | RowWise, planes: Tensor, site: Site, e: Tensor, own: Sequence[Tensor] = ()) -> Results:
    changes, message = ticks.learn(planes, site, e, own, [1.0] * learned(ticks))
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


@pytest.mark.parametrize(("name", "examples"), [("backprop", 30), ("cloned_backprop", 20), ("sensing", 12)])
def test_algorithms_on_all_scales(name: str, examples: int) -> None:
    """In float32, on states that learning has come to; calls that took the exact ticks are not compared."""
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
    assert by_products > examples  # of twice as many


def compared(algorithm: LearningAlgorithm, planes: Tensor, x: Tensor, e: Tensor) -> tuple[Products, Results, Results]:
    """Products in float32 and exact ticks in float64."""
    ticks = products(algorithm)
    return ticks, run(ticks, planes, x, e), run(exact(algorithm), *double(planes, x, e))


@pytest.mark.parametrize("lr", [0.1, 1e-3])
@pytest.mark.parametrize(("x", "e", "tolerance"), [(1.0, 1.0, 1e-6), (2048.0, 2048.0, 1e-5), (1e-3, 1e3, 1e-5)])
def test_backprop_is_the_exact_rule(lr: float, x: float, e: float, tolerance: float) -> None:
    algorithm = programs.backprop(lr=lr)
    weights = torch.randn(SHAPE)
    inputs, feedback = (torch.randn if x == e == 1.0 else bounded)(ROWS, 1, 12) * x, bounded(ROWS, 1, 7) * e
    ticks = products(algorithm)
    ours = run(ticks, algorithm.encode(weights), inputs, feedback)
    w, p, q = double(weights, inputs, feedback)
    rule = {
        "output 0": torch.einsum("rga,gab->rgb", p, w),
        "message": torch.einsum("rgb,gab->rga", q, w),
        "change of plane 0": lr * torch.einsum("rga,rgb->gab", p, q),
    }
    check(ours, rule, tolerance)
    assert not ticks.exact_calls, ticks.reason


@CONSTANTS
@pytest.mark.parametrize("where", ["x", "e"])
def test_an_outlier_spoils_nothing(constants: dict[str, float], where: str) -> None:
    """30 among inputs of 0.01: what belongs to other rows is right too."""
    algorithm = programs.backprop(**constants)
    planes, x, e = algorithm.encode(torch.randn(SHAPE) * 0.3), torch.randn(ROWS, 1, 12), torch.randn(ROWS, 1, 7)
    x, e = x * 0.01, e * 0.01
    (x if where == "x" else e)[3, 0, 5] = 30.0
    _, ours, theirs = compared(algorithm, planes, x, e)
    check(ours, theirs, 1e-5)
    others = [row for row in range(ROWS) if row != 3]
    for name in ("output 0", "message"):
        assert difference(ours[name][others], theirs[name][others]) < 1e-5


@pytest.mark.parametrize("times", [3.0, 10.0, 100.0])
def test_an_input_far_beyond_saturation_leaves_other_rows_alone(times: float) -> None:
    """Ticks of one row do not depend on another's."""
    algorithm = programs.backprop(**COARSE)
    planes, x, e = algorithm.encode(torch.randn(SHAPE) * 0.3), torch.randn(ROWS, 1, 12) * 0.01, torch.randn(ROWS, 1, 7)
    x[3, 0, 5] = times * COARSE["k"]
    _, ours, theirs = compared(algorithm, planes, x, e)
    others = [row for row in range(ROWS) if row != 3]
    for name in ("output 0", "message"):
        assert difference(ours[name][others], theirs[name][others]) < 1e-5


@CONSTANTS
@pytest.mark.parametrize(("e", "w"), [(1e-3, 1e-2), (1e-6, 1e-4), (1.0, 1e-5)])
def test_what_is_left_out_of_leading_terms_that_cancel(constants: dict[str, float], e: float, w: float) -> None:
    """The message comes from h0 - h1, whose largest terms are equal; leaving out small ones once made it 0."""
    algorithm = programs.backprop(**constants)
    planes, x = algorithm.encode(torch.randn(SHAPE) * w), torch.randn(ROWS, 1, 12)
    ticks, ours, theirs = compared(algorithm, planes, x, torch.randn(ROWS, 1, 7) * e)
    assert theirs["message"].abs().max() > 0
    check(ours, theirs, 1e-6)
    assert not ticks.exact_calls, ticks.reason


def test_other_ranges_are_planned_anew() -> None:
    """With more terms where values grow; and what is far out takes the exact ticks, and says so."""
    algorithm = programs.backprop(**COARSE)
    ticks, wanted = products(algorithm), exact(algorithm)
    planes, x, e = algorithm.encode(torch.randn(SHAPE) * 0.3), bounded(ROWS, 1, 12), bounded(ROWS, 1, 7)
    terms = []
    for size in (0.01, 1.0, 20.0):
        feeds = x * size, e * size
        check(run(ticks, planes, *feeds), run(wanted, *double(planes, *feeds)), 1e-5)
        _, ranges = ticks.recent[-1]
        plan = ticks.planned("learn", ranges)
        found = [*plan.messages[0], *plan.changes[0].products]
        terms.append(sum(len(factor) for product in found for factor in product.factors))
        assert ranges.e[0][1] >= size * 0.99
    assert terms[0] < terms[1] < terms[2] and (ticks.calls, ticks.exact_calls, ticks.reason) == (6, 0, "")
    far = x * 20, e * 1000
    ours, theirs = run(ticks, planes, *far), run(wanted, *double(planes, *far))
    assert ticks.exact_calls == 1 and ticks.reason.startswith("learn: ")
    check(ours, theirs, 1e-6)
    small = x * 0.5, e * 0.5  # and back
    check(run(ticks, planes, *small), run(wanted, *double(planes, *small)), 1e-5)
    assert ticks.exact_calls == 1


def test_ranges_that_stay_are_planned_once() -> None:
    algorithm = programs.backprop()
    ticks, planes = products(algorithm), algorithm.encode(torch.randn(SHAPE) * 0.3)
    for size in (1.0, 0.9, 0.6, 1.0):
        run(ticks, planes, bounded(ROWS, 1, 12) * size, bounded(ROWS, 1, 7) * size)
    assert len(ticks.recent) == 2 and {phase for phase, _ in ticks.recent} == {"forward", "learn"}


def test_ranges_of_1e30_are_not_separable() -> None:
    algorithm = programs.backprop()
    with pytest.raises(NotSeparable):
        products(algorithm).planned("learn", Ranges((-1e30, 1e30), ((-1e30, 1e30),), ((-1e30, 1e30),)))


@CONSTANTS
@pytest.mark.parametrize("size", [1e5, 1e7, 1e10, 1e15, 1e30])
@pytest.mark.parametrize("where", ["x", "e", "planes"])
def test_huge_values_are_right_or_left_to_exact_ticks(constants: dict[str, float], size: float, where: str) -> None:
    """Only one of them is huge, and is saturated."""
    algorithm = programs.backprop(**constants)
    feeds = {
        "planes": algorithm.encode(torch.randn(SHAPE)),
        "x": torch.randn(ROWS, 1, 12),
        "e": torch.randn(ROWS, 1, 7),
    }
    feeds[where] = feeds[where] * size
    ticks, ours, theirs = compared(algorithm, **feeds)
    finite = {name: wanted for name, wanted in theirs.items() if wanted.abs().max() < 1e38}
    check({name: ours[name] for name in finite}, finite, 1e-4)
    assert not ticks.exact_calls or ticks.reason


@pytest.mark.parametrize("where", ["x", "e", "planes"])
@pytest.mark.parametrize(
    ("name", "bad"),
    [("backprop", math.nan), ("backprop", math.inf), ("backprop", -math.inf), ("sensing", math.nan)],
)
def test_what_is_no_number_is_left_to_exact_ticks(name: str, bad: float, where: str) -> None:
    algorithm = load(name)
    planes, x, e = algorithm.encode(torch.randn(SHAPE)), torch.randn(ROWS, 1, 12), torch.randn(ROWS, 1, 7)
    fine = planes.clone(), x.clone(), e.clone()
    {"planes": planes[0], "x": x, "e": e}[where][:, 0, 2] = bad
    own = [torch.zeros(ROWS, 1, 7) for _ in range(algorithm.cell.P_f.shape[1] - 1)]
    ticks = products(algorithm)
    ours = run(ticks, planes, x, e, own)
    exact_calls = 1 if where == "e" else 2  # forward ticks see no e
    assert ticks.exact_calls == exact_calls and ticks.reason
    theirs = run(ticks.exact, planes, x, e, own)
    for result, tensor in theirs.items():
        torch.testing.assert_close(ours[result], tensor, rtol=1e-3, atol=1e-3, equal_nan=True)
    assert where == "e" or not math.isnan(bad) or theirs["output 0"].isnan().any()
    if name == "backprop":  # and then as before
        assert all(tensor.isfinite().all() for tensor in run(ticks, *fine, own).values())
        assert ticks.exact_calls == exact_calls


def test_a_population_is_its_members() -> None:
    """Of several learning rates, two groups each."""
    members = [programs.backprop(lr=lr) for lr in (0.1, 0.2, 0.05)]
    population = replace(members[0], cell=Cell.stack([member.cell for member in members]))
    planes, x, e = torch.randn(1, 6, 5, 4) * 0.3, torch.randn(9, 6, 5), torch.randn(9, 6, 4)
    ticks = products(population)
    ours = run(ticks, planes, x, e)
    assert not ticks.exact_calls, ticks.reason
    for k, member in enumerate(members):
        part = slice(2 * k, 2 * k + 2)
        theirs = run(exact(member), *double(planes[:, part], x[:, part], e[:, part]))
        dims = {"change of plane 0": 0}
        check({name: ours[name].narrow(dims.get(name, 1), 2 * k, 2) for name in ours}, theirs, 1e-6)


def test_gradients_are_those_of_exact_ticks() -> None:
    """With respect to states and inputs, in float64."""
    algorithm = programs.backprop(**COARSE, dtype=torch.float64)
    planes, x, e = algorithm.encode(torch.randn(SHAPE)), torch.randn(ROWS, 1, 12), torch.randn(ROWS, 1, 7)
    weights = [torch.randn(*shape).double() for shape in ((ROWS, 1, 7), (ROWS, 1, 12), SHAPE)]
    gradients, ticks = [], products(algorithm)
    for implementation_ in (ticks, exact(algorithm)):
        inputs = [tensor.double().clone().requires_grad_() for tensor in (planes, x, e)]
        results = run(implementation_, *inputs)
        total = sum((weight * result).sum() for weight, result in zip(weights, results.values(), strict=True))
        gradients.append(torch.autograd.grad(total, inputs))
    for ours, theirs in zip(*gradients, strict=True):
        assert difference(ours, theirs) < 1e-5
    assert not ticks.exact_calls, ticks.reason


def test_own_messages_that_are_missing() -> None:
    algorithm = load("sensing")
    planes, x, e = algorithm.encode(torch.randn(SHAPE)), torch.randn(ROWS, 1, 12), torch.randn(ROWS, 1, 7)
    with pytest.raises(ValueError, match="own should hold the 1 own messages that the ticks feed, got 0"):
        products(algorithm).learn(planes, Rows(x, SHAPE), e, [], [1.0] * len(planes))


@pytest.mark.parametrize("name", NAMES)
def test_scales_multiply_changes(name: str) -> None:
    algorithm = load(name)
    planes, x, e = algorithm.encode(torch.randn(SHAPE) * 0.1), torch.randn(ROWS, 1, 12), torch.randn(ROWS, 1, 7)
    own = [torch.randn(ROWS, 1, 7) for _ in range(algorithm.cell.P_f.shape[1] - 1)]
    ticks, site = products(algorithm), Rows(x, SHAPE)
    plain, message = ticks.learn(planes, site, e, own, [1.0] * learned(ticks))
    scales = [0.5 + place for place in range(learned(ticks))]
    scaled, same = ticks.learn(planes, site, e, own, scales)
    assert torch.equal(message, same)
    for one, other, scale in zip(scaled, plain, scales, strict=True):
        assert difference(one, other * scale) < 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_a_history_goes_on_as_it_would_have(name: str) -> None:
    """Another process plans for the same ranges, and rounds alike."""
    algorithm = load(name)
    planes, own = algorithm.encode(torch.randn(SHAPE) * 0.1), [torch.zeros(ROWS, 1, 7)] * 20
    first, second = products(algorithm), products(algorithm)
    feeds = [(bounded(ROWS, 1, 12) * size, bounded(ROWS, 1, 7) * size) for size in (3.0, 1.6)]
    run(first, planes, *feeds[0], own)
    second.go_on(first.history())
    assert second.history() == first.history()
    ours, theirs = (run(ticks, planes, *feeds[1], own) for ticks in (second, first))
    for result, tensor in theirs.items():
        assert torch.equal(ours[result], tensor)
