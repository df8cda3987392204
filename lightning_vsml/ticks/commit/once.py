"""What commit ticks compute once for a row instead of for each of its numbers."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_vsml.ticks.products.algebra import Algebra, Atom, Monomial, Terms


def hoisted(algebra: Algebra, polynomials: Iterable[Terms], small: dict[int, str]) -> list[Terms]:
    """Polynomials, and those within their atoms, whose terms of one side alone are gathered into an atom.

    Args:
        algebra: of the polynomials; atoms change in place.
        polynomials: what is to be computed.
        small: atoms of one side, ``"a"`` or ``"b"``; new ones are added.
    """

    def gather(terms: Terms) -> Terms:
        kept: Terms = {}
        sides: dict[str, Terms] = {"a": {}, "b": {}}
        for monomial, coefficient in terms.items():
            among = {small.get(atom, "ab") for atom, _ in monomial}
            (sides[among.pop()] if among in ({"a"}, {"b"}) else kept)[monomial] = coefficient
        for side, own in sides.items():
            if own and side == "b" and () in kept:
                own[()] = kept.pop(())
            if len(own) > 1 or any(c != 1.0 or sum(power for _, power in m) > 1 for m, c in own.items()):
                low, high = algebra.interval(own)
                atom = algebra.atom("factor", tuple(sorted(own.items())), "ab", low, high)
                small[atom[0][0]] = side
                own = {atom: 1.0}
            kept |= own
        return kept

    found = [gather(terms) for terms in polynomials]
    for place in sorted(_reached(algebra, found, small)):
        kind, value, shape = algebra.atoms[place]
        if isinstance(value, tuple) and place not in small:
            algebra.atoms[place] = Atom(kind, tuple(sorted(gather(dict(value)).items())), shape)
    return found


class Mixed(NamedTuple):
    """Small atoms of one side, whose arguments are sums of messages: a single matrix product for all of them.

    Attributes:
        atoms, kinds: which, and what of their arguments they are.
        messages: numbers of what is summed.
        weights: ``(atoms, messages)``.
        constants: ``(atoms,)``.
    """

    atoms: tuple[int, ...]
    kinds: tuple[str, ...]
    messages: tuple[int, ...]
    weights: Tensor
    constants: Tensor


def mixed(algebra: Algebra, polynomials: Iterable[Terms], small: dict[int, str], known: set[int]) -> list[Mixed]:
    """What of the small atoms of polynomials can be computed so; these become known."""
    sums: dict[str, dict[int, dict[int | None, float]]] = {"a": {}, "b": {}}
    for atom in sorted(set(_reached(algebra, polynomials, known)) & small.keys() - known):
        value = algebra.atoms[atom].value
        if isinstance(value, tuple) and (found := _linear(algebra, value)) is not None:
            sums[small[atom]][atom] = found
            known.add(atom)
    parts = []
    for own in filter(None, sums.values()):
        messages = sorted({number for terms in own.values() for number in terms if number is not None})
        weights = [[terms.get(number, 0.0) for number in messages] for terms in own.values()]
        kinds = tuple(algebra.atoms[atom].kind for atom in own)
        constants = torch.tensor([terms.get(None, 0.0) for terms in own.values()], dtype=torch.float64)
        weighed = torch.tensor(weights, dtype=torch.float64)
        parts.append(Mixed(tuple(own), kinds, tuple(messages), weighed, constants))
    return parts


def _linear(algebra: Algebra, value: Iterable[tuple[Monomial, float]]) -> dict[int | None, float] | None:
    """Weights of messages by number, the constant as that of ``None``; ``None`` if it is no sum of messages."""
    found: dict[int | None, float] = {}
    for monomial, coefficient in value:
        if not monomial:
            found[None] = coefficient
            continue
        (atom, power), *others = monomial
        kind, number, _ = algebra.atoms[atom]
        if others or power > 1 or kind != "e":
            return None
        assert isinstance(number, int)
        found[number] = coefficient
    return found


def _reached(algebra: Algebra, polynomials: Iterable[Terms], ends: Iterable[int]) -> Iterator[int]:
    """Atoms of polynomials, of their arguments and so on; those of ``ends`` are not looked into."""
    seen, ends = set[int](), frozenset(ends)
    waiting = [atom for terms in polynomials for monomial in terms for atom, _ in monomial]
    while waiting:
        atom = waiting.pop()
        if atom not in seen:
            seen.add(atom)
            yield atom
            value = algebra.atoms[atom].value
            if isinstance(value, tuple) and atom not in ends:
                waiting += [inner for monomial, _ in value for inner, _ in monomial]
