"""What the fields of a card may hold: each is checked by type and range before anything is made of it.

A check is a function of a value and of where it stands; it raises ``ValueError``. Families give theirs as
:attr:`Algorithm.fields <lightning_vsml.algorithms.base.Algorithm.fields>`. Fields that no check is for are notes.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

Check = Callable[[Any, str], None]

LARGEST = 3.4028234663852886e38  # of float32, in which ticks run
KINDS = ("constructed", "cloned", "meta-learned")


class Optional(NamedTuple):
    """A field that may be left out."""

    check: Check


Fields = Mapping[str, "Check | Optional"]


def check_fields(values: Any, fields: Fields, where: str = "", notes: bool = False) -> None:
    """Check an object of JSON.

    Args:
        values: the object.
        fields: a check for each name.
        where: what the object is called; a whole card needs no name.
        notes: whether there may be other fields.

    Raises:
        ValueError: a field is missing, unknown, of another type or out of range; says what was expected, and what came.
    """
    if not isinstance(values, dict):
        raise _wrong(where or "a card", "an object", values)
    for name, check in fields.items():
        here = f"{where}.{name}" if where else name
        if name in values:
            (check.check if isinstance(check, Optional) else check)(values[name], here)
        elif not isinstance(check, Optional):
            raise ValueError(f"{here} is missing.")
    if not notes and (unknown := [name for name in values if name not in fields]):
        raise ValueError(f"{where} should hold {', '.join(fields)}, got {', '.join(map(repr, unknown))} as well.")


def table(fields: Fields) -> Check:
    """An object of these fields and no others."""
    return lambda value, where: check_fields(value, fields, where)


def notes(value: Any, where: str) -> None:
    """An object of anything."""
    check_fields(value, {}, where, notes=True)


def text(value: Any, where: str) -> None:
    """A string that is not empty."""
    if not isinstance(value, str) or not value:
        raise _wrong(where, "a string that is not empty", value)


def digest(value: Any, where: str) -> None:
    """A sha256."""
    if not isinstance(value, str) or not re.fullmatch("[0-9a-f]{64}", value):
        raise _wrong(where, "a sha256, 64 hexadecimal digits", value)


def flag(value: Any, where: str) -> None:
    """True or false."""
    if not isinstance(value, bool):
        raise _wrong(where, "true or false", value)


def whole(least: int) -> Check:
    """A whole number of at least this."""

    def check(value: Any, where: str) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 2**63:
            raise _wrong(where, f"a whole number of at least {least}", value)

    return check


def number(least: float = -LARGEST, most: float = LARGEST, above: float = -math.inf, below: float = math.inf) -> Check:
    """A finite number within bounds."""
    words = [f"of at least {least:g}"] * (least > -LARGEST) + [f"above {above:g}"] * (above > -math.inf)
    words += [f"of at most {most:g}"] * (most < LARGEST) + [f"below {below:g}"] * (below < math.inf)

    def check(value: Any, where: str) -> None:
        known = isinstance(value, int | float) and not isinstance(value, bool)
        if not known or not (least <= value <= most and above < value < below):
            raise _wrong(where, " ".join(["a finite number", " and ".join(words)]).strip(), value)

    return check


def one_of(*values: str) -> Check:
    """One of these strings."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, str) or value not in values:
            raise _wrong(where, f"one of {', '.join(map(repr, values))}", value)

    return check


def list_of(check: Check, least: int = 0, most: float = math.inf) -> Check:
    """A list of so many."""
    many = f"{least}" if least == most else f"{least} or more" if least else ""

    def checks(value: Any, where: str) -> None:
        if not isinstance(value, list) or not least <= len(value) <= most:
            raise _wrong(where, f"a list of {many}".removesuffix(" of "), value)
        for place, item in enumerate(value):
            check(item, f"{where}[{place}]")

    return checks


def each(check: Check) -> Check:
    """An object whose values, by any names, are all of one type."""

    def checks(value: Any, where: str) -> None:
        notes(value, where)
        for name, item in value.items():
            check(item, f"{where}.{name}")

    return checks


def or_null(check: Check) -> Check:
    """What may be null."""
    return lambda value, where: None if value is None else check(value, where)


def agrees(what: str, card: Any, tensors: Any) -> None:
    """Check a field that repeats, for readers, what the tensors say.

    Raises:
        ValueError: it says something else.
    """
    if isinstance(card, dict) and isinstance(tensors, dict):
        for name, value in card.items():
            agrees(f"{what}.{name}", value, tensors.get(name))
    elif card != tensors:
        raise ValueError(f"{what} is {card} in the card, but {tensors} in the tensors.")


COMMON: Fields = {
    "name": text,
    "kind": one_of(*KINDS),
    "family": Optional(text),
    "made_by": notes,
    "measured": list_of(notes),
    "sha256": digest,
}
"""Of every card."""

CELL: Fields = {
    "units": whole(1),
    "forward_channels": whole(1),
    "backward_channels": whole(0),
    "parameters": whole(1),
    "nonzero_parameters": Optional(whole(0)),
    "dtype": one_of("float64", "float32", "float16", "bfloat16"),
}
"""Sizes of an LSTM."""


def _wrong(where: str, expected: str, value: Any) -> ValueError:
    shown = repr(value)
    return ValueError(f"{where} should be {expected}, got {shown if len(shown) <= 80 else shown[:77] + '...'}.")
