"""HTML: the table of layers and the totals as a small page of its own, for notebooks and files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from cnnstat.analysis.analysis import Analysis
from cnnstat.report.columns import COLUMNS, MAIN
from cnnstat.report.facts import Fact
from cnnstat.report.page import Verbatim, show
from cnnstat.report.row import sum_of
from cnnstat.report.sheet import EVERYTHING, View, has_common_batch, sheet
from cnnstat.report.summary import heading, input_text, summary
from cnnstat.report.words import plural

if TYPE_CHECKING:
    from rich.console import Console

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


def print_html(analysis: Analysis, view: View, console: Console) -> None:
    """Print the page."""
    show(Verbatim(page(analysis, view) + "\n"), console)


def page(analysis: Analysis, view: View = EVERYTHING) -> str:
    """Return a fragment that notebooks and browsers show; it loads nothing and runs nothing."""
    found = sheet(analysis, view)
    shown = found.without_batch() if has_common_batch(analysis) else found
    columns = shown.columns([column for column in COLUMNS if column.importance <= MAIN])
    total = sum_of(shown.all_rows, "total", plural(analysis.totals.layers, "layer"))
    table = html_table(
        [column.title for column in columns],
        [column.align for column in columns],
        ([column.shown(row) for column in columns] for row in shown.all_rows),
        [column.shown(total) for column in columns],
    )
    head = f"<b>{text_of(heading(analysis))}</b><br>{text_of(input_text(analysis))}"
    return division(f"{head}{table}{facts_list(summary(analysis, found.rows))}")


def division(content: str) -> str:
    """Return content, already HTML, with the style sheet it needs."""
    return f'<meta charset="utf-8">{STYLE}<div class="cnnstat">{content}</div>'


def facts_list(facts: Iterable[Fact]) -> str:
    """Return labels with what is said under them."""
    said = "".join(f"<dt>{text_of(fact.label)}</dt><dd>{text_of(fact.text)}</dd>" for fact in facts)
    return f"<dl>{said}</dl>" if said else ""


def html_table(
    titles: Sequence[str], aligns: Sequence[str], rows: Iterable[Sequence[str]], totals: Sequence[str] = ()
) -> str:
    """Return a table of plain texts, which are escaped here."""
    body = "".join(f"<tr>{_cells(row, aligns)}</tr>" for row in rows)
    foot = f"<tfoot><tr>{_cells(totals, aligns)}</tr></tfoot>" if totals else ""
    return f"<table><thead><tr>{_cells(titles, aligns, 'th')}</tr></thead><tbody>{body}</tbody>{foot}</table>"


def _cells(texts: Sequence[str], aligns: Sequence[str], tag: str = "td") -> str:
    """Return the cells of one row."""
    return "".join(
        f"<{tag}{' class=right' if align == 'right' else ''}>{text_of(text)}</{tag}>"
        for text, align in zip(texts, aligns)
    )


def text_of(text: str) -> str:
    """Return text in which nothing is markup."""
    return escape(text.replace("\N{NO-BREAK SPACE}", " "))
