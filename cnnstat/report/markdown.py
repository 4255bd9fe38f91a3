"""Markdown: the table of layers and the totals for GitHub."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from cnnstat.analysis.analysis import Analysis
from cnnstat.report.columns import COLUMNS, MAIN, Column
from cnnstat.report.page import Verbatim, show
from cnnstat.report.row import Row, sum_of
from cnnstat.report.sheet import EVERYTHING, View, has_common_batch, sheet
from cnnstat.report.summary import heading, input_text, summary
from cnnstat.report.words import plural

if TYPE_CHECKING:
    from rich.console import Console

ESCAPED = str.maketrans({c: f"\\{c}" for c in "\\`*_[]<>|#~"} | {"&": "&amp;"})
"""Characters that mean something in Markdown, so that names stay what they are."""


def print_markdown(analysis: Analysis, view: View, console: Console) -> None:
    """Print the table and the totals."""
    show(Verbatim(text(analysis, view)), console)


def text(analysis: Analysis, view: View = EVERYTHING) -> str:
    """Return the same as text."""
    found = sheet(analysis, view)
    shown = found.without_batch() if has_common_batch(analysis) else found
    columns = shown.columns([column for column in COLUMNS if column.importance <= MAIN])
    rows = (*shown.all_rows, sum_of(shown.all_rows, "total", plural(analysis.totals.layers, "layer")))
    cells = ([_cell(column, column.shown(row)) for column in columns] for row in rows)
    head = f"### {escaped(heading(analysis))}\n\n{escaped(input_text(analysis))}\n\n"
    body = markdown_table([c.title for c in columns], [c.align for c in columns], cells)
    return f"{head}{body}\n{_facts(analysis, found.rows)}"


def markdown_table(titles: Iterable[str], aligns: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a GitHub table; cells must be escaped already."""
    rule = ["--:" if align == "right" else ":--" for align in aligns]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in ([escaped(t) for t in titles], rule, *rows))


def escaped(text: str) -> str:
    """Return text that Markdown shows as it is."""
    return text.replace("\N{NO-BREAK SPACE}", " ").translate(ESCAPED)


def code(text: str) -> str:
    """Return text as a code span that may stand in a table."""
    if not text:
        return ""
    fence = "`"
    while fence in text:
        fence += "`"
    space = " " if text[0] in "` " or text[-1] in "` " else ""
    # GitHub takes a pipe in a table for a new cell even inside a code span, unless it is escaped.
    return f"{fence}{space}{text}{space}{fence}".replace("|", "\\|")


def _cell(column: Column, text: str) -> str:
    """Return one cell; names and operations are code."""
    return code(text) if column.least and column.align == "left" else escaped(text)


def _facts(analysis: Analysis, rows: Sequence[Row]) -> str:
    """Return the summary as a list, facts without a label below the one that they continue."""
    lines = []
    for fact in summary(analysis, tuple(rows)):
        text = escaped(fact.text.strip("\N{NO-BREAK SPACE}"))
        lines.append(f"- **{fact.label}** {text}" if fact.label else f"  - {text}")
    return "\n".join(lines) + "\n"
