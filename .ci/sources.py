"""A hook for mkdocs: files outside of docs/ that its pages link become pages of the site, below source/.

So the same links work on disk, where the repository is browsed, and in the site. A link to nothing stays what it is,
and fails a strict build.
"""

import re
from os.path import relpath
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)\s#]+)")
HIDDEN = "---\nsearch:\n  exclude: true\n---\n\n"
LANGUAGES = {".py": "python", ".yml": "yaml", ".hpp": "cpp"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for each file that is linked, and for what those of them that are Markdown link in turn."""
    todo = [DOCS / file.src_uri for file in files.documentation_pages()]
    seen = set(todo)
    for path in todo:  # grows on the way
        if DOCS not in path.parents:
            file = File.generated(config, _uri(path), content=_content(path), inclusion=InclusionLevel.NOT_IN_NAV)
            files.append(file)
        found = _entries(path) if path.is_dir() else list(_linked(path).values())
        todo += sorted(target for target in found if target not in seen and DOCS not in target.parents)
        seen.update(found)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links out of docs/ to these pages."""
    uri = page.file.src_uri
    origin = ROOT / uri.removeprefix("source/") if uri.startswith("source/") else DOCS / uri
    targets = _linked(origin)
    folder = PurePosixPath(uri).parent

    def moved(link: re.Match[str]) -> str:
        return relpath(_uri(targets[link[0]]), folder) if link[0] in targets else link[0]

    return LINK.sub(moved, markdown)


def _linked(page: Path) -> dict[str, Path]:
    """What a Markdown page links and has to be pointed elsewhere, by the text of the link."""
    if page.suffix != ".md" or not page.is_file():
        return {}
    targets = {link: (page.parent / link).resolve() for link in LINK.findall(page.read_text(encoding="utf-8"))}
    inside = DOCS in page.parents
    return {
        link: target
        for link, target in targets.items()
        if ROOT in target.parents and target.exists() and not (inside and DOCS in target.parents)
    }


def _entries(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.name != "__pycache__" and entry.name[0] != ".")


def _uri(path: Path) -> str:
    """Of the page that shows ``path``."""
    if DOCS in path.parents:
        return path.relative_to(DOCS).as_posix()
    name = path.relative_to(ROOT).as_posix()
    return f"source/{name}/index.md" if path.is_dir() else f"source/{name.removesuffix('.md')}.md"


def _content(path: Path) -> str:
    if path.suffix == ".md":
        return path.read_text(encoding="utf-8")
    title = f"{HIDDEN}# {path.relative_to(ROOT).as_posix()}\n\n"
    if path.is_dir():
        here = PurePosixPath(_uri(path)).parent
        return title + "".join(f"* [{entry.name}]({relpath(_uri(entry), here)})\n" for entry in _entries(path))
    language = LANGUAGES.get(path.suffix, path.suffix.removeprefix("."))
    return f"{title}``````{language}\n{path.read_text(encoding='utf-8')}\n``````\n"
