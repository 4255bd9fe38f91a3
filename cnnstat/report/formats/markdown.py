"""Markdown: a document for GitHub."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from cnnstat.report.document import Document, Fact, Facts, Text
from cnnstat.report.table import Column, Table
from cnnstat.report.terminal_text import printable

ESCAPED = str.maketrans({c: f"\\{c}" for c in "\\`*_[]<>|#~"} | {"&": "&amp;"})
"""Characters that mean something in Markdown, so that names stay what they are."""
NOTHING = r"\g<0>&#8203;"
"""What breaks a link or a mention apart: a space without width."""
LIVE = re.compile(r"@(?=[\w\\])|#(?=\d)|:(?=//)|(?<=www)\.|(?<=mailto):|(?<=xmpp):|^\s*:(?=:)|^\s*[-+=](?=\s|[-+=]|$)")
"""Where GitHub finds people, issues and links by itself, and what may begin a command, a list or a heading."""


def render(document: Document) -> str:
    """Return heading, tables, lists of facts and paragraphs; charts are left out."""
    parts = [f"### {escaped(document.title)}\n"] if document.title else []
    parts += [f"{escaped(document.subtitle)}\n"] if document.subtitle else []
    for block in document.blocks():
        if isinstance(block, Table):
            parts += [f"#### {escaped(block.title)}\n"] if block.title else []
            parts.append(table_text(block))
        elif isinstance(block, Facts):
            parts.append(facts_list(block.facts))
        elif isinstance(block, Text):
            parts.append(f"{escaped(block.text)}\n")
    return "\n".join(part for part in parts if part)


def table_text(table: Table) -> str:
    """Return a GitHub table with the rows, the rest and the total."""
    columns = table.page_columns
    rows = table.rows_with_sums
    cells = ([_cell(column, column.cell(row)) for column in columns] for row in rows)
    return markdown_table([column.title for column in columns], [column.align for column in columns], cells)


def facts_list(facts: Iterable[Fact]) -> str:
    """Return a list, facts without a label below the one that they continue."""
    lines = []
    for fact in facts:
        text = escaped(fact.text.strip("\N{NO-BREAK SPACE}"))
        lines.append(f"- **{escaped(fact.label)}** {text}\n" if fact.label else f"  - {text}\n")
    return "".join(lines)


def markdown_table(titles: Iterable[str], aligns: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a GitHub table; cells must be escaped already."""
    rule = ["--:" if align == "right" else ":--" for align in aligns]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in ([escaped(t) for t in titles], rule, *rows))


def escaped(text: str) -> str:
    """Return text that Markdown shows as it is."""
    return LIVE.sub(NOTHING, printable(text.replace("\N{NO-BREAK SPACE}", " ")).translate(ESCAPED))


def code(text: str) -> str:
    """Return text as a code span that may stand in a table."""
    if not text:
        return ""
    # A code span is closed by as many backticks as opened it (CommonMark 6.1).
    fence = "`"
    while fence in text:
        fence += "`"
    space = " " if text[0] in "` " or text[-1] in "` " else ""
    # GitHub takes a pipe in a table for a new cell even inside a code span, unless it is escaped.
    return f"{fence}{space}{text}{space}{fence}".replace("|", "\\|")


def _cell(column: Column, text: str) -> str:
    return code(text) if column.is_code else escaped(text)
