"""What settings of a search may be."""

from collections.abc import Iterable, Mapping
from typing import Protocol


class Horizoned(Protocol):
    """Settings with a range of lengths."""

    @property
    def horizon(self) -> tuple[int, int]:
        """The shortest and the longest."""


def check_ranges(settings: Horizoned, least: Mapping[str, int], shares: Iterable[str]) -> None:
    """Check settings by name.

    Args:
        settings: what is checked, with a ``horizon``.
        least: what others should at least be.
        shares: those that should be from 0 to 1.

    Raises:
        ValueError: names what is out of range.
    """
    short, longest = settings.horizon
    if not 0 < short <= longest:
        raise ValueError(f"horizon should be a range from short to long, got {short} to {longest}.")
    for what, at_least in least.items():
        if getattr(settings, what) < at_least:
            raise ValueError(f"{what} should be at least {at_least}, got {getattr(settings, what)}.")
    for what in shares:
        if not 0 <= getattr(settings, what) <= 1:
            raise ValueError(f"{what} should be a share from 0 to 1, got {getattr(settings, what)}.")
