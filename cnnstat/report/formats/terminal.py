"""Terminal: a document as lines of styled text, fitted to a width."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cnnstat.report.document import Block, Document, Fact, Facts, Text
from cnnstat.report.table import Table
from cnnstat.report.terminal_text import BLANK, WIDEST, Line, Page, plain, width_of, wrapped
from cnnstat.report.text_table import footnotes, table_lines


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
