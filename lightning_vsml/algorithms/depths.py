"""How deep a layer is in a network: the shortest chain from an input to an output that it is part of.

A network of residual blocks is as shallow as what leads past them; every layer of a perceptron is as deep as all
together. Read off autograd's graph, so that it does not matter how a model is written.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from torch.autograd.graph import Node


class Use(NamedTuple):
    """A call of a layer.

    Attributes:
        name: of the layer.
        into: where its input came from, ``None`` for data.
        out: what made its output.
        counts: layers that it is.
    """

    name: str
    into: Node | None
    out: Node
    counts: int


def shortest_chains(uses: Iterable[Use]) -> dict[str, int]:
    """Of each layer, the layers in the shortest chain through it.

    Args:
        uses: all calls of one pass, while autograd's graph of it is there.

    Returns:
        By name; of a layer that is called several times the least.
    """
    by_out = {use.out: use for use in uses}
    order = list(_in_order(by_out))
    below: dict[Node, int | None] = {}  # layers up to what a node makes; None: no data comes here
    for node in order:
        found = [below[part] for part in _sources(node, by_out)]
        known = [depth for depth in found if depth is not None]
        least = min(known, default=None)
        if (use := by_out.get(node)) is not None:
            least = (0 if use.into is None or least is None else least) + use.counts
        below[node] = least
    above: dict[Node, int] = {}  # layers after it
    for node in reversed(order):
        use = by_out.get(node)
        behind = above.setdefault(node, 0) + (use.counts if use is not None else 0)
        for part in _sources(node, by_out):
            above[part] = min(above.get(part, behind), behind)
    chains: dict[str, int] = {}
    for node, use in by_out.items():
        through = (below[node] or 0) + above[node]
        chains[use.name] = min(chains.get(use.name, through), through)
    return chains


def _sources(node: Node, by_out: dict[Node, Use]) -> list[Node]:
    """What a node depends on; of a layer it is its input alone."""
    if (use := by_out.get(node)) is not None:
        return [] if use.into is None else [use.into]
    return [part for part, _ in node.next_functions if part is not None]


def _in_order(by_out: dict[Node, Use]) -> Iterator[Node]:
    """Nodes after all that they depend on."""
    done: set[Node] = set()
    for out in by_out:
        stack = [(out, iter(_sources(out, by_out)))]
        entered = {out}
        while stack:
            node, parts = stack[-1]
            for part in parts:
                if part not in done and part not in entered:
                    entered.add(part)
                    stack.append((part, iter(_sources(part, by_out))))
                    break
            else:
                stack.pop()
                if node not in done:
                    done.add(node)
                    yield node
