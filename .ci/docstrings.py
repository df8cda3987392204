"""An extension for Griffe, which reads docstrings for the API reference: their marks become Markdown.

In the source they are what Python shows: roles (``:class:`~a.b.C```), simple tables, prompts without a fence, several
arguments in one entry.
"""

import re

import griffe

ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):`(~?)([\w.]+)`")
TABLE = re.compile(r"^( *)=+(?:  +=+)+ *\n.*?^\1=+(?:  +=+)+ *\n(?:.*?^\1=+(?:  +=+)+ *$)?", re.MULTILINE | re.DOTALL)
TOGETHER = re.compile(r"^( +)([a-z]\w*(?:, [a-z]\w*)+): ", re.MULTILINE)
PROMPT = re.compile(r"^( *)>>> .*?(?=\n *\n|\Z)", re.MULTILINE | re.DOTALL)


class Marks(griffe.Extension):
    """Rewrites each docstring before it is parsed."""

    def on_instance(self, *, obj: griffe.Object | griffe.Alias, **_: object) -> None:
        """Called with every module, class, function and attribute."""
        if obj.docstring is not None and not obj.is_alias:
            inside = obj if obj.is_class or obj.is_module or obj.parent is None else obj.parent
            obj.docstring.value = markdown(obj.docstring.value, inside.path)


def markdown(text: str, inside: str) -> str:
    """A docstring in Markdown; short names in it are those of the class or module ``inside``."""
    text = PROMPT.sub(lambda found: _fenced(found[0], found[1], "pycon"), text)
    text = TABLE.sub(lambda found: _fenced(found[0].rstrip(), found[1], "text"), text)
    text = TOGETHER.sub(lambda found: _apart(found[1], found[2].split(", ")), text)
    return ROLE.sub(lambda found: _link(found[1] == "~", found[2], inside), text)


def _fenced(block: str, indent: str, language: str) -> str:
    return f"{indent}```{language}\n{block}\n{indent}```"


def _apart(indent: str, names: list[str]) -> str:
    """Arguments that are described together, each an entry of its own."""
    *others, last = names
    return "".join(f"{indent}{name}: see `{last}`.\n" for name in others) + f"{indent}{last}: "


def _link(short: bool, target: str, inside: str) -> str:
    """A link where the target is on some page, and its name in any case."""
    name = target.rpartition(".")[2] if short else target
    full = target if target.startswith("lightning_vsml.") else f"{inside}.{target}"
    return f'<autoref identifier="{full}" optional><code>{name}</code></autoref>'
