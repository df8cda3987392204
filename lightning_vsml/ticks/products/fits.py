"""Polynomials for tanh and sigm, and how many terms of them a precision takes; kept, as the same come up again."""

import math
from collections.abc import Callable
from functools import cache

import numpy as np

from lightning_vsml.ticks.products.algebra import NotSeparable

ORDERS = 14  # more terms than this, and exact ticks are better


def odd_orders(reach: float, precision: float) -> int:
    """Terms that tanh takes around 0."""
    if not reach < 4:
        return ORDERS + 1
    return _orders(lambda: len(best("tanh", up(reach), precision)[0]))


def exponential_orders(high: float, precision: float) -> int:
    """Terms that sigm takes as a polynomial in exp."""
    if not high < 4:
        return ORDERS + 1
    return _orders(lambda: len(best("sigm", math.ceil(high * 4) / 4, precision)[0]))


def _orders(count: Callable[[], int]) -> int:
    try:
        return count()
    except NotSeparable:
        return ORDERS + 1


def taylor_orders(kind: str, reach: float, precision: float) -> int:
    """Powers that a function takes around a part of one shape."""
    if reach > 1:
        return ORDERS + 1
    return next((n for n in range(1, ORDERS + 1) if derivative(kind, n)[1] * reach**n <= precision), ORDERS + 1)


@cache
def derivative(kind: str, n: int) -> tuple[tuple[float, ...], float]:
    """f^(n) / n! as a polynomial in f, lowest power first, and its largest magnitude."""
    slope = np.polynomial.Polynomial([1, 0, -1] if kind == "tanh" else [0, 1, -1])  # f' in terms of f
    polynomial = np.polynomial.Polynomial([0, 1])
    for order in range(1, n + 1):
        polynomial = polynomial.deriv() * slope / order
    values = np.linspace(-1 if kind == "tanh" else 0, 1, 401)
    return tuple(float(c) for c in polynomial.coef), float(np.abs(polynomial(values)).max()) * 1.01


@cache
def best(kind: str, reach: float, precision: float) -> tuple[tuple[float, ...], float]:
    """Coefficients of f(z) / t in powers of s, by interpolation at Chebyshev points, and their relative error.

    tanh: t = z, s = z^2, |z| up to ``reach``. sigm: t = s = exp(z), z up to ``reach``; the first belongs to t itself.
    """
    top = reach**2 if kind == "tanh" else math.exp(reach)

    def ratio(s: np.ndarray) -> np.ndarray:
        if kind == "sigm":
            return 1 / (1 + s)
        z = np.sqrt(s)
        series = 1 - s / 3 + 2 * s**2 / 15 - 17 * s**3 / 315 + 62 * s**4 / 2835
        return np.where(z < 0.02, series, np.tanh(z) / np.where(z > 0, z, 1))

    dense = np.linspace(0, top, 1001)
    for n in range(1, ORDERS + 1):
        points = top / 2 * (1 - np.cos(np.pi * (np.arange(n) + 0.5) / n)) if n > 1 else np.zeros(1)
        fit = np.polynomial.Polynomial.fit(points, ratio(points), n - 1, domain=[0, top] if top else [0, 1])
        error = float(np.abs(fit(dense) / ratio(dense) - 1).max()) * 1.05
        if kind == "tanh" and n == 1:
            error = top / 3
        elif kind == "sigm" and n == 1:
            error = top
        if error <= precision or error < 1e-15:
            coefficients = fit.convert().coef
            padded = np.zeros(n)
            padded[: len(coefficients)] = coefficients
            if kind == "tanh" and error < 1e-15:  # that is rounding, of this comparison; the series has less left
                error = min(error, max((0.41 * top) ** n, 1e-17))
            return tuple(float(c) for c in padded), error
    raise NotSeparable(f"{kind} up to {reach:.3g}")


def up(reach: float) -> float:
    """The next of eight steps between powers of 2: fits are kept."""
    exponent = math.floor(math.log2(reach)) if reach > 0 else -60
    return max(2.0**-60, math.ceil(reach / 2.0 ** (exponent - 3)) * 2.0 ** (exponent - 3))
