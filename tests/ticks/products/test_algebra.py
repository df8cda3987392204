"""Series: bounds that hold, and what is given up."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_vsml.ticks.products.algebra import Algebra, NotSeparable, Series, divides, quotient

ends = st.floats(-10, 10).map(lambda end: round(end, 2))
ranges = st.tuples(ends, ends).map(lambda pair: tuple(sorted(pair)))
powers = st.tuples(*[st.integers(0, 3)] * 3)
polynomials = st.dictionaries(powers, st.floats(-5, 5).filter(bool), min_size=1, max_size=6)


def leaves(*three: tuple[float, float], precision: float = 1e-9) -> Algebra:
    """x, e and a plane."""
    algebra = Algebra(precision)
    for kind, shape, (low, high) in zip(("x", "e", "plane"), ("ra", "rb", "ab"), three, strict=True):
        algebra.atom(kind, 0, shape, low, high)
    return algebra


def series(polynomial: dict[tuple[int, ...], float], error: float = 0.0) -> Series:
    return Series(
        {tuple((a, n) for a, n in enumerate(powers) if n): float(c) for powers, c in polynomial.items()}, error
    )


@given(three=st.tuples(ranges, ranges, ranges), polynomial=polynomials, seed=st.integers(0, 99))
def test_values_lie_in_the_interval(evaluate, anywhere, three, polynomial, seed) -> None:
    algebra = leaves(*three)
    terms = series(polynomial).terms
    values = evaluate(algebra, terms, anywhere(algebra, seed))
    low, high = algebra.interval(terms)
    slack = 1e-12 * (1 + max(abs(low), abs(high)))
    assert np.all(values >= low - slack) and np.all(values <= high + slack)
    assert algebra.size(Series(terms, 0.5)) == pytest.approx(max(abs(low), abs(high)) + 0.5)
    for monomial in terms:
        values = evaluate(algebra, {monomial: 1.0}, anywhere(algebra, seed))
        assert np.abs(values).max() <= algebra.bound(monomial) * (1 + 1e-12)


@given(
    three=st.tuples(ranges, ranges, ranges),
    p=polynomials,
    q=polynomials,
    precision=st.sampled_from([1e-1, 1e-3, 1e-9]),
    errors=st.tuples(st.sampled_from([0.0, 0.3]), st.sampled_from([0.0, 0.1])),
    seed=st.integers(0, 99),
)
def test_a_product_is_within_its_error(evaluate, anywhere, three, p, q, precision, errors, seed) -> None:
    """Whatever is left out of it, and however far off its factors are."""
    algebra = leaves(*three, precision=precision)
    first, second = series(p, errors[0]), series(q, errors[1])
    product, points = algebra.mul(first, second), anywhere(algebra, seed)
    one, two = (evaluate(algebra, factor.terms, points) for factor in (first, second))
    for sign in (-1, 1):  # of how far off they are
        off = np.abs((one + sign * errors[0]) * (two + errors[1]) - evaluate(algebra, product.terms, points))
        slack = 1e-11 * (1 + algebra.size(first) * algebra.size(second))
        assert np.all(off <= product.error + slack)


@given(three=st.tuples(ranges, ranges, ranges), p=polynomials, coefficients=st.lists(st.floats(-3, 3), min_size=1))
def test_power_sums(evaluate, anywhere, three, p, coefficients) -> None:
    algebra, coefficients = leaves(*three, precision=1e-6), coefficients[:3]
    total, points = algebra.power_sum(coefficients, series(p)), anywhere(algebra, 0)
    value = evaluate(algebra, series(p).terms, points)
    wanted = np.polynomial.Polynomial(coefficients)(value)
    slack = 1e-10 * (1 + np.abs(wanted).max() + algebra.size(series(p)) ** (len(coefficients) - 1))
    assert np.all(np.abs(evaluate(algebra, total.terms, points) - wanted) <= total.error + slack)


def test_what_is_left_of_a_cancellation_by_rounding_is_gone() -> None:
    algebra = leaves((-1, 1), (-1, 1), (-1, 1))
    p = series({(1, 1, 0): 0.1, (0, 0, 1): 1.0}, 0.25)
    three = algebra.add(p, p, p)
    left = algebra.add(three, series({(1, 1, 0): -0.3}, 0.5))
    assert 0.1 * 3 != 0.3 and left == Series(series({(0, 0, 1): 3.0}).terms, 1.25)


def test_the_smallest_terms_are_left_out_and_counted() -> None:
    algebra = leaves((-1, 1), (-1, 1), (-1, 1), precision=1e-2)
    both = algebra.mul(series({(1, 0, 0): 1.0, (2, 0, 0): 1e-4}), series({(0, 1, 0): 2.0}))
    assert both == Series(series({(1, 1, 0): 2.0}).terms, pytest.approx(2e-4))


def test_powers_beyond_floats_are_not_separable() -> None:
    """Ranges of 1e30: no inf, nan or OverflowError gets into a series."""
    algebra = leaves((-1e30, 1e30), (-1, 1), (-1, 1))
    x = series({(1, 0, 0): 1.0})
    assert algebra.bound(((0, 11),)) == math.inf
    with pytest.raises(NotSeparable, match="too large"):
        algebra.power_sum([1.0] * 14, x)


def test_too_many_terms_are_not_separable() -> None:
    algebra = Algebra(1e-9, limit=3)
    for place in range(3):
        algebra.atom("plane", place, "ab", -1, 1)
    p = Series({((place, 1),): 1.0 for place in range(3)})
    assert algebra.mul(p, Series({(): 2.0})).terms == {monomial: 2.0 for monomial in p.terms}
    with pytest.raises(NotSeparable, match="more than 3 terms"):
        algebra.mul(p, p)


def test_an_atom_is_known_by_what_it_is() -> None:
    algebra = leaves((-1, 1), (-1, 1), (-1, 1))
    x, e = series({(1, 0, 0): 2.0}).terms, series({(0, 1, 0): 1.0}).terms
    assert algebra.atom("x", 0, "ra", -1, 1) == ((0, 1),)
    assert algebra.function("tanh", x, -1, 1) == algebra.function("tanh", x, -1, 1)
    (tanh,) = algebra.function("tanh", x, -1, 1).terms
    assert algebra.shape(tanh) == "ra" and algebra.shape(()) == ""
    assert {algebra.shape(m) for m in algebra.mul(Series(x), Series(e)).terms} == {"rab"}
    assert algebra.by_shape({**x, **e, (): 1.0}) == {"ra": x, "rb": e, "": {(): 1.0}}


def test_a_key_does_not_depend_on_the_order_of_atoms() -> None:
    keys = []
    for kinds in (("x", "e"), ("e", "x")):
        algebra = Algebra(1e-6)
        atoms = {kind: algebra.atom(kind, 0, "rb", -1, 1) for kind in kinds}
        tanh = algebra.function("tanh", {atoms["e"]: 0.5}, -1, 1)
        (one,) = tanh.terms
        product = algebra.mul(Series({atoms["x"]: 1.0}), tanh)
        keys.append(algebra.key({one: 2.0, atoms["x"]: 3.0, **product.terms}))
    assert keys[0] == keys[1]


def test_sums_of_messages_are_wished_for_and_then_narrower() -> None:
    wide = Algebra(1e-6)
    terms = {wide.atom("e", place, "rb", -4, 4): 1.0 for place in range(2)}
    assert wide.of_messages(terms) == terms and list(wide.wishes.values()) == [terms]
    one = {next(iter(terms)): 1.0}
    assert wide.of_messages(one) == one and len(wide.wishes) == 1  # of a single message it is known
    narrow = Algebra(1e-6, measured={wide.key(terms): (-0.5, 1.0)})
    for place in range(2):
        narrow.atom("e", place, "rb", -4, 4)
    measured = narrow.of_messages(terms)
    assert narrow.interval(measured) == (-0.5, 1.0) and not narrow.wishes


def test_quotients() -> None:
    m, n = ((0, 1), (2, 2)), ((0, 3), (1, 1), (2, 2))
    assert divides(m, n) and not divides(n, m) and divides((), m)
    assert quotient(n, m) == ((0, 2), (1, 1))
