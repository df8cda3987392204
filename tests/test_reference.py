"""The API reference has an entry for every public name, and for nothing that is not there."""

import importlib
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
ENTRY = re.compile(r"^::: (\S+)$", re.MULTILINE)
ENTRIES = [entry for page in sorted((ROOT / "docs" / "api").glob("*.md")) for entry in ENTRY.findall(page.read_text())]
PACKAGES = [
    ".".join(file.relative_to(ROOT).parent.parts) for file in sorted((ROOT / "lightning_vsml").rglob("__init__.py"))
]


def resolved(entry: str) -> Any:
    """What an entry shows: a module, or what a module has by this name."""
    try:
        return importlib.import_module(entry)
    except ModuleNotFoundError:
        module, _, name = entry.rpartition(".")
        return getattr(importlib.import_module(module), name)


def shown() -> list[Any]:
    """What the pages show: entries, and what modules among them define."""
    found = [resolved(entry) for entry in ENTRIES]
    defined = [
        part
        for module in found
        if isinstance(module, ModuleType)
        for name, part in vars(module).items()
        if not name.startswith("_") and getattr(part, "__module__", None) == module.__name__
    ]
    return found + defined


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_has_an_entry(package: str) -> None:
    module = importlib.import_module(package)
    there = {id(part) for part in shown()}
    missing = [name for name in getattr(module, "__all__", ()) if id(getattr(module, name)) not in there]
    assert not missing, f"docs/api lacks {package}: {', '.join(missing)}"


def test_nothing_has_two_entries() -> None:
    there = [id(resolved(entry)) for entry in ENTRIES]
    assert there and len(set(there)) == len(there)


@pytest.mark.skipif(not (ROOT / ".ci").is_dir(), reason="source distributions have no site")
def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / ".ci" / "mkdocs.yml").read_text()
    pages = [page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")]
    assert pages and not [page for page in pages if not re.search(rf": {re.escape(page)}$", navigation, re.MULTILINE)]
