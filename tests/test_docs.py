"""What the documentation shows runs, and what it links is there."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lightning_vsml import checkpoints
from lightning_vsml.binding.grids import GRIDS

ROOT = Path(__file__).parents[1]
WORDS = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
PAGES = [*(ROOT / name for name in WORDS), *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^ *(```+)(\w*)[^\n]*\n(.*?)^ *\1 *$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!\w+:)([^)\s#]*)(?:#([^)\s]*))?\)")
HEADING = re.compile(r"^#+ +(.*?) *$", re.MULTILINE)


@pytest.fixture
def _registry() -> Iterator[None]:
    """What a page registers is gone afterwards."""
    before = dict(GRIDS)
    yield
    GRIDS.clear()
    GRIDS.update(before)


@pytest.mark.usefixtures("_registry")
@pytest.mark.parametrize("page", ["index.md", "extending.md", "format.md"])
def test_python_blocks_run_one_after_another(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path, namespace = ROOT / "docs" / page, {"__name__": "page"}
    text = path.read_text(encoding="utf-8")
    blocks = [fence for fence in FENCE.finditer(text) if fence[2] == "python"]
    assert blocks
    for block in blocks:
        above = "\n" * text.count("\n", 0, block.start(3))  # so that a traceback names the page's line
        exec(compile(above + block[3], str(path), "exec"), namespace)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_relative_links_lead_somewhere(page: Path) -> None:
    for target, anchor in LINK.findall(without_code(page)):
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), f"{page.name} links {target}, which does not exist"
        assert not anchor or anchor in anchors(path), f"{page.name} links {target}#{anchor}: no such heading"


def test_the_table_to_choose_from_has_every_shipped_algorithm() -> None:
    text = (ROOT / "docs" / "choose.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in text.split("## ")[0].splitlines() if line.startswith("| ")]
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert named == set(checkpoints.names())


@pytest.mark.parametrize("name", checkpoints.names())
def test_the_format_names_what_files_hold(name: str) -> None:
    algorithm, text = checkpoints.load(name), (ROOT / "docs" / "format.md").read_text(encoding="utf-8")
    tensors = () if algorithm.family == "mplp" else algorithm.tensors()  # that page only says how theirs are named
    words = {"format", "version", "sha256", "name", "family", "kind", "made_by", "measured", *tensors}
    for settings in (algorithm.settings(), *algorithm.settings().get("protocol", {}).get("learn", ())):
        words.update(settings)
    assert not [word for word in sorted(words) if f"`{word}`" not in text and f'"{word}": [...]' not in text]
    assert f"`{algorithm.family}`" in text and f"| {checkpoints.VERSION} |" in text
    assert f"| {checkpoints.VERSION + 1} |" not in text


def test_links_are_found() -> None:
    """The test above looks at something."""
    found = [link for page in PAGES for link in LINK.findall(without_code(page))]
    assert {("docs/cloning.md", ""), ("extending.md", "a-layer-type")} <= set(found)


def without_code(page: Path) -> str:
    return re.sub(r"`[^`\n]*`(?!\])", "", FENCE.sub("", page.read_text(encoding="utf-8")))


def anchors(page: Path) -> set[str]:
    """Of a page's headings, as GitHub and the site make them."""
    headings: list[Any] = HEADING.findall(FENCE.sub("", page.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
