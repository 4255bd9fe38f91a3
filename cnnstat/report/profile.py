"""Profile: measured times layer by layer and the identity, as table, CSV, Markdown and HTML."""

from __future__ import annotations

from collections.abc import Sequence

from cnnstat.numbers import plural
from cnnstat.profile.result import Profile
from cnnstat.report.columns import Column
from cnnstat.report.document import Fact
from cnnstat.report.formats.csv import csv_text
from cnnstat.report.formats.html import division, html_table, text_of
from cnnstat.report.formats.markdown import code, escaped, markdown_table
from cnnstat.report.formats.terminal import facts_page
from cnnstat.report.grid import Track, grid
from cnnstat.report.layout import Layout
from cnnstat.report.terminal_text import BLANK, Page, plain, wrapped
from cnnstat.report.time_columns import IF_MEASURED, MAIN, STEPS, columns_of, time_columns
from cnnstat.report.time_row import TimeRow, time_sum
from cnnstat.report.time_sheet import EVERYTHING, TimeView, time_sheet
from cnnstat.report.time_summary import conditions_text, heading, parts, summary

PARTS = ("part", "time", "%", "what it is")
"""Titles of the identity."""


def text(profile: Profile, width: int, view: TimeView = EVERYTHING) -> str:
    """Return the table as plain text of a given width."""
    return str(table(profile, view, width)).rstrip("\n")


def table(profile: Profile, view: TimeView, width: int) -> Page:
    """Return the page: how it was measured, one line for each layer, their sum, the identity, and the facts."""
    rows = _rows(profile, view)
    chosen = _chosen(profile, view)
    layout = Layout(rows, width, _measured(profile, rows) if chosen is None else chosen, STEPS)
    columns = layout.best() if chosen is None else layout.of(chosen)
    texts = list(zip(*(column.texts for column in columns)))
    head = [
        *(plain(line, "bold") for line in wrapped(heading(profile), width)),
        *(plain(line) for line in wrapped(conditions_text(profile), width)),
    ]
    body = grid([column.track for column in columns], texts[:-1], width, texts[-1])
    facts = facts_page(summary(profile), width)
    return Page((*head, BLANK, *body.lines, BLANK, *time_breakdown(profile, width).lines, BLANK, *facts.lines))


def time_breakdown(profile: Profile, width: int) -> Page:
    """Return the identity as a sum: its parts, a rule, and the whole."""
    tracks = [Track(PARTS[0]), Track(PARTS[1], "right"), Track(PARTS[2], "right"), Track(PARTS[3], least=12)]
    lines = parts(profile)
    return grid(tracks, lines[:-1], width, lines[-1])


def csv(profile: Profile, view: TimeView = EVERYTHING) -> str:
    """Return the rows as CSV; those beyond `top` are left out, totals too."""
    columns = _chosen(profile, view) or time_columns(profile.environment.kind)
    rows = ((column.value(row) for column in columns) for row in time_sheet(profile, view).rows)
    return csv_text([column.key for column in columns], rows)


def markdown(profile: Profile, view: TimeView = EVERYTHING) -> str:
    """Return table, identity and facts as GitHub Markdown."""
    columns = _few(profile, view)
    rows = ([_cell(c, c.shown(row)) for c in columns] for row in _rows(profile, view))
    body = markdown_table([c.title for c in columns], [c.align for c in columns], rows)
    added = markdown_table(PARTS, ("left", "right", "right", "left"), (list(map(escaped, p)) for p in parts(profile)))
    head = f"### {escaped(heading(profile))}\n\n{escaped(conditions_text(profile))}\n\n"
    return f"{head}{body}\n{added}\n{markdown_facts(summary(profile))}"


def markdown_facts(facts: Sequence[Fact]) -> str:
    """Return facts as a list."""
    return "".join(f"- **{escaped(fact.label)}** {escaped(fact.text)}\n" for fact in facts)


def html(profile: Profile, view: TimeView = EVERYTHING) -> str:
    """Return table, identity and facts as HTML for notebooks."""
    columns = _few(profile, view)
    *rows, total = ([column.shown(row) for column in columns] for row in _rows(profile, view))
    body = html_table([c.title for c in columns], [c.align for c in columns], rows, total)
    *lines, whole = parts(profile)
    added = html_table(PARTS, ("left", "right", "right", "left"), lines, whole)
    facts = "".join(f"<dt>{text_of(fact.label)}</dt><dd>{text_of(fact.text)}</dd>" for fact in summary(profile))
    head = f"<b>{text_of(heading(profile))}</b><br>{text_of(conditions_text(profile))}"
    return division(f"{head}{body}{added}<dl>{facts}</dl>")


def _rows(profile: Profile, view: TimeView) -> tuple[TimeRow, ...]:
    """Return the rows to show and their sum."""
    rows = time_sheet(profile, view).all_rows
    return (*rows, time_sum(rows, "sum")._replace(kind=plural(len(profile.layers), "layer")))


def _chosen(profile: Profile, view: TimeView) -> tuple[Column, ...] | None:
    """Return the columns that the user asked for, or None."""
    return None if view.columns is None else columns_of(view.columns, profile.environment.kind)


def _measured(profile: Profile, rows: Sequence[TimeRow]) -> Sequence[Column]:
    """Return the columns less the important ones that were not asked for when measuring, such as a backward pass."""
    columns = time_columns(profile.environment.kind)
    return [c for c in columns if c.importance != IF_MEASURED or any(map(c.informs, rows))]


def _few(profile: Profile, view: TimeView) -> Sequence[Column]:
    """Return the columns asked for, or the main ones and the kernels where there are any."""
    rows = time_sheet(profile, view).rows
    columns = _measured(profile, rows)
    main = [c for c in columns if c.importance <= MAIN or (c.importance <= MAIN + 2 and any(map(c.informs, rows)))]
    return _chosen(profile, view) or main


def _cell(column: Column, shown: str) -> str:
    """Return one cell of Markdown; names are code."""
    return code(shown) if column.least and column.align == "left" else escaped(shown)
