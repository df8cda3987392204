"""Polynomials in atoms by Horner's rule, whatever the operations are: on tensors at once, or written down."""

from typing import Any, Protocol, TypeVar

from lightning_vsml.ticks.products.algebra import Terms

T = TypeVar("T")


class Operations(Protocol[T]):
    """What a polynomial is made of."""

    def number(self, c: float) -> T: ...

    def atom(self, place: int) -> T: ...

    def times(self, a: T, c: float) -> T: ...

    def plus(self, a: T, c: float) -> T: ...

    def mul(self, a: T, b: T) -> T: ...

    def add(self, a: T, b: T) -> T: ...

    def horner(self, total: T, variable: T, c: float) -> T:
        """``total variable + c``; ``total`` is not used again."""


class Arithmetic:
    """Operations of what has + and *; an atom is whatever who derives from it says."""

    def number(self, c: float) -> Any:
        return c

    def times(self, a: Any, c: float) -> Any:
        return a * c

    def plus(self, a: Any, c: float) -> Any:
        return a + c

    def mul(self, a: Any, b: Any) -> Any:
        return a * b

    def add(self, a: Any, b: Any) -> Any:
        return a + b

    def horner(self, total: Any, variable: Any, c: float) -> Any:
        return total * variable + c


def evaluate(terms: Terms, do: Operations[T]) -> T:
    """The polynomial: the atom that occurs most is taken out, and again of what is in the brackets and outside."""
    counts: dict[int, int] = {}
    for monomial in terms:
        for atom, _ in monomial:
            counts[atom] = counts.get(atom, 0) + 1
    if not counts:
        return do.number(terms.get((), 0.0))
    if len(counts) == 1:
        return _univariate(next(iter(counts)), terms, do)
    atom = max(counts, key=lambda place: counts[place])
    inside: Terms = {}
    outside: Terms = {}
    for monomial, coefficient in terms.items():
        powers = dict(monomial)
        if atom in powers:
            powers[atom] -= 1
            inside[tuple((a, n) for a, n in powers.items() if n)] = coefficient
        else:
            outside[monomial] = coefficient
    value = do.atom(atom)
    product = _scaled(value, inside[()], do) if set(inside) == {()} else do.mul(value, evaluate(inside, do))
    if not outside:
        return product
    return do.plus(product, outside[()]) if set(outside) == {()} else do.add(product, evaluate(outside, do))


def _univariate(atom: int, terms: Terms, do: Operations[T]) -> T:
    """Of one atom: in its square where all powers are even or all odd."""
    powers = {monomial[0][1] if monomial else 0: c for monomial, c in terms.items()}
    least, top = min(powers), max(powers)
    value = do.atom(atom)
    if top == least:
        total = _scaled(value, powers[top], do)
        left = least - 1
    else:
        step = 2 if all((power - least) % 2 == 0 for power in powers) else 1
        variable = do.mul(value, value) if step == 2 else value
        total, left = do.times(variable, powers[top]), least
        total = do.plus(total, powers[top - step]) if top - step in powers else total
        for power in range(top - 2 * step, least - 1, -step):
            total = do.horner(total, variable, powers.get(power, 0.0))
    for _ in range(left):
        total = do.mul(total, value)
    return total


def _scaled(value: T, c: float, do: Operations[T]) -> T:
    return value if c == 1.0 else do.times(value, c)
