"""What commit ticks compute once for a row instead of for each of its numbers."""

from collections.abc import Iterable, Iterator

from lightning_vsml.ticks.products.algebra import Algebra, Atom, Terms


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
    for place in sorted(reached(algebra, found, small)):
        kind, value, shape = algebra.atoms[place]
        if isinstance(value, tuple) and place not in small:
            algebra.atoms[place] = Atom(kind, tuple(sorted(gather(dict(value)).items())), shape)
    return found


def reached(algebra: Algebra, polynomials: Iterable[Terms], ends: Iterable[int] = ()) -> Iterator[int]:
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
