"""The report as one HTML file, which needs nothing else."""

import html
from collections.abc import Iterable

from rich.table import Table
from rich.text import Text

from lightning_vsml.report import pictures, tables
from lightning_vsml.report.result import Parity
from lightning_vsml.report.verdict import head

STYLE = """
:root { color-scheme: light dark; --ink: #1d2026; --paper: #fff; --rule: #d5d8de; --soft: #f4f5f7; --good: #1d7a43;
  --bad: #b3261e; --even: #6a6f7a }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8ec; --paper: #15171b; --rule: #3a3e47; --soft: #1f2228;
  --good: #67c98e; --bad: #ff8a80; --even: #a4a9b4 } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 62rem; padding: 2rem 1.2rem 4rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif }
h1 { font-size: 1.6rem; margin: 0 0 .3rem } h2 { font-size: 1.2rem; margin: 2.4rem 0 .6rem }
.conditions, figcaption, caption { color: var(--even); font-size: .9rem; text-align: left; caption-side: bottom }
.verdict { background: var(--soft); border-radius: .5rem; padding: .9rem 1.1rem; margin: 1rem 0 }
.verdict p { margin: .45rem 0 } .word { font-weight: 700 } .ahead, .follows { color: var(--good) }
.behind, .failed { color: var(--bad) } .level, .unknown { color: var(--even) }
figure { margin: 1rem 0 } svg { width: 100%; height: auto; display: block } .half svg { max-width: 34rem }
.wide { overflow-x: auto } table { border-collapse: collapse; font-size: .88rem; margin: .6rem 0 }
th, td { padding: .28rem .7rem .28rem 0; border-bottom: 1px solid var(--rule); text-align: right; white-space: nowrap;
  font-variant-numeric: tabular-nums } th:first-child, td:first-child { text-align: left; white-space: normal }
caption { padding-top: .4rem; white-space: pre-line } details { margin: .6rem 0 } summary { cursor: pointer }
"""


def page(parity: Parity) -> str:
    """All of a report."""
    outcomes = parity.outcomes
    parts: list[str] = []
    early = " Ctrl-C ended it early; what was run is here." if parity.stopped else ""
    first = head(outcomes)
    parts.append(f"<h1>Learning algorithms on {_e(parity.module)}</h1>")
    parts.append(f'<div class="verdict"><p>{_e(parity.conditions)} {_e(first[:1].upper() + first[1:])}{early}</p>')
    for verdict in parity.verdicts:
        parts.append(
            f'<p><span class="word {verdict.word}">{_e(verdict.outcome.plan.name)}: {verdict.word}.</span> '
            f"{_e(verdict.text[:1].upper() + verdict.text[1:])}</p>"
        )
    parts.append("</div><h2>Losses</h2>")
    width = tables.window(parity.steps)
    parts.append(
        _figure(pictures.curves(outcomes), f"Mean over {width} batches. Optimizers with the best of their rates.")
    )
    parts.append(_table(tables.learners(outcomes), titled=False))
    if drawn := pictures.metrics(outcomes):
        parts.append("<h2>What the module logs</h2>" + _figure(drawn, f"Mean over {width} batches."))
    parts.append(
        "<h2>Costs</h2>"
        + _figure(
            pictures.costs(outcomes), "Times that a tenth of the steps stays below; without steps that were measured."
        )
    )
    parts.append(_table(tables.costs(outcomes), titled=False))
    for outcome in parity.algorithms:
        parts.append(f"<h2>{_e(outcome.plan.name)}</h2>")
        if drawn := pictures.layers(outcome):
            parts.append(
                _figure(drawn, "Cosine of each layer's committed change to the gradient step, 1 if it is that.")
            )
        if (table := tables.layers(outcome)) is not None:
            parts.append(_table(table))
        if outcome.news:
            parts.append(f"<ul>{''.join(f'<li>{_e(news)}</li>' for news in outcome.news)}</ul>")
        if outcome.mapping is not None:
            parts.append(f"<details open><summary>What is mapped how</summary>{_table(outcome.mapping)}</details>")
    parts.append("<h2>Learning rates</h2>")
    if any(outcome.plan.kind in ("SGD", "Adam") and outcome.complete for outcome in outcomes):
        parts.append(_figure(pictures.rates(outcomes), "Final losses.", "half"))
    for kind in ("SGD", "Adam"):
        parts.append(_table(tables.rates(outcomes, kind)))
    body = "\n".join(parts)
    title = f"{_e(parity.module)}: learning algorithms"
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{title}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{STYLE}</style></head>\n'
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def _table(table: Table, titled: bool = True) -> str:
    """What a terminal shows, as HTML."""
    columns = [[_plain(cell) for cell in column.cells] for column in table.columns]
    rows: Iterable[tuple[str, ...]] = zip(*columns, strict=True)
    heads = "".join(f"<th>{_e(_plain(column.header))}</th>" for column in table.columns)
    lines = "".join(f"<tr>{''.join(f'<td>{_e(cell)}</td>' for cell in row)}</tr>" for row in rows)
    caption = f"<caption>{_e(_plain(table.caption))}</caption>" if table.caption else ""
    title = f"<p><b>{_e(_plain(table.title))}</b></p>" if table.title and titled else ""
    return (
        f'{title}<div class="wide"><table>{caption}<thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table></div>'
    )


def _figure(svg: str, caption: str, kind: str = "") -> str:
    picture = f'<div role="img" aria-label="{_e(caption)}">{svg}</div>'
    return f'<figure class="{kind}">{picture}<figcaption>{_e(caption)}</figcaption></figure>'


def _plain(cell: object) -> str:
    return cell.plain if isinstance(cell, Text) else str(cell)


def _e(text: str) -> str:
    return html.escape(text)
