"""Values of atoms at points of their declared ranges: where functions of series are looked at."""

from collections.abc import Callable, Iterable

import numpy as np

from lightning_vsml.ticks.products.algebra import Algebra, Monomial

POINTS = 257  # of the grid, for each shape

FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "tanh": np.tanh,
    "sigm": lambda z: 0.5 + 0.5 * np.tanh(z / 2),
    "exp": np.exp,
    "factor": lambda z: z,
}


class Grid:
    """Values of atoms at points of their ranges; what enters is independent.

    Args:
        algebra: knows the atoms.
        leaf: an atom that is to have these values instead.
    """

    def __init__(self, algebra: Algebra, leaf: tuple[int, np.ndarray] | None = None) -> None:
        self.algebra = algebra
        self.points = POINTS if leaf is None else len(leaf[1])
        self._values: dict[int, np.ndarray] = {} if leaf is None else {leaf[0]: leaf[1]}
        self._monomials: dict[Monomial, np.ndarray] = {}

    def monomials(self, monomials: Iterable[Monomial]) -> np.ndarray:
        """Values of monomials, ``(points, monomials)``."""
        return np.stack([self._monomial(monomial) for monomial in monomials], axis=1)

    def _monomial(self, monomial: Monomial) -> np.ndarray:
        if monomial not in self._monomials:
            value = np.ones(self.points)
            for atom, power in monomial:
                value = value * self.atom(atom) ** power
            self._monomials[monomial] = value
        return self._monomials[monomial]

    def polynomial(self, terms: Iterable[tuple[Monomial, float]]) -> np.ndarray:
        """Values of a polynomial of a single shape."""
        monomials, coefficients = zip(*terms, strict=True)
        return self.monomials(monomials) @ np.array(coefficients)

    def atom(self, place: int) -> np.ndarray:
        """Values of one atom."""
        if place not in self._values:
            kind, value, _ = self.algebra.atoms[place]
            low, high = self.algebra.ranges[place]
            if kind in FUNCTIONS:
                argument = self.polynomial(value)  # type: ignore[arg-type]
                self._values[place] = FUNCTIONS[kind](argument)
            else:
                even = np.linspace(low, high, self.points)
                order = np.random.RandomState(place).permutation(self.points) if kind != "x" else slice(None)
                self._values[place] = even[order]
        return self._values[place]
