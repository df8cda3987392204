"""Lightning under both its names: ``lightning.pytorch``, and ``pytorch_lightning``, which has classes of its own.

The former is a dependency. The latter counts as soon as somebody has imported it: then a class that is
:func:`of_both` derives from both packages' own, and :func:`kinds` gives both, for ``isinstance``.
"""

import sys
from collections.abc import Callable
from operator import attrgetter
from typing import TypeVar

import lightning.pytorch

_derived: list[tuple[type, str]] = []

Class = TypeVar("Class", bound=type)


def kinds(name: str) -> tuple[type, ...]:
    """Classes of this name, of the packages that are there: ``"callbacks.ModelSummary"``.

    >>> [kind.__module__ for kind in kinds("callbacks.ModelSummary")][0]
    'lightning.pytorch.callbacks.model_summary'
    """
    find = attrgetter(name)
    try:
        return find(lightning.pytorch), find(sys.modules["pytorch_lightning"])
    except (KeyError, AttributeError):  # it is not there, or another version, without such a class
        return (find(lightning.pytorch),)


def of_both(name: str) -> Callable[[Class], Class]:
    """Class decorator: what derives from this class of ``lightning.pytorch`` derives from the other package's, too.

    Bases are added to the class itself, so that its instances, subclasses, pickles and checkpoints stay what they are.
    """

    def derived(kind: Class) -> Class:
        _derived.append((kind, name))
        join()
        return kind

    return derived


def join() -> None:
    """Take up ``pytorch_lightning``, if it has been imported since."""
    for kind, name in _derived:
        kind.__bases__ += tuple(base for base in kinds(name) if not issubclass(kind, base))


@of_both("utilities.exceptions.MisconfigurationException")
class MisconfigurationException(lightning.pytorch.utilities.exceptions.MisconfigurationException):
    """What both packages' Trainers raise."""
