"""docs/compatibility.md names tests that exist, and every test of a feature is named there."""

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parent
TABLE = TESTS.parent / "docs" / "compatibility.md"
FEATURES = (
    "fit/test_trainer_features.py",
    "fit/test_optimizers.py",
    "fit/test_precision.py",
    "fit/test_distributed.py",
)


def defined(file: Path) -> set[str]:
    tree = ast.parse(file.read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def named() -> set[tuple[str, str]]:
    return set(re.findall(r"`([\w/]*test_\w+\.py)::(test_\w+)`", TABLE.read_text()))


def test_every_named_test_exists() -> None:
    missing = [f"{file}::{test}" for file, test in sorted(named()) if test not in defined(TESTS / file)]
    assert named() and not missing


def test_every_row_names_a_test() -> None:
    rows = [
        line for line in TABLE.read_text().splitlines() if line.startswith("| ") and not line.startswith("| feature")
    ]
    assert rows and not [row for row in rows if "::test_" not in row]


def test_every_test_of_a_feature_is_named() -> None:
    there = {(file, test) for file in FEATURES for test in defined(TESTS / file)}
    assert not there - named()
