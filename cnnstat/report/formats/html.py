"""HTML: a document as a small page of its own, for notebooks and files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from cnnstat.report.document import Document, Fact, Facts, Text
from cnnstat.report.table import Table
from cnnstat.report.terminal_text import printable

STYLE = (
    "<style>"
    ".cnnstat{font:13px/1.5 system-ui,sans-serif}"
    ".cnnstat table{border-collapse:collapse;font-variant-numeric:tabular-nums}"
    ".cnnstat th,.cnnstat td{padding:1px 9px;text-align:left;border:0;white-space:nowrap}"
    ".cnnstat .right{text-align:right}"
    ".cnnstat thead th,.cnnstat tfoot td{border-bottom:1px solid #8888;border-top:1px solid #8888;font-weight:600}"
    ".cnnstat dl{display:grid;grid-template-columns:max-content auto;gap:0 1em;margin:.8em 0}"
    ".cnnstat dt{font-weight:600}.cnnstat dd{margin:0}"
    "</style>"
)


def render(document: Document) -> str:
    """Return the page as text of a file."""
    return f"{fragment(document)}\n"


def fragment(document: Document) -> str:
    """Return a fragment that notebooks and browsers show; it loads nothing and runs nothing."""
    parts = [f"<b>{text_of(document.title)}</b>"] if document.title else []
    parts += [f"<br>{text_of(document.subtitle)}"] if document.subtitle else []
    for block in document.blocks():
        if isinstance(block, Table):
            parts += [f"<h4>{text_of(block.title)}</h4>"] if block.title else []
            parts.append(_table(block))
        elif isinstance(block, Facts):
            parts.append(facts_list(block.facts))
        elif isinstance(block, Text):
            parts.append(f"<p>{text_of(block.text)}</p>")
    # Scoped by a class: a notebook's own tables keep their style.
    return division("".join(parts))


def division(content: str) -> str:
    """Return content, already HTML, with the style sheet it needs."""
    return f'<meta charset="utf-8">{STYLE}<div class="cnnstat">{content}</div>'


def facts_list(facts: Iterable[Fact]) -> str:
    """Return labels with what is said under them."""
    items = "".join(f"<dt>{text_of(fact.label)}</dt><dd>{text_of(fact.text)}</dd>" for fact in facts)
    return f"<dl>{items}</dl>" if items else ""


def html_table(
    titles: Sequence[str], aligns: Sequence[str], rows: Iterable[Sequence[str]], totals: Sequence[str] = ()
) -> str:
    """Return a table of plain texts, which are escaped here."""
    body = "".join(f"<tr>{_cells(row, aligns)}</tr>" for row in rows)
    foot = f"<tfoot><tr>{_cells(totals, aligns)}</tr></tfoot>" if totals else ""
    return f"<table><thead><tr>{_cells(titles, aligns, 'th')}</tr></thead><tbody>{body}</tbody>{foot}</table>"


def text_of(text: str) -> str:
    """Return text in which nothing is markup."""
    return escape(printable(text.replace("\N{NO-BREAK SPACE}", " ")))


def _table(table: Table) -> str:
    columns = table.page_columns
    rows = ([column.cell(row) for column in columns] for row in table.all_rows)
    totals = [] if table.total is None else [column.cell(table.total) for column in columns]
    return html_table([column.title for column in columns], [column.align for column in columns], rows, totals)


def _cells(texts: Sequence[str], aligns: Sequence[str], tag: str = "td") -> str:
    return "".join(
        f"<{tag}{' class=right' if align == 'right' else ''}>{text_of(text)}</{tag}>"
        for text, align in zip(texts, aligns)
    )
