"""Series at points, computed without the package."""

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from lightning_vsml.ticks.products.algebra import Algebra, Terms

FUNCTIONS = {
    "tanh": np.tanh,
    "sigm": lambda z: np.exp(-np.logaddexp(0, -z)),
    "exp": np.exp,
    "factor": lambda z: z,
    "sum": lambda z: z,
}
Evaluate = Callable[[Algebra, Terms, Mapping[int, np.ndarray]], np.ndarray]


@pytest.fixture(scope="session")
def evaluate() -> Evaluate:
    """The value of a polynomial, given those of the atoms that are no functions of others."""

    def value(algebra: Algebra, terms: Terms, leaves: Mapping[int, np.ndarray]) -> np.ndarray:
        total = np.zeros(())
        for monomial, coefficient in terms.items():
            product = np.full((), coefficient)
            for place, power in monomial:
                kind, argument, _ = algebra.atoms[place]
                atom = FUNCTIONS[kind](value(algebra, dict(argument), leaves)) if kind in FUNCTIONS else leaves[place]
                product = product * atom**power
            total = total + product
        return total

    return value


@pytest.fixture(scope="session")
def anywhere() -> Callable[[Algebra, int], dict[int, np.ndarray]]:
    """Random values of the atoms that are no functions of others, ends of their ranges among them."""

    def points(algebra: Algebra, seed: int, count: int = 200) -> dict[int, np.ndarray]:
        random = np.random.RandomState(seed)
        leaves = {}
        for place, ((kind, _, _), (low, high)) in enumerate(zip(algebra.atoms, algebra.ranges, strict=True)):
            if kind not in FUNCTIONS:
                share = random.choice([0.0, 0.5, 1.0], count) * (random.rand(count) < 0.3)
                even = np.where(random.rand(count) < 0.7, random.rand(count), share)
                leaves[place] = low + (high - low) * even
        return leaves

    return points
