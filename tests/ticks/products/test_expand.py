"""tanh and sigm of series: within the error they declare, or not at all."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_vsml.ticks.products.algebra import Algebra, NotSeparable, Series
from lightning_vsml.ticks.products.expand import sigm, tanh

EXACT = {"tanh": math.tanh, "sigm": lambda z: 1 / (1 + math.exp(-z)) if z > -700 else 0.0}
EXPAND: dict[str, Callable[[Algebra, Series], Series]] = {"tanh": tanh, "sigm": sigm}
KINDS = pytest.mark.parametrize("kind", sorted(EXACT))
X, E, W = ((0, 1),), ((1, 1),), ((2, 1),)
EW, XE = ((1, 1), (2, 1)), ((0, 1), (1, 1))
sizes = st.floats(-4, 1).map(lambda power: 10**power)  # of ranges
shares = st.floats(-1, 1).map(lambda share: round(share, 3))


def leaves(x: tuple[float, float], e: tuple[float, float], w: tuple[float, float], precision: float) -> Algebra:
    algebra = Algebra(precision)
    algebra.atom("x", 0, "ra", *x)
    algebra.atom("e", 0, "rb", *e)
    algebra.atom("plane", 0, "ab", *w)
    return algebra


@pytest.fixture(scope="session")
def expansion(evaluate, anywhere) -> Callable[..., Series]:
    """The expansion, its values checked."""

    def expanded(kind: str, algebra: Algebra, z: Series, seed: int = 0) -> Series:
        result = EXPAND[kind](algebra, z)
        points = anywhere(algebra, seed)
        values = evaluate(algebra, result.terms, points)
        argument = np.broadcast_to(evaluate(algebra, z.terms, points), (200,))
        assert math.isfinite(result.error) and all(map(math.isfinite, result.terms.values()))
        for off in (-z.error, z.error):  # wherever the argument really is
            wanted = np.array([EXACT[kind](number + off) for number in argument])
            assert np.all(np.abs(values - wanted) <= result.error * (1 + 1e-9) + 4e-15)
        return result

    return expanded


@KINDS
@settings(max_examples=60)
@given(
    size=st.tuples(sizes, sizes, sizes),
    coefficients=st.dictionaries(st.sampled_from([X, E, W, EW, XE]), shares.filter(bool), min_size=1),
    one_sided=st.booleans(),
    constant=st.sampled_from([0.0, 0.0, -5.0, 3.0, 0.1]),
    error=st.sampled_from([0.0, 1e-3]),
    precision=st.sampled_from([1e-3, 1e-6, 1e-9]),
    seed=st.integers(0, 99),
)
def test_within_the_declared_error(
    kind, expansion, size, coefficients, one_sided, constant, error, precision, seed
) -> None:
    ranges = [(0.0 if one_sided else -s, s) for s in size]
    algebra = leaves(*ranges, precision)
    z = Series({**coefficients, **({(): constant} if constant else {})}, error)
    try:
        expansion(kind, algebra, z, seed)
    except NotSeparable:
        assert sum(abs(c) * algebra.bound(m) for m, c in z.terms.items()) > 0.3


@KINDS
def test_around_0_few_terms_do_and_the_error_is_small(kind: str, expansion) -> None:
    algebra = leaves((-0.05, 0.05), (-0.05, 0.05), (-0.05, 0.05), 1e-7)
    result = expansion(kind, algebra, Series({X: 1.0, E: 1.0, EW: 2.0}))
    assert result.error < 1e-6 and len(result.terms) < 40
    assert all(algebra.atoms[atom].kind != kind for monomial in result.terms for atom, _ in monomial)


@pytest.mark.parametrize("low", [-8.0, -15.0, -30.0])
def test_far_below_0_small_values_keep_their_precision(low: float, evaluate, anywhere, expansion) -> None:
    """Relative to the largest value there."""
    algebra = leaves((-1.0, 1.0), (-1.0, 1.0), (0.0, 1.0), 1e-6)
    z = Series({X: 1.0, E: 2.0, (): low})
    result = expansion("sigm", algebra, z)
    assert result.error < 1e-5 * EXACT["sigm"](low + 3)
    points = anywhere(algebra, 1)
    ours, wanted = (
        evaluate(algebra, result.terms, points),
        np.exp(-np.logaddexp(0, -evaluate(algebra, z.terms, points))),
    )
    np.testing.assert_allclose(ours, wanted, rtol=1e-5)


@pytest.mark.parametrize("low", [-30.0, -8.0])
def test_sigm_of_a_wide_sum(low: float, expansion) -> None:
    """Both shapes vary by much, all the way down to ``low``."""
    algebra = leaves((low / 2, -1.0), (low / 2, -1.0), (0.0, 1.0), 1e-6)
    result = expansion("sigm", algebra, Series({X: 1.0, E: 1.0}))
    assert result.error < 1e-5 * EXACT["sigm"](-2)


def test_sigm_beyond_all_floats_is_0(expansion) -> None:
    algebra = leaves((-1.0, 1.0), (-1.0, 1.0), (0.0, 1.0), 1e-6)
    result = expansion("sigm", algebra, Series({X: 1.0, E: 1.0, (): -90.0}))
    assert result.terms == {} and result.error < 1e-37


@KINDS
def test_around_a_large_part_of_one_shape(kind: str, expansion) -> None:
    """x goes far into saturation on both sides, what else there is is small."""
    algebra = leaves((-20.0, 20.0), (-0.01, 0.01), (-1.0, 1.0), 1e-7)
    result = expansion(kind, algebra, Series({X: 1.0, EW: 1.0}))
    assert result.error < 1e-6
    assert any(algebra.atoms[atom].kind in EXACT for monomial in result.terms for atom, _ in monomial)


@KINDS
@pytest.mark.parametrize("middle", [0.0, 2.0, -2.0])
def test_of_one_shape_it_is_an_atom_or_a_polynomial(kind: str, middle: float, expansion) -> None:
    for width, few in ((1e-3, True), (3.0, False)):
        algebra = leaves((middle - width, middle + width), (-1, 1), (-1, 1), 1e-8)
        result = expansion(kind, algebra, Series({X: 1.0}))
        assert {algebra.shape(monomial) for monomial in result.terms} <= {"", "ra"}
        functions = {algebra.atoms[atom].kind for monomial in result.terms for atom, _ in monomial} & set(EXACT)
        assert not functions if few else functions
        assert result.error < 1e-8


@KINDS
def test_of_a_number(kind: str) -> None:
    algebra = leaves((-1, 1), (-1, 1), (-1, 1), 1e-8)
    assert EXPAND[kind](algebra, Series({(): 0.7})) == Series({(): EXACT[kind](0.7)})
    assert EXPAND[kind](algebra, Series({})).terms.get((), 0.0) == EXACT[kind](0.0)


@KINDS
@pytest.mark.parametrize("constant", [-5.0, 5.0, 0.3])
def test_around_a_number(kind: str, constant: float, expansion) -> None:
    """No part is of a single shape: there is only a product."""
    algebra = leaves((-1, 1), (-1, 1), (-0.01, 0.01), 1e-6)
    assert expansion(kind, algebra, Series({EW: 1.0, (): constant})).error < 1e-6


@KINDS
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_mirrored_arguments_cancel(kind: str, sign: float) -> None:
    """tanh(z) + tanh(-z) = 0, sigm(z) + sigm(-z) = 1: exactly, so that what remains is not rounding."""
    for width in (0.01, 0.4, *([5.0] if kind == "tanh" else [])):  # polynomials and atoms
        algebra = leaves((-width, width), (-0.01, 0.01), (-1, 1), 1e-7)
        for terms in ({X: sign}, {X: sign, EW: 1.0}):
            z = Series(terms)
            both = algebra.add(EXPAND[kind](algebra, z), EXPAND[kind](algebra, algebra.scale(z, -1.0)))
            left = {m: c for m, c in both.terms.items() if m or kind == "tanh"}
            assert sum(abs(c) * algebra.bound(m) for m, c in left.items()) < 1e-14
            assert kind == "tanh" or both.terms[()] == pytest.approx(1.0, abs=1e-15)


@KINDS
@pytest.mark.parametrize("size", [10.0, 1e6, 1e30])
def test_large_sums_of_several_shapes_are_not_separable(kind: str, size: float) -> None:
    """No inf, nan or OverflowError."""
    algebra = leaves((-size, size), (-size, size), (-size, size), 1e-6)
    for terms in ({X: 1.0, E: 1.0}, {XE: 1.0}, {X: 1.0, EW: 1.0}):
        with pytest.raises(NotSeparable):
            EXPAND[kind](algebra, Series(terms))
