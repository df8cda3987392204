"""A traced commit phase -> C++: all its passes, and what neurons compute between them, as one function."""

from collections.abc import Callable, Iterable, Mapping

import torch

from lightning_vsml.ticks.commit.once import reached
from lightning_vsml.ticks.commit.trace import TOLD, Traced
from lightning_vsml.ticks.native.compiler import header, on_vectors
from lightning_vsml.ticks.products.horner import evaluate

FUNCTIONS = {"tanh": "tanh_({})", "sigm": "sigm_({})", "exp": "exp_({})"}  # of vectors
EXACT = {"tanh": "__builtin_tanh({})", "sigm": "sigm({})", "exp": "__builtin_exp({})"}
COUNTS = {"a": "call.G * call.A", "b": "call.G * call.B"}


class Lines:
    """Operations as lines of C++; what is equal is computed once.

    Args:
        traced: the phase.
        given: how atoms are read that are known.
        number: the type of constants.
        functions: of atoms.
    """

    def __init__(self, traced: Traced, given: Mapping[int, str], number: str, functions: Mapping[str, str]) -> None:
        self.traced, self.given, self.type, self.functions = traced, given, number, functions
        self.lines: list[str] = []
        self._known: dict[str, str] = {}

    def line(self, expression: str) -> str:
        if expression not in self._known:
            self._known[expression] = f"v{len(self._known)}"
            self.lines.append(f"const auto {self._known[expression]} = {expression};")
        return self._known[expression]

    def constant(self, c: float) -> str:
        return f"{self.type}({c!r})"

    def number(self, c: float) -> str:
        return self.line(f"V{{}} + {self.constant(c)}" if self.type == "F" else self.constant(c))

    def times(self, a: str, c: float) -> str:
        return self.line(f"{a} * {self.constant(c)}")

    def plus(self, a: str, c: float) -> str:
        return self.line(f"{a} + {self.constant(c)}")

    def mul(self, a: str, b: str) -> str:
        return self.line(f"{a} * {b}")

    def add(self, a: str, b: str) -> str:
        return self.line(f"{a} + {b}")

    def horner(self, total: str, variable: str, c: float) -> str:
        return self.line(f"{total} * {variable} + {self.constant(c)}")

    def atom(self, place: int) -> str:
        if place in self.given:
            return self.line(self.given[place])
        kind, value, _ = self.traced.algebra.atoms[place]
        assert isinstance(value, tuple)
        argument = evaluate(dict(value), self)
        return self.line(self.functions[kind].format(argument)) if kind in self.functions else argument


class Source:
    """The function ``commit`` of a phase; see commit.hpp for how it is called."""

    def __init__(self, traced: Traced) -> None:
        self.traced, self.atoms = traced, traced.algebra.atoms
        counts = {"a": 0, "b": 0}
        self.numbers: dict[int, str] = {}  # where neurons keep what they know: an offset by atom
        self.heard: dict[int, int] = {}  # the atom of what is told or gathered, by number
        for place, side in traced.small.items():
            self.numbers[place] = f"({counts['a']} * {COUNTS['a']} + {counts['b']} * {COUNTS['b']})"
            counts[side] += 1
            kind, value, _ = self.atoms[place]
            if kind == "e":
                assert isinstance(value, int)
                self.heard[value] = place
        self.size = " + ".join(f"{counts[side]} * {COUNTS[side]}" for side in "ab")
        self._known = set(self.heard.values())

    def text(self) -> str:
        """The C++."""
        structs, steps, outputs, inputs = list[str](), [self._told()], 0, 0
        for place, numbers in enumerate((*self.traced.passes, ())):
            messages = [self.traced.messages[number] for number in numbers]
            rows, columns = ([m.terms for m in messages if m.output is which] for which in (True, False))
            polynomials = [*rows, *columns, *(() if numbers else self.traced.planes)]
            outputs, inputs = max(outputs, len(rows)), max(inputs, len(columns))
            steps += self._small(polynomials)
            structs.append(self._pass(f"Pass{place}", polynomials, len(rows), len(columns)))
            steps.append(f"pass_over<Pass{place}<flat>, flat>(call);")
            order = sorted(numbers, key=lambda number: not self.traced.messages[number].output)
            steps += [self._gathered(number, k, len(rows)) for k, number in enumerate(order)]
        return "\n".join(
            [
                *structs,
                "template <bool flat> static void run(const Call& call, const double* told) {",
                *(f"  {step}" for step in steps),
                "}",
                'extern "C" void commit(const F* const* planes, const long* apart, const double* told, F* out,',
                "                       long out_plane, long out_row, long G, long B, long A, int threads) {",
                "  Call call = {G, B, A, planes, apart, out, out_plane, out_row, nullptr, nullptr, nullptr, threads};",
                f"  const BufferOf<double> exact({self.size});",
                f"  const BufferOf<double> sums({outputs} * {COUNTS['b']} + {inputs} * {COUNTS['a']});",
                f"  const Buffer rounded({self.size});",
                "  call.exact = exact.at, call.rounded = rounded.at, call.sums = sums.at;",
                "  A == 1 && B == 1 ? run<true>(call, told) : run<false>(call, told);",
                "}",
            ]
        )

    def _told(self) -> str:
        writes = [
            f"told_number(call, {self.numbers[place]}, told + {number} * call.A);"
            for number, place in self.heard.items()
            if number < TOLD
        ]
        return " ".join(writes)

    def _gathered(self, number: int, k: int, outputs: int) -> str:
        """A message out of the k-th sum."""
        place = self.heard.get(TOLD + number)
        if place is None:
            return ""
        side = self.traced.small[place]
        start = f"{min(k, outputs)} * {COUNTS['b']} + {max(0, k - outputs)} * {COUNTS['a']}"
        return f"hear(call, {self.numbers[place]}, call.sums + {start}, {COUNTS[side]});"

    def _small(self, polynomials: Iterable[dict]) -> list[str]:
        """Loops that compute what neurons know and synapses ask for next."""
        wanted = set(reached(self.traced.algebra, polynomials, self._known)) & self.traced.small.keys() - self._known
        loops = []
        for side in "ab":
            own = sorted(place for place in wanted if self.traced.small[place] == side)
            given = {place: f"call.exact[{self.numbers[place]} + i]" for place in self._known}
            lines = Lines(self.traced, given, "double", EXACT)
            results = {place: lines.atom(place) for place in own}
            writes = [f"keep(call, {self.numbers[place]} + i, {result});" for place, result in results.items()]
            if own:
                loops.append(f"for (long i = 0; i < {COUNTS[side]}; i++) {{ {' '.join([*lines.lines, *writes])} }}")
        self._known |= wanted
        return loops

    def _pass(self, name: str, polynomials: list[dict], rows: int, columns: int) -> str:
        given, loaded = {}, list[str]()
        for place in sorted(set(reached(self.traced.algebra, polynomials, self._known))):
            kind, value, _ = self.atoms[place]
            if kind == "plane":
                loaded.append(f"planes_{value}(call.planes[{value}] + row * call.apart[{value}])")
                given[place] = f"load(planes_{value} + q, left)"
            elif place in self._known and self.traced.small[place] == "a":
                loaded.append(f"inputs_{place}(call.rounded + {self.numbers[place]} + g * call.A)")
                given[place] = f"load(inputs_{place} + q, left)"
            elif place in self._known:
                loaded.append(f"output_{place}(V{{}} + call.rounded[{self.numbers[place]} + row])")
                loaded.append(f"outputs_{place}(call.rounded + {self.numbers[place]})")
                given[place] = f"flat ? load(outputs_{place} + q, left) : output_{place}"
        lines = Lines(self.traced, given, "F", FUNCTIONS)
        results = [evaluate(terms, lines) for terms in polynomials]
        fields = [f"{'V' if f.startswith('output_') else 'const F*'} {f.split('(')[0]};" for f in loaded]
        return "\n".join(
            [
                f"template <bool flat> struct {name} {{",
                f"  static constexpr int SUMS = {rows}, COLUMNS = {columns}, STORES = {len(results) - rows - columns};",
                f"  {' '.join(fields)}",
                f"  INLINE_MEMBER {name}(const Call& call, long g, long row)",
                f"      {': ' if loaded else ''}{', '.join(loaded)} {{}}",
                "  template <bool full> INLINE_MEMBER void at(long q, long n, V* out) const {",
                "    const long left = full ? W : n;",
                *(f"    {line}" for line in lines.lines),
                *(f"    out[{k}] = {result};" for k, result in enumerate(results)),
                "  }",
                "};",
            ]
        )


def compiled(traced: Traced, dtype: torch.dtype) -> Callable[..., None] | None:
    """The function; ``None`` without a compiler, or for another dtype."""
    source = "\n".join(("namespace {", header("native/commit.hpp"), "}", Source(traced).text()))
    found = on_vectors(source, dtype, "commit ticks")
    return None if found is None else found.commit
