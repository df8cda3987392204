"""What a phase of a protocol computes, as a list of operations on symbols.

Every value depends on some of row, input and output (``r``, ``a``, ``b``; all have groups), and an engine computes
it at that shape: :mod:`~lightning_vsml.ticks.fused` with torch, :mod:`~lightning_vsml.ticks.native` in C++ and
:mod:`~lightning_vsml.ticks.triton` on a GPU. Equal operations are one node.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

SPREAD = frozenset("rab")
_INPUTS = {"x": frozenset("ra"), "e": frozenset("rb"), "h": frozenset("ab"), "c": frozenset("ab")}


class Parameter(NamedTuple):
    """An entry of a cell's parameter, or the sum of several in one column.

    Attributes:
        name: which one, a field of :class:`~lightning_vsml.ticks.cell.Cell`.
        rows: first index (empty for the bias).
        column: last index.
    """

    name: str
    rows: tuple[int, ...]
    column: int


class Mix(NamedTuple):
    """Many sums over the same units at once, a matrix product: ``W[units][:, columns]``."""

    units: tuple[int, ...]
    columns: tuple[int, ...]


class Node(NamedTuple):
    """One operation.

    Attributes:
        op: ``x``, ``e`` (the layer's input, what a backward message carries), ``h``, ``c`` (a unit of the merged
            state), ``constant``, ``parameter``, ``add``, ``mul``, ``tanh``, ``half`` (sigm(z) - 1/2 = tanh(z/2)/2),
            ``mix``, ``pick`` (one column of a mix).
        args: the nodes it works on, by their place in :attr:`Graph.nodes`.
        value: unit, number, :class:`Parameter`, :class:`Mix` or column; of ``e``: 0 for the feedback, 1 + j for own
            message j.
        on: which of row, input and output it depends on.
    """

    op: str
    args: tuple[int, ...]
    value: int | float | Parameter | Mix | None
    on: frozenset[str]


class Graph:
    """Nodes in an order in which they can be computed; grows by asking for operations."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self._known: dict[Node, int] = {}

    def leaf(self, op: str, value: int | float | Parameter | None = None) -> int:
        """An input, a unit of the state, a constant or a parameter."""
        return self._node(Node(op, (), value, _INPUTS.get(op, frozenset())))

    def apply(self, op: str, *args: int, value: int | Mix | None = None) -> int:
        """``op`` of ``args``; products with 1 vanish."""
        if op == "mul":
            args = tuple(arg for arg in args if self.nodes[arg][::2] != ("constant", 1.0)) or args[:1]
        if op in ("add", "mul") and len(args) == 1:
            return args[0]
        return self._node(Node(op, args, value, frozenset().union(*(self.nodes[arg].on for arg in args))))

    def add(self, *terms: int) -> int:
        """Sum; small shapes first, so that what cancels does so before it is spread."""
        first, *others = sorted(terms, key=lambda term: len(self.nodes[term].on))
        for other in others:
            first = self.apply("add", first, other)
        return first

    def mul(self, *factors: int) -> int:
        """Product, small shapes first."""
        first, *others = sorted(factors, key=lambda factor: len(self.nodes[factor].on))
        for other in others:
            first = self.apply("mul", first, other)
        return first

    def constant(self, value: float) -> int:
        """A number."""
        return self.leaf("constant", value)

    def is_spread(self, node: int) -> bool:
        """Whether it depends on row, input and output."""
        return self.nodes[node].on == SPREAD

    def reach(self, wanted: Iterable[int], known: Callable[[int], bool]) -> tuple[list[int], list[int]]:
        """What has to be computed for ``wanted``, each shortly before its use; and what they take of the known."""
        compute: dict[int, None] = {}
        take: dict[int, None] = {}
        stack = [(place, False) for place in reversed(list(wanted))]
        while stack:
            place, ready = stack.pop()
            if known(place):
                take[place] = None
            elif ready:
                compute[place] = None
            elif place not in compute:
                stack.append((place, True))
                stack += [(arg, False) for arg in reversed(self.nodes[place].args)]
        return list(compute), list(take)

    def _node(self, node: Node) -> int:
        if node not in self._known:
            self._known[node] = len(self.nodes)
            self.nodes.append(node)
        return self._known[node]
