"""Table: an analysis for people, layer by layer and in total, in a terminal of any width."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cnnstat.analysis.analysis import Analysis
from cnnstat.report.facts import facts_page, wrapped
from cnnstat.report.grid import grid
from cnnstat.report.layout import Layout
from cnnstat.report.page import BLANK, Page, plain, show
from cnnstat.report.row import sum_of
from cnnstat.report.sheet import EVERYTHING, View, has_common_batch, sheet
from cnnstat.report.summary import heading, input_text, summary
from cnnstat.report.words import plural

if TYPE_CHECKING:
    from rich.console import Console


def print_table(analysis: Analysis, view: View, console: Console) -> None:
    """Print the table of layers and the totals, fitted to the console's width."""
    show(table(analysis, view, console.width), console)


def text(analysis: Analysis, width: int, view: View = EVERYTHING) -> str:
    """Return the same as plain text of a given width."""
    return str(table(analysis, view, width)).rstrip("\n")


def table(analysis: Analysis, view: View, width: int) -> Page:
    """Return the page: head, one line for each layer, their sums, and the summary."""
    found = sheet(analysis, view)
    shown = found.without_batch() if has_common_batch(analysis) else found
    total = sum_of(shown.all_rows, "total", plural(analysis.totals.layers, "layer"))
    rows = (*shown.all_rows, total)
    layout = Layout(rows, width)
    columns = layout.best() if shown.chosen is None else layout.of(shown.chosen)
    texts = list(zip(*(column.texts for column in columns)))
    head = [*(plain(line, "bold") for line in wrapped(heading(analysis), width)), plain(input_text(analysis))]
    body = grid([column.track for column in columns], texts[:-1], width, texts[-1])
    return Page((*head, BLANK, *body.lines, BLANK, *facts_page(summary(analysis, found.rows), width).lines))
