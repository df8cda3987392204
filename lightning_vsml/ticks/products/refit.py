"""Factors that are functions of one number, as short polynomials of it: no tanh is left where few terms do."""

from collections.abc import Mapping

import numpy as np

from lightning_vsml.ticks.products.algebra import Algebra, Monomial, Terms
from lightning_vsml.ticks.products.points import FUNCTIONS, Grid

DEGREE = 9  # terms of a polynomial; a function that takes more is cheaper as it is
NODES, DENSE = 48, 501
COSTS = {"tanh": 12, "sigm": 12, "exp": 8}  # of an atom, in terms


def refitted(algebra: Algebra, terms: Terms, tolerance: float) -> Terms:
    """``terms`` as a polynomial of the one atom that they depend on, if they do and that is shorter.

    Args:
        algebra: knows the atoms.
        terms: a factor of a product.
        tolerance: relative to the largest value of the factor, over its known zero at 0.
    """
    leaves, cost = _leaves(algebra, terms), _cost(algebra, terms)
    if len(leaves) != 1 or cost <= 2:
        return terms
    (leaf,) = leaves
    low, high = algebra.ranges[leaf]
    if not high > low:
        return terms
    symmetric = low < 0 < high
    size = max(-low, high)

    def values(points: np.ndarray) -> np.ndarray:
        return Grid(algebra, leaf=(leaf, points)).polynomial(terms.items())

    dense = np.linspace(-size if symmetric else low, size if symmetric else high, DENSE)
    at_dense = values(dense)
    scale = float(np.abs(at_dense).max())
    if not (0 < scale < np.inf):
        return terms
    parity = 0
    if symmetric:
        turned = at_dense[::-1]
        parity = (
            -1
            if np.abs(at_dense + turned).max() < 1e-11 * scale
            else 1
            if np.abs(at_dense - turned).max() < 1e-11 * scale
            else 0
        )
    zeros = 1 if parity < 0 or (low <= 0 <= high and abs(float(values(np.zeros(1))[0])) < tolerance * scale) else 0
    step = 2 if parity else 1
    ends = (0.0, size**2) if parity else (low, high)
    angles = (np.arange(NODES) + 0.5) * np.pi / NODES
    nodes = (ends[0] + ends[1]) / 2 + (ends[1] - ends[0]) / 2 * np.cos(angles)
    points = np.sqrt(nodes) if parity else nodes
    wanted = values(points) / points**zeros
    judged = dense if not parity else dense[dense > 0]
    target = at_dense if not parity else at_dense[dense > 0]
    for degree in range(min(DEGREE, cost - 1)):
        fit = np.polynomial.Chebyshev.fit(nodes, wanted, degree, domain=ends)
        error = np.abs(fit(judged**step if parity else judged) * judged**zeros - target)
        if np.all(error <= tolerance * (np.abs(wanted).max() * np.abs(judged) ** zeros)):
            coefficients = fit.convert(kind=np.polynomial.Polynomial).coef
            return {_power(leaf, zeros + step * n): float(c) for n, c in enumerate(coefficients) if c}
    return terms


def _power(leaf: int, n: int) -> Monomial:
    return ((leaf, n),) if n else ()


def _leaves(algebra: Algebra, terms: Mapping[Monomial, float]) -> set[int]:
    """What a factor depends on: atoms that are no functions of others."""
    found: set[int] = set()
    for monomial in terms:
        for atom, _ in monomial:
            kind, value, _ = algebra.atoms[atom]
            found |= _leaves(algebra, dict(value)) if kind in FUNCTIONS else {atom}  # type: ignore[call-overload]
    return found


def _cost(algebra: Algebra, terms: Mapping[Monomial, float]) -> int:
    """Passes over the factor, about."""
    passes = 0
    for atom in {atom for monomial in terms for atom, _ in monomial}:
        kind, value, _ = algebra.atoms[atom]
        if isinstance(value, tuple) and kind in FUNCTIONS:
            passes += COSTS.get(kind, 0) + _cost(algebra, dict(value))
    return passes + sum(max(1, len(monomial)) for monomial in terms)
