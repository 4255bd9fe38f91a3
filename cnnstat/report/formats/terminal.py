"""Terminal: a document as lines of styled text, fitted to a width; which columns of a table fit, and in which form."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

from cnnstat.report.document import Block, Document, Fact, Facts, Text
from cnnstat.report.table import ALWAYS, MAIN, ON_REQUEST, Column, Table
from cnnstat.report.terminal_text import (
    BLANK,
    WIDEST,
    Line,
    Page,
    Span,
    cut_end,
    padded,
    plain,
    widest,
    width_of,
    wrapped,
)

GAP = 2
"""Spaces between two columns."""

LONGEST_TITLE = 24
"""Columns of the head of a column that is not cut otherwise, such as a network's name over its figures."""

NOTHING = ("0", "0 B", "–")
"""Cells that say nothing; they are dim."""


def page(document: Document, width: int, *, has_charts: bool = True, most_rows: int | None = None) -> Page:
    """Return the heading and the blocks with blank lines between them, and last the footnotes.

    most_rows: rows from which the middle of a table is left out.
    """
    lines: list[Line] = [plain(line, "bold") for line in wrapped(document.title, width) if line]
    lines += [plain(line) for line in wrapped(document.subtitle, width) if line]
    notes: list[Fact] = []
    for block in document.blocks():
        if not (has_charts or isinstance(block, Table | Facts | Text)):
            continue
        part = _lines(block, width)
        if most_rows and isinstance(block, Table) and len(block.rows) > most_rows:
            part = _shortened(part, len(block.rows), most_rows)
        is_attached = block.layout.indent if isinstance(block, Table) else getattr(block, "is_attached", False)
        lines += [*([BLANK] if lines and part and not is_attached else []), *part]
        notes += _footnotes(block)
    if notes:
        lines += [BLANK, *facts_page(notes, width).lines]
    return Page(lines)


def text(document: Document, width: int, most_rows: int | None = None) -> str:
    """Return the same as plain text, without charts."""
    return str(page(document, width, has_charts=False, most_rows=most_rows)).rstrip("\n")


def facts_page(facts: Iterable[Fact], width: int) -> Page:
    """Return the facts below each other: labels in one column, texts wrapped beside them."""
    facts = tuple(facts)
    indent = max((width_of(fact.label) for fact in facts), default=0) + 2
    lines: list[Line] = []
    for fact in facts:
        label = fact.label
        for line in wrapped(fact.text, max(20, min(width, WIDEST) - indent)):
            lines.append(((label + " " * (indent - width_of(label)), "bold"), (line, fact.style)))
            label = ""
    return Page(lines)


def _shortened(lines: Sequence[Line], rows: int, most: int) -> list[Line]:
    """Return the lines of a table without those in the middle, and a hint how to see them."""
    # Lines are cut after the table is set, so that widths are those of the whole table.
    hidden = rows - most
    start = (len(lines) - hidden) // 2
    hint = plain(f"… {hidden:,} more rows: print() shows them all, to_pandas() and to_dict() return them", "dim")
    return [*lines[:start], hint, *lines[start + hidden :]]


def _lines(block: Block, width: int) -> Sequence[Line]:
    if isinstance(block, Table):
        title = [plain(line, "bold") for line in wrapped(block.title, width)] if block.title else []
        # What draws itself has its lines indented below the title already.
        title += [BLANK] if title and block.layout.draw is None else []
        margin = " " * block.layout.indent
        rows = table_lines(block, width - len(margin))
        return [*title, *([((margin, ""), *line) for line in rows] if margin else rows)]
    if isinstance(block, Facts):
        return facts_page(block.facts, width).lines
    if isinstance(block, Text):
        return [plain(line, block.style) for line in wrapped(block.text, width)]
    return block.lines(width)


def _footnotes(block: Block) -> list[Fact]:
    if not isinstance(block, Table):
        return []
    notes = (footnotes(column, block.rows) for column in block.columns if column.is_footnote)
    return [Fact(f"[{number}]", text) for texts in notes for number, text in enumerate(texts, start=1)]


# Tables ---------------------------------------------------------------------------------------------------------------


class Candidate:
    """One column with the texts of all rows; what is never shown is never written.

    floor: width that its texts may be cut to, which grows as width is spent on it; None for texts that stay whole.
    """

    def __init__(self, column: Column, rows: Sequence[Any]) -> None:
        self.column = column
        self.rows = rows
        self.is_brief = column.brief is not None
        self.floor = column.least
        self.align = "right" if column.is_footnote else column.align
        title = column.title if column.terminal_title is None else column.terminal_title
        self.title = title if column.least is not None else cut_end(title, LONGEST_TITLE)

    @cached_property
    def full(self) -> tuple[str, ...]:
        """The texts in full."""
        if self.column.is_footnote:
            texts = self.column.cells(self.rows)
            labels = {text: f"[{number}]" for number, text in enumerate(footnotes(self.column, self.rows), start=1)}
            return tuple(labels.get(text, "") for text in texts)
        return self.column.cells(self.rows)

    @cached_property
    def brief(self) -> tuple[str, ...]:
        """The texts with suffixes."""
        return self.full if self.column.brief is None else self.column.brief_cells(self.rows)

    @cached_property
    def _full_width(self) -> int:
        return widest((self.title, *self.full))

    @cached_property
    def _brief_width(self) -> int:
        return widest((self.title, *self.brief))

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts in the form chosen."""
        return self.brief if self.is_brief else self.full

    @property
    def natural(self) -> int:
        """Width of the widest text."""
        return self._brief_width if self.is_brief else self._full_width

    @property
    def width(self) -> int:
        """The width wanted: that of the texts, or the floor that they may be cut to."""
        return self.natural if self.floor is None else min(self.natural, self.floor)


def footnotes(column: Column, rows: Sequence[Any]) -> list[str]:
    """Return the texts of a column that a terminal numbers from 1, each once, in the order in which they come."""
    return [text for text in dict.fromkeys(column.cells(rows)) if text]


def table_lines(table: Table, width: int) -> list[Line]:
    """Return a table fitted to a width; what is left of it where nothing more can be cut runs over."""
    if table.layout.draw is not None:
        return list(table.layout.draw(width))
    rows = table.rows_with_sums
    candidates = [Candidate(column, rows) for column in table.columns]
    has_total = table.total is not None
    if not table.layout.steps:
        columns = _worthwhile(candidates, table.all_rows, width)
        if any(c.column.panel for c in columns):
            return _panels(columns, width, has_total)
        return _grid(columns, [c.column.least for c in columns], width, has_total)
    columns = _all(candidates, width) if table.is_chosen else _best(candidates, table.layout.steps, width)
    floors = [None if c.column.least is None else c.width for c in columns]
    hint: list[Line] = [((line, "dim"),) for line in wrapped(table.hint, width) if line]
    return [*_grid(columns, floors, width, has_total), *_legends(columns), *hint]


def _legends(columns: Sequence[Candidate]) -> Iterator[Line]:
    for candidate in columns:
        legend = candidate.column.legend
        if candidate.is_brief and legend is not None and (text := legend(candidate.texts)):
            yield ((text, "dim"),)


def span_of(widths: Sequence[int]) -> int:
    """Return the width of a table whose columns have these widths."""
    return sum(widths) + GAP * (len(widths) - 1)


# Which columns --------------------------------------------------------------------------------------------------------


def _worthwhile(candidates: Sequence[Candidate], rows: Sequence[Any], width: int) -> list[Candidate]:
    """Return the columns that say something, without the least important ones if they do not fit."""
    columns = [c for c in candidates if any(c.full[: len(rows)]) or not rows]
    if any(c.column.panel for c in columns):
        return columns
    while span_of([c.width if c.floor is None else c.floor for c in columns]) > width:
        least_important = max(columns, key=lambda c: c.column.importance)
        if least_important.column.importance <= ALWAYS:
            break
        columns.remove(least_important)
    return columns


def _all(columns: list[Candidate], width: int) -> list[Candidate]:
    """Return exactly these columns, numbers in full if they fit."""
    for candidate in sorted(columns, key=lambda c: c.column.importance):
        if candidate.column.brief is not None:
            _write_in_full(columns, candidate, width)
    for candidate in columns:
        _widen(columns, candidate, width, width)
    return columns


def _best(
    candidates: Sequence[Candidate], steps: Sequence[tuple[str, int | None]], width: int
) -> list[Candidate]:  # fmt: skip
    """Return the main columns, and in a wide terminal exact numbers and further columns.

    It starts from the narrowest table and spends the width on what matters most.
    """
    columns = [c for c in candidates if c.column.importance <= MAIN]
    # Greedy: what matters most gets its width first, and the rest takes what is left.
    while span_of([c.width for c in columns]) > width and len(columns) > ALWAYS:
        columns.remove(max(columns, key=lambda c: c.column.importance))
    by_key = {c.column.key: c for c in columns}
    for key, floor in steps:
        if key not in by_key:
            continue
        if floor is None:
            _write_in_full(columns, by_key[key], width)
        else:
            _widen(columns, by_key[key], floor, width)
    _add_columns(columns, candidates, width)
    for candidate in columns:
        _widen(columns, candidate, width, width)
    return sorted(columns, key=candidates.index)


def _write_in_full(columns: Sequence[Candidate], candidate: Candidate, width: int) -> None:
    """Write a column in full and uncut if the table still fits."""
    before = candidate.is_brief, candidate.floor
    candidate.is_brief, candidate.floor = False, None
    if span_of([c.width for c in columns]) > width:
        candidate.is_brief, candidate.floor = before


def _widen(columns: Sequence[Candidate], candidate: Candidate, floor: int, width: int) -> None:
    """Give a column that may be cut as much of `floor` as is left over."""
    if candidate.floor is not None:
        spare = width - span_of([c.width for c in columns])
        candidate.floor = max(candidate.floor, min(floor, candidate.width + max(0, spare)))


def _add_columns(columns: list[Candidate], candidates: Sequence[Candidate], width: int) -> None:
    """Add the columns that inform, most important first, as long as they fit in full."""
    others = (c for c in candidates if MAIN < c.column.importance < ON_REQUEST)
    for candidate in sorted(others, key=lambda c: c.column.importance):
        informs = candidate.column.informs or candidate.column.value
        if not any(map(informs, candidate.rows)):
            continue
        # A further column is shown in full or not at all: cut it would cost the main ones their width.
        candidate.is_brief, candidate.floor = False, None
        if span_of([c.width for c in [*columns, candidate]]) <= width:
            columns.append(candidate)


# The grid -------------------------------------------------------------------------------------------------------------


def _panels(columns: Sequence[Candidate], width: int, has_total: bool) -> list[Line]:
    """Return the columns of panel 0 beside as many others as fit, and again beside the rest below."""
    fixed = [c for c in columns if not c.column.panel]
    lines: list[Line] = []
    for group in _panel_groups(columns, width - span_of([min(c.natural, _head_width(c)) for c in fixed])):
        panel = [*fixed, *group]
        lines += [*([()] if lines else []), *_grid(panel, [c.column.least for c in panel], width, has_total)]
    return lines


def _head_width(candidate: Candidate) -> int:
    return widest((cut_end(candidate.title, LONGEST_TITLE), *candidate.texts))


def _panel_groups(columns: Sequence[Candidate], room: int) -> Iterator[list[Candidate]]:
    """Yield the panels in groups that fit into `room`; once without any if there are none."""
    group: list[Candidate] = []
    used = 0
    for number in dict.fromkeys(c.column.panel for c in columns if c.column.panel):
        panel = [c for c in columns if c.column.panel == number]
        needed = sum(GAP + c.natural for c in panel)
        if group and used + needed > room:
            yield group
            group, used = [], 0
        group += panel
        used += needed
    yield group


def _grid(columns: Sequence[Candidate], floors: Sequence[int | None], width: int, has_total: bool) -> list[Line]:
    """Return head, rule and rows, and under a second rule the total.

    floors: the least width of each column that may be cut; they are, widest first, until the table fits.
    """
    widths = _fitted([c.natural for c in columns], floors, width)
    rule: Line = (("─" * span_of(widths), "dim"),)
    rows = list(zip(*(c.texts for c in columns)))
    body, total = (rows[:-1], rows[-1:]) if has_total else (rows, [])
    lines = [_row([c.title for c in columns], columns, floors, widths, "bold"), rule]
    lines += [_row(row, columns, floors, widths) for row in body]
    for row in total:
        lines += [rule, _row(row, columns, floors, widths, "bold")]
    return lines


def _fitted(natural: Sequence[int], floors: Sequence[int | None], width: int) -> list[int]:
    """Return the widths after cutting the widest of the columns that may be cut, one step at a time."""
    # No column gets more than the whole width, so that a name of a million characters is not cut step by step.
    widths = [n if floor is None else max(floor, min(n, width)) for n, floor in zip(natural, floors)]
    for _ in range(span_of(widths) - width):
        able = [i for i, floor in enumerate(floors) if floor is not None and widths[i] > floor]
        if not able:
            break
        # One step off the widest each time, so that the columns end up about equally wide.
        widths[max(able, key=lambda i: widths[i])] -= 1
    return widths


def _row(
    texts: Sequence[str], columns: Sequence[Candidate], floors: Sequence[int | None], widths: Sequence[int],
    style: str = "",
) -> Line:  # fmt: skip
    """Return one line; cells that say nothing are dim."""
    spans: list[Span] = []
    for index, (text, candidate, floor, width) in enumerate(zip(texts, columns, floors, widths)):
        column = candidate.column
        if index:
            spans.append((" " * GAP, ""))
        cell = padded(text if floor is None else column.cut(text, width), width, candidate.align)
        own = style or ("dim" if text in NOTHING else column.style)
        spans.append((cell, column.styles.get(text, own) if column.styles else own))
    return tuple(spans)
