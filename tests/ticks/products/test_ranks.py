"""Few products that are the same function, on the ranges it was declared for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_vsml.ticks.products.algebra import Algebra, NotSeparable, Series, Terms, TooCoarse
from lightning_vsml.ticks.products.points import Grid
from lightning_vsml.ticks.products.ranks import Product, low_rank, named, products
from lightning_vsml.ticks.products.refit import refitted

X, E, W = ((0, 1),), ((1, 1),), ((2, 1),)
OUTER = st.sampled_from(["ra", "rb", "ab"])
powers = st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 2))
polynomials = st.dictionaries(powers, st.floats(-2, 2).filter(lambda c: abs(c) > 1e-3), min_size=1, max_size=9)


def leaves(x: tuple[float, float] = (-1, 1), e: tuple[float, float] = (-1, 1)) -> Algebra:
    algebra = Algebra(1e-9)
    algebra.atom("x", 0, "ra", *x)
    algebra.atom("e", 0, "rb", *e)
    algebra.atom("plane", 0, "ab", -1, 1)
    return algebra


def value(evaluate, algebra: Algebra, found: list[Product], points) -> np.ndarray:
    total = np.zeros(())
    for one in found:
        p, q, g = (evaluate(algebra, terms, points) for terms in one.factors)
        total = total + one.alpha * p * q * g
    return total


@settings(max_examples=60)
@given(polynomial=polynomials, outer=OUTER, tolerance=st.sampled_from([1e-2, 1e-6]), seed=st.integers(0, 99))
def test_products_are_the_series(evaluate, anywhere, polynomial, outer, tolerance, seed) -> None:
    """Relative to its largest value; and to each value, as far as all terms have factors in common."""
    algebra = leaves()
    series = Series({tuple((a, n) for a, n in enumerate(some) if n): c for some, c in polynomial.items()})
    found, points = products(algebra, series, outer, tolerance), anywhere(algebra, seed)
    wanted = evaluate(algebra, series.terms, points)
    common = np.prod(
        [points[a] ** n for a, n in enumerate(np.min(list(polynomial), axis=0)) if n] or [np.ones(())], axis=0
    )
    allowed = tolerance * sum(map(abs, polynomial.values())) * np.abs(common)
    assert np.all(np.abs(value(evaluate, algebra, found, points) - wanted) <= allowed + 1e-13)
    for one in found:
        for shape, terms in zip(("ra", "rb", "ab"), one.factors, strict=True):
            assert {algebra.shape(monomial) for monomial in terms} <= {"", shape}
            assert max(map(abs, terms.values())) == pytest.approx(1.0)


@pytest.mark.parametrize("outer", ["ra", "rb", "ab"])
def test_what_is_a_product_becomes_one(evaluate, anywhere, outer: str) -> None:
    algebra = leaves()
    p, q, g = Series({(): 1.0, X: 0.5}), Series({E: 1.0, ((1, 3),): -0.3}), Series({(): 2.0, W: 1.0, ((2, 2),): 0.1})
    series = algebra.mul(algebra.mul(p, q), g)
    assert len(series.terms) == 12
    found, points = products(algebra, series, outer, 1e-6), anywhere(algebra, 0)
    assert len(found) == 1
    np.testing.assert_allclose(
        value(evaluate, algebra, found, points), evaluate(algebra, series.terms, points), rtol=1e-9, atol=1e-12
    )


def test_what_a_series_leaves_out_may_be_too_much() -> None:
    algebra = leaves()
    with pytest.raises(TooCoarse, match=r"what was left out is up to 1.0e-03"):
        products(algebra, Series({X: 1.0}, 1e-3), "rb", 1e-6)
    with pytest.raises(TooCoarse, match="everything was left out"):
        products(algebra, Series({}, 1e-3), "rb", 1e-6)
    assert products(algebra, Series({}, 1e-12), "ab", 1e-6, floor=1e-10) == []
    assert len(products(algebra, Series({X: 1e-3}, 1e-8), "ab", 1e-6, of=Series({X: 1.0}))) == 1
    with pytest.raises(TooCoarse):
        products(algebra, Series({X: 1e-3}, 1e-8), "ab", 1e-6)


def test_what_is_always_0_is_left_out() -> None:
    algebra = Algebra(1e-9)
    zero, x = algebra.atom("e", 0, "rb", 0, 0), algebra.atom("x", 0, "ra", -1, 1)
    both = Series({tuple(sorted((*zero, *x))): 1.0, x: 2.0})
    assert products(algebra, both, "rb", 1e-6) == products(algebra, Series({x: 2.0}), "rb", 1e-6)


@settings(max_examples=60)
@given(
    entries=st.dictionaries(
        st.tuples(st.integers(0, 4), st.integers(0, 4)), st.floats(-1, 1).filter(bool), min_size=1, max_size=12
    ),
    allowed=st.sampled_from([0.0, 1e-6, 1e-2, 10.0]),
    seed=st.integers(0, 99),
)
def test_low_rank_stays_within_what_is_allowed(evaluate, anywhere, entries, allowed, seed) -> None:
    algebra = leaves()
    matrix = {(((0, m),) if m else (), ((1, n),) if n else ()): c for (m, n), c in entries.items()}
    found, points = low_rank(Grid(algebra), matrix, allowed), anywhere(algebra, seed)
    ours = sum((evaluate(algebra, p, points) * evaluate(algebra, q, points) for p, q in found), start=np.zeros(()))
    wanted = sum(evaluate(algebra, {tuple(sorted((*p, *q))): c}, points) for (p, q), c in matrix.items())
    assert np.all(np.abs(ours - wanted) <= 1.05 * allowed + 1e-12)
    assert len(found) <= min(len({p for p, _ in matrix}), len({q for _, q in matrix}))
    assert allowed < 10 or not found or len(entries) > 2


def test_named_factors_are_the_series(evaluate, anywhere) -> None:
    algebra = leaves()
    p, q = Series({(): 1.0, X: 0.5, ((0, 2),): 0.2}), Series({E: 1.0, ((1, 2),): 0.4, ((1, 3),): -0.3})
    series = algebra.add(algebra.mul(p, q), Series({W: 1.0}))
    few = named(algebra, series)
    assert len(series.terms) == 10 and len(few.terms) < 6
    points = anywhere(algebra, 0)
    off = evaluate(algebra, few.terms, points) - evaluate(algebra, series.terms, points)
    assert np.abs(off).max() <= few.error + 1e-12
    for atom, (low, high) in zip(algebra.atoms, algebra.ranges, strict=True):
        if atom.kind == "factor":
            values = evaluate(algebra, dict(atom.value), points)
            assert values.min() >= low and values.max() <= high
    assert named(algebra, Series({X: 1.0, ((0, 1), (1, 1)): 1.0})).terms.keys() == {X, ((0, 1), (1, 1))}


def bump(algebra: Algebra, size: float) -> Terms:
    """1 - tanh(x)^2: 1 around 0, and nothing where most of a wide range is."""
    (tanh,) = algebra.function("tanh", {X: 1.0}, -np.tanh(size), np.tanh(size)).terms
    return {(): 1.0, tuple((atom, 2) for atom, _ in tanh): -1.0}


@pytest.mark.parametrize("size", [0.5, 4.0, 30.0])
@pytest.mark.parametrize("one_sided", [False, True])
def test_a_factor_is_refitted_only_where_its_grid_resolves_it(evaluate, size: float, one_sided: bool) -> None:
    algebra = leaves(x=(0.0 if one_sided else -size, size))
    terms = bump(algebra, size)
    fitted = refitted(algebra, terms, 1e-7)
    x = np.concatenate([np.linspace(0, min(size, 5.0), 300), np.linspace(0, size, 300)])
    x = x if one_sided else np.concatenate([x, -x])
    np.testing.assert_allclose(evaluate(algebra, fitted, {0: x}), 1 / np.cosh(np.clip(x, -300, 300)) ** 2, atol=2e-7)
    assert (fitted == terms) is (size > 1)  # a few powers of x do where it is smooth


@pytest.mark.parametrize("kind", ["tanh", "sigm", "exp"])
def test_what_a_grid_would_not_resolve_is_refused(kind: str) -> None:
    """tanh(10^4 x) and tanh(2 10^4 x) differ between 0 and the next point of a grid alone."""
    with pytest.raises(NotSeparable, match="varies by"):
        leaves().function(kind, {X: 1e4}, -1, 1)


def test_a_normal_product_has_its_size_in_alpha() -> None:
    product = Product({X: -4.0, (): 1.0}, {E: 0.5}, {(): 2.0}, 3.0).normal()
    assert product == Product({X: 1.0, (): -0.25}, {E: 1.0}, {(): 1.0}, -12.0)
