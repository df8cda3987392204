"""What other installed packages add, by entry points in their metadata: families here, layer grids in binding.

They are looked for when they are first needed, and only what is needed is imported.
"""

from importlib.metadata import EntryPoint, entry_points
from typing import Any

from lightning_vsml.algorithms.base import FAMILIES, Algorithm, family

GROUP = "lightning_vsml.families"


class PluginError(RuntimeError):
    """Another package's entry point that cannot be imported, or is not what its group asks for."""


def described(entry: EntryPoint) -> str:
    """Which it is, and whose."""
    owner = f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unknown package"
    return f"the entry point {entry.name!r} ({entry.value}) of {owner} in the group {entry.group!r}"


def load(entry: EntryPoint) -> Any:
    """What an entry point names.

    Raises:
        PluginError: it cannot be imported.
    """
    try:
        return entry.load()
    except Exception as error:  # whatever a foreign module may raise
        raise PluginError(
            f"{described(entry)} cannot be imported: {error!r}. Upgrade or uninstall that package."
        ) from error


def find_family(name: str) -> type[Algorithm] | None:
    """The family of this name: one that is known, or of another package, under the entry point of this name.

    Raises:
        PluginError: the entry point cannot be imported, is no family of this name, or there are several.
    """
    if name in FAMILIES:
        return FAMILIES[name]
    found = entry_points(group=GROUP, name=name)
    if not found:
        return None
    if len(found) > 1:
        raise PluginError(f"{' and '.join(map(described, found))} have the same name. Uninstall all but one.")
    [entry] = found
    kind = load(entry)
    if not (isinstance(kind, type) and issubclass(kind, Algorithm) and getattr(kind, "family", None) == name):
        raise PluginError(
            f"{described(entry)} should be a subclass of lightning_vsml.Algorithm with family = {name!r}, got {kind!r}."
            " Upgrade or uninstall that package."
        )
    return family(kind)
