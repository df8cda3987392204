"""Factors of products as one program of elementwise operations, for :mod:`~lightning_vsml.ticks.native.pointwise`."""

from collections.abc import Iterable

from lightning_vsml.ticks.native.pointwise import (
    ADD,
    EXP,
    HORNER,
    LOAD,
    MUL,
    NUMBER,
    PLUS,
    REGISTERS,
    SIGM,
    STORE,
    TANH,
    TIMES,
    Program,
)
from lightning_vsml.ticks.products.algebra import Algebra, Terms
from lightning_vsml.ticks.products.horner import evaluate

FUNCTIONS = {"tanh": TANH, "sigm": SIGM, "exp": EXP}


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

    def number(self, c: float) -> int:
        return self.op(NUMBER, c=c)

    def times(self, a: int, c: float) -> int:
        return self.op(TIMES, a, c=c)

    def plus(self, a: int, c: float) -> int:
        return self.op(PLUS, a, c=c)

    def mul(self, a: int, b: int) -> int:
        return self.op(MUL, a, b)

    def add(self, a: int, b: int) -> int:
        return self.op(ADD, a, b)

    def horner(self, total: int, variable: int, c: float) -> int:
        return self.op(HORNER, total, variable, c)

    def atom(self, place: int) -> int:
        if place not in self._atoms:
            kind, value, _ = self.algebra.atoms[place]
            if isinstance(value, tuple):
                argument = evaluate(dict(value), self)
                self._atoms[place] = self.op(FUNCTIONS[kind], argument) if kind in FUNCTIONS else argument
            else:
                self.inputs.append(place)
                self._atoms[place] = self.op(LOAD, len(self.inputs) - 1)
        return self._atoms[place]


def program(algebra: Algebra, factors: Iterable[Terms]) -> Program | None:
    """The program of several factors of one shape; ``None`` where it takes too many registers.

    Args:
        algebra: of the factors.
        factors: what to compute.
    """
    writer = _Writer(algebra)
    results = [(evaluate(terms, writer), id(terms)) for terms in factors]
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
        first, second = (*operands, 0, 0)[:2] if code != LOAD else (a, 0)
        ops.append((code, at[place], first, second, c))
        ops += [(STORE, 0, at[place], number, 0.0) for number in stores.get(place, [])]
        if last[place] == place:
            free.append(at[place])
    return Program(tuple(ops), tuple(writer.inputs), tuple(identity for _, identity in results))


def _operands(code: int, a: int, b: int) -> tuple[int, ...]:
    if code in (LOAD, NUMBER):
        return ()
    return (a, b) if code in (ADD, MUL, HORNER) else (a,)
