"""A hook for mkdocs: notebooks in docs/ become pages of the site, with links to them pointed there."""

import json
import re
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

LINK = re.compile(r"(?<=\]\()(?!\w+:)([^)\s#]+)\.ipynb(?=[)#])")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page beside each notebook."""
    for file in [file for file in files if file.src_uri.endswith(".ipynb")]:
        page = file.src_uri.removesuffix(".ipynb") + ".md"
        files.append(File.generated(config, page, content=_markdown(json.loads(file.content_string), file.name)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links to notebooks at their pages, but for a page's own, which is the notebook to download."""
    own = page.file.name
    return LINK.sub(lambda link: link[0] if link[1] == own else f"{link[1]}.md", markdown)


def _markdown(notebook: dict[str, Any], name: str) -> str:
    """Cells as text and fences; below the title, which is the first line, the notebook itself."""
    cells = [_cell(cell["cell_type"], "".join(cell["source"])) for cell in notebook["cells"]]
    title, _, text = "\n\n".join(cells).partition("\n")
    return f"{title}\n\nThis page is a notebook: [{name}.ipynb]({name}.ipynb).\n{text}\n"


def _cell(kind: str, source: str) -> str:
    return source if kind == "markdown" else f"```python\n{source}\n```"
