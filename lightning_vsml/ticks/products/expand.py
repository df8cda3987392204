"""tanh and sigm of a series, as a series: to a precision that is known.

What depends on one shape alone is an atom, or a short polynomial where it varies little. What mixes shapes is expanded:

* around 0, as z times a polynomial in z^2 that is best on the range (Chebyshev), so that its error is relative to z;
* around the largest part of a single shape, in powers of the rest (Taylor);
* far below 0, where sigm(z) is a polynomial in exp(z), and exp of a sum is a product.
"""

import math
from collections.abc import Callable

from lightning_vsml.ticks.products.algebra import Algebra, NotSeparable, Series, Terms
from lightning_vsml.ticks.products.fits import (
    ORDERS,
    best,
    derivative,
    exponential_orders,
    odd_orders,
    taylor_orders,
    up,
)
from lightning_vsml.ticks.products.ranks import named

SMALL = 0.02  # of an argument of a single shape: below it a polynomial is less work than the function
ROOM = 0.1  # share of an algebra's precision that one expansion may take


def tanh(algebra: Algebra, z: Series) -> Series:
    """tanh of a series.

    Raises:
        NotSeparable: no short expansion is known on its range.
    """
    z = _told(algebra, z)
    low, high = algebra.interval(*z)
    error = z.error  # tanh' is at most 1
    z = Series(z.terms)
    parts = algebra.by_shape(z.terms)
    shapes = [shape for shape in parts if shape]
    if not shapes:
        return _constant(algebra, z, math.tanh, "tanh", error)
    reach = max(abs(low), abs(high))
    if reach <= SMALL:
        return _more(_odd(algebra, z, reach), error)
    if shapes in (["ra"], ["rb"], ["ab"]):
        middle = (low + high) / 2
        if (high - low) / 2 <= SMALL / 4:
            rest = algebra.add(z, Series({(): -middle}))
            return _more(_taylor(algebra, Series({(): math.tanh(middle)}), "tanh", rest), error)
        sign = _sign(z.terms)  # tanh is odd: both signs are one atom
        argument = {m: sign * c for m, c in z.terms.items()}
        ends = sorted((sign * math.tanh(low), sign * math.tanh(high)))
        return _more(algebra.scale(_function(algebra, "tanh", argument, ends), sign), error)
    z = _told(algebra, named(algebra, z))
    low, high = algebra.interval(z.terms)
    reach = max(abs(low), abs(high))
    centre, rest = _split(algebra, algebra.by_shape(z.terms))
    error += z.error
    precision = algebra.precision * ROOM
    odd, taylor = odd_orders(reach, precision), taylor_orders("tanh", algebra.size(rest), precision)
    if min(odd, taylor) <= ORDERS:
        if odd <= taylor:
            return _more(_odd(algebra, z, reach), error)
        return _more(_taylor(algebra, tanh(algebra, centre), "tanh", rest), error)
    if high < -0.5 or low > 0.5:  # tanh(z) = 2 sigm(2 z) - 1
        return algebra.add(algebra.scale(sigm(algebra, algebra.scale(Series(z.terms, error), 2.0)), 2.0), _number(-1.0))
    raise NotSeparable(f"tanh of a sum of several shapes between {low:.3g} and {high:.3g}")


def sigm(algebra: Algebra, z: Series) -> Series:
    """The logistic function of a series.

    Raises:
        NotSeparable: no short expansion is known on its range.
    """
    z = _told(algebra, z)
    low, high = algebra.interval(*z)
    parts = algebra.by_shape(z.terms)
    shapes = [shape for shape in parts if shape]
    if not shapes:
        return _constant(algebra, z, _logistic, "sigm", z.error / 4)
    if low + high > 0 and low > -1:
        return algebra.add(_number(1.0), algebra.scale(_below(algebra, algebra.scale(z, -1.0)), -1.0))
    return _below(algebra, z)


def _below(algebra: Algebra, z: Series) -> Series:
    """sigm of what is more below 0 than above: small values keep their relative precision."""
    low, high = algebra.interval(*z)
    if high <= -60:
        return Series({}, math.exp(high))
    parts = algebra.by_shape(z.terms)
    shapes = [shape for shape in parts if shape]
    if not shapes:
        return _constant(algebra, z, _logistic, "sigm", z.error / 4)
    single = len(shapes) == 1 and "rab" not in shapes
    around = single and high > -low / 2 and not algebra.local
    if (-low <= 1 and high <= 1) or around:  # around 0: mirrored gates are to cancel
        return algebra.add(_number(0.5), algebra.scale(tanh(algebra, algebra.scale(z, 0.5)), 0.5))
    error, z = z.error / 4, Series(z.terms)
    if len(shapes) == 1 and "rab" not in shapes:
        middle = (low + high) / 2
        if (high - low) / 2 <= SMALL / 4:
            rest = algebra.add(z, _number(-middle))
            return _more(_taylor(algebra, _number(_logistic(middle)), "sigm", rest), error)
        ends = [_logistic(low), _logistic(high)]
        return _more(_function(algebra, "sigm", z.terms, ends), error)
    z = _told(algebra, named(algebra, z))
    _, high = algebra.interval(z.terms)
    error += z.error / 4
    centre, rest = _split(algebra, algebra.by_shape(z.terms))
    precision = algebra.precision * ROOM
    taylor = taylor_orders("sigm", algebra.size(rest), precision)
    if taylor <= ORDERS and taylor <= exponential_orders(high, precision):
        return _more(_taylor(algebra, _below(algebra, centre), "sigm", rest), error)
    if exponential_orders(high, precision) > ORDERS:
        raise NotSeparable(f"sigm of a sum of several shapes up to {high:.3g}")
    return _more(_exponential(algebra, z, high), error)


def _function(algebra: Algebra, kind: str, argument: Terms, ends: list[float]) -> Series:
    """A function of one shape with values between ``ends``; a number where these are nearly one."""
    low, high = ends
    if high - low <= algebra.precision * ROOM * max(abs(low), abs(high)):
        return Series({(): (low + high) / 2}, (high - low) / 2)
    return algebra.function(kind, argument, low, high)


def _odd(algebra: Algebra, z: Series, reach: float) -> Series:
    """tanh(z) as z times a polynomial in z^2, for |z| up to ``reach``."""
    coefficients, relative = best("tanh", up(reach), algebra.precision * ROOM)
    square = algebra.mul(z, z) if len(coefficients) > 1 else z
    result = algebra.mul(z, algebra.power_sum(coefficients, square))
    return _more(result, relative * reach)


def _exponential(algebra: Algebra, z: Series, high: float) -> Series:
    """sigm(z) as a polynomial in exp(z), for z up to ``high``: exp of each shape is an atom, at most 1."""
    coefficients, relative = best("sigm", math.ceil(high * 4) / 4, algebra.precision * ROOM)
    product, top, rest = _number(1.0), 0.0, Series({})
    for shape, terms in algebra.by_shape(z.terms).items():
        if shape == "rab":
            rest = Series(terms)
            continue
        low, peak = algebra.interval(terms)
        top += peak
        lowered = algebra.add(Series(terms), _number(-peak))
        if not lowered.terms:
            continue
        product = algebra.mul(product, algebra.function("exp", lowered.terms, math.exp(max(low - peak, -700.0)), 1.0))
    total = Series({})
    power = _number(1.0)
    for j, coefficient in enumerate(coefficients, start=1):
        power = algebra.mul(power, product)
        term = algebra.scale(power, coefficient * math.exp(j * top))
        if rest.terms:
            term = algebra.mul(term, _exp(algebra, algebra.scale(rest, j)))
        total = algebra.add(total, term)
    return _more(total, relative * math.exp(min(high, 0.0)))


def _exp(algebra: Algebra, z: Series) -> Series:
    reach = algebra.size(z)
    if reach > 1:
        raise NotSeparable(f"exp of products up to {reach:.3g}")
    orders = 1
    while reach ** (orders + 1) / math.factorial(orders + 1) * 3 > algebra.precision * ROOM:
        orders += 1
    series = algebra.power_sum([1 / math.factorial(n) for n in range(orders + 1)], z)
    return _more(series, 3 * reach ** (orders + 1) / math.factorial(orders + 1))


def _taylor(algebra: Algebra, value: Series, kind: str, rest: Series) -> Series:
    """The function around a point where it has ``value``, in powers of ``rest``."""
    reach = algebra.size(rest)
    error = value.error
    value = Series(value.terms)
    total, power = value, _number(1.0)
    for n in range(1, ORDERS + 1):
        polynomial, largest = derivative(kind, n)
        left = largest * reach**n
        if left <= algebra.precision * ROOM:
            return _more(total, error + left * 2)
        power = algebra.mul(power, rest)
        total = algebra.add(total, algebra.mul(power, algebra.power_sum(polynomial, value)))
    raise NotSeparable(f"{kind} around a part of one shape, in powers of up to {reach:.3g}")


def _told(algebra: Algebra, z: Series) -> Series:
    """Sums of several messages as measured ones."""
    terms: Terms = {}
    for shape, part in algebra.by_shape(z.terms).items():
        terms.update(algebra.of_messages(part) if shape in ("ra", "rb") else part)
    return Series(terms, z.error)


def _split(algebra: Algebra, parts: dict[str, Terms]) -> tuple[Series, Series]:
    """The part of a single shape that varies most, with the constants; and the rest."""

    def width(shape: str) -> float:
        low, high = algebra.interval(parts[shape])
        return high - low

    single = [shape for shape in parts if shape in ("ra", "rb", "ab")]
    chosen = {""} | ({max(single, key=width)} if single else set())
    centre: Terms = {}
    rest: Terms = {}
    for shape, terms in parts.items():
        (centre if shape in chosen else rest).update(terms)
    return Series(centre), Series(rest)


def _constant(algebra: Algebra, z: Series, function: Callable[[float], float], kind: str, error: float) -> Series:
    """Of numbers a number; of free parameters an atom."""
    if set(z.terms) <= {()}:
        return Series({(): function(z.terms.get((), 0.0))}, error)
    low, high = algebra.interval(z.terms)
    return _more(algebra.function(kind, z.terms, function(low), function(high)), error)


def _sign(terms: Terms) -> float:
    return math.copysign(1.0, terms[min(terms)])


def _number(value: float) -> Series:
    return Series({(): value} if value else {})


def _more(series: Series, error: float) -> Series:
    return Series(series.terms, series.error + error)


def _logistic(z: float) -> float:
    return 1 / (1 + math.exp(-z)) if z > -700 else 0.0
