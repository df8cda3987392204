"""Factors of products as one program of elementwise operations, for :mod:`~lightning_vsml.ticks.native.pointwise`."""

from collections.abc import Iterable
from typing import NamedTuple

from lightning_vsml.ticks.products.algebra import Algebra, Terms

LOAD, EACH, NUMBER, ADD, MUL, PLUS, TIMES, HORNER, TANH, SIGM, EXP, STORE = range(12)
FUNCTIONS = {"tanh": TANH, "sigm": SIGM, "exp": EXP}
REGISTERS = 64


class Program(NamedTuple):
    """Operations on registers.

    Attributes:
        ops: code, target, two operands (registers; of ``LOAD`` and ``EACH`` a place in ``inputs``, of ``STORE`` the
        second is
            the output's number), a number.
        inputs: atoms that are read.
        outputs: the identities of the polynomials that are computed.
    """

    ops: tuple[tuple[int, int, int, int, float], ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


class _Writer:
    """Operations without a limit of registers; what is equal is computed once."""

    def __init__(self, algebra: Algebra) -> None:
        self.algebra = algebra
        self.ops: list[tuple[int, int, int, float]] = []
        self.inputs: list[int] = []
        self._known: dict[tuple[int, int, int, float], int] = {}
        self._atoms: dict[int, int] = {}

    def op(self, code: int, a: int = 0, b: int = 0, c: float = 0.0) -> int:
        key = (code, a, b, c)
        if key not in self._known:
            self._known[key] = len(self.ops)
            self.ops.append(key)
        return self._known[key]

    def polynomial(self, terms: Terms) -> int:
        counts: dict[int, int] = {}
        for monomial in terms:
            for atom, _ in monomial:
                counts[atom] = counts.get(atom, 0) + 1
        if not counts:
            return self.op(NUMBER, c=terms[()])
        if len(counts) == 1:
            return self._univariate(next(iter(counts)), terms)
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
        value = self.atom(atom)
        if set(inside) == {()}:
            product = value if inside[()] == 1.0 else self.op(TIMES, value, c=inside[()])
        else:
            product = self.op(MUL, value, self.polynomial(inside))
        if not outside:
            return product
        if set(outside) == {()}:
            return self.op(PLUS, product, c=outside[()])
        return self.op(ADD, product, self.polynomial(outside))

    def _univariate(self, atom: int, terms: Terms) -> int:
        powers = {monomial[0][1] if monomial else 0: c for monomial, c in terms.items()}
        least, top = min(powers), max(powers)
        step = 2 if all((power - least) % 2 == 0 for power in powers) else 1
        value = self.atom(atom)
        variable = self.op(MUL, value, value) if step == 2 else value
        total = None
        for power in range(top - step, least - 1, -step):
            c = powers.get(power, 0.0)
            if total is None:
                total = self.op(TIMES, variable, c=powers[top])
                total = self.op(PLUS, total, c=c) if c else total
            else:
                total = self.op(HORNER, total, variable, c)
        for _ in range(least):
            if total is None:
                total = value if powers[top] == 1.0 else self.op(TIMES, value, c=powers[top])
            else:
                total = self.op(MUL, total, value)
        assert total is not None
        return total

    def atom(self, place: int) -> int:
        if place not in self._atoms:
            kind, value, shape = self.algebra.atoms[place]
            if isinstance(value, tuple):
                argument = self.polynomial(dict(value))
                self._atoms[place] = self.op(FUNCTIONS[kind], argument) if kind in FUNCTIONS else argument
            else:
                self.inputs.append(place)
                self._atoms[place] = self.op(LOAD if shape else EACH, len(self.inputs) - 1)
        return self._atoms[place]


def program(algebra: Algebra, factors: Iterable[Terms]) -> Program | None:
    """The program of several factors of one shape; ``None`` where it takes too many registers."""
    writer = _Writer(algebra)
    results = [(writer.polynomial(terms), id(terms)) for terms in factors]
    last = {place: place for place in range(len(writer.ops))}
    for place, (code, a, b, _) in enumerate(writer.ops):
        for operand in _operands(code, a, b):
            last[operand] = place
    stores: dict[int, list[int]] = {}
    for number, (place, _) in enumerate(results):
        stores.setdefault(place, []).append(number)
    free = list(range(REGISTERS))
    at: dict[int, int] = {}
    ops: list[tuple[int, int, int, int, float]] = []
    ends: dict[int, list[int]] = {}
    for place, end in last.items():
        ends.setdefault(end, []).append(place)
    for place, (code, a, b, c) in enumerate(writer.ops):
        operands = [at[operand] for operand in _operands(code, a, b)]
        for done in ends.get(place, []):
            if done != place:
                free.append(at[done])
        if not free:
            return None
        at[place] = free.pop()
        first, second = (*operands, 0, 0)[:2] if code not in (LOAD, EACH) else (a, 0)
        ops.append((code, at[place], first, second, c))
        ops += [(STORE, 0, at[place], number, 0.0) for number in stores.get(place, [])]
        if last[place] == place:
            free.append(at[place])
    return Program(tuple(ops), tuple(writer.inputs), tuple(identity for _, identity in results))


def _operands(code: int, a: int, b: int) -> tuple[int, ...]:
    if code in (LOAD, EACH, NUMBER):
        return ()
    return (a, b) if code in (ADD, MUL, HORNER) else (a,)
