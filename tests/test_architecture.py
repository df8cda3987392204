"""The house: data flows one way, fit -> binding -> algorithms -> ticks, and Lightning stays at the edge."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "lightning_vsml"
MAY_IMPORT = {
    "ticks": set(),
    "algorithms": {"ticks"},
    "binding": {"algorithms", "ticks"},
    "lab": {"algorithms", "ticks"},
    "fit": {"binding", "algorithms", "ticks"},
    "cloning": {"fit", "lab", "algorithms", "ticks"},
    "meta": {"fit", "lab", "algorithms", "ticks"},
    "report": {"fit", "binding", "lab", "algorithms", "ticks"},
}
KNOW_LIGHTNING = {
    "cloning/module.py",
    "meta/recipes.py",
    "meta/sequences/module.py",
    "meta/wide/search.py",
    "report/__main__.py",
    "report/batches.py",
    "report/compare.py",
    "report/example.py",
    "report/loading.py",
    "report/optimizers.py",
    "report/recorder.py",
    "report/run.py",
    "report/source.py",
}  # and all of fit


def imported(file: Path) -> Iterator[str]:
    """Modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{file} imports relatively"
            yield node.module


FILES = [file for room in MAY_IMPORT for file in sorted((PACKAGE / room).rglob("*.py"))]


def test_every_file_is_in_a_room() -> None:
    outside = {file for file in PACKAGE.rglob("*.py")} - set(FILES)
    assert {file.name for file in outside} == {"__init__.py"}


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_nothing_is_imported_from_above(room: str) -> None:
    arrows = {
        (file.name, module)
        for file in sorted((PACKAGE / room).rglob("*.py"))
        for module in imported(file)
        if module.startswith("lightning_vsml")
        if module.split(".")[1] not in {room, *MAY_IMPORT[room]}
    }
    assert not arrows


def test_lightning_is_imported_at_the_edge_alone() -> None:
    knowing = {
        file.relative_to(PACKAGE).as_posix()
        for file in FILES
        for module in imported(file)
        if module.split(".")[0] in {"lightning", "pytorch_lightning", "lightning_fabric"}
    }
    assert {name for name in knowing if not name.startswith("fit/")} == KNOW_LIGHTNING
