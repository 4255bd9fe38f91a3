"""Arithmetic: formulas set out line by line, symbols first, then numbers, then the value."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

from cnnstat.ir.declaration import Formula
from cnnstat.report.table import Column, Layout, Table
from cnnstat.report.terminal_text import WIDEST, Line, Span, padded, plain, width_of, wrapped

INDENT = 2
"""Spaces before every line."""


def arithmetic_lines(formulas: Sequence[Formula], width: int, label_width: int = 0) -> list[Line]:
    """Return one line a formula, its three parts in columns; below each other where that is too wide.

    label_width: least width of the column of quantities, to align several pages.
    """
    label = max([label_width, *(width_of(f.quantity) for f in formulas)])
    symbols = max((width_of(f.symbols) for f in formulas), default=0)
    numbers = max((width_of(_numbers(f)) for f in formulas), default=0)
    values = max((width_of(value_text(f.value)) for f in formulas), default=0)
    # Columns are aligned over all formulas of a page, or over none: half of each reads worse than either.
    fits = INDENT + label + 2 + symbols + 3 + (numbers and numbers + 3) + values <= width
    lines: list[Line] = []
    for formula in formulas:
        head: Span = (" " * INDENT + padded(formula.quantity, label + 2, "left"), "")
        if fits:
            lines.append((head, *_side_by_side(formula, symbols, numbers)))
        else:
            lines += _unaligned(formula, head, width)
        rest = " " * (INDENT + label + 2)
        room = max(20, min(width, WIDEST) - len(rest))
        lines += [((rest + text, "italic"),) for text in wrapped(formula.note, room) if formula.note]
    return lines


def value_text(value: Any) -> str:
    """Return a value: integers with thousands separators, and a real minus sign."""
    return f"{value:,}".replace("-", "−") if isinstance(value, int) else str(value)


def _numbers(formula: Formula) -> str:
    """Return the formula with numbers put in, unless the value already says it."""
    return "" if formula.numbers in (str(formula.value), value_text(formula.value)) else formula.numbers


def _side_by_side(formula: Formula, symbols: int, numbers: int) -> tuple[Span, ...]:
    middle = _numbers(formula)
    return (
        (padded(formula.symbols, symbols, "left"), "dim"),
        (f" {'=' if middle else ' '} {padded(middle, numbers, 'left')}" if numbers else "", ""),
        (f" = {value_text(formula.value)}", "bold"),
    )


def _unaligned(formula: Formula, head: Span, width: int) -> list[Line]:
    middle = _numbers(formula)
    parts: list[Span] = [(formula.symbols, "dim"), *([(f"= {middle}", "")] if middle else [])]
    parts.append((f"= {value_text(formula.value)}", "bold"))
    indent = width_of(head[0])
    if indent + sum(width_of(text) + 1 for text, _ in parts) - 1 <= width:
        return [(head, *(span for text, style in parts for span in ((text, style), (" ", ""))))]
    return [(head, parts[0]), *(((" " * indent, ""), part) for part in parts[1:])]


def formula_table(title: str, formulas: Sequence[Formula], label_width: int = 0) -> Table:
    """Return formulas under a title as a table, which a terminal sets as arithmetic."""
    columns = (
        Column("quantity", title, attrgetter("quantity")),
        Column("symbols", "formula", attrgetter("symbols"), is_code=True),
        Column("numbers", "numbers", attrgetter("numbers"), is_code=True),
        Column("value", "value", attrgetter("value"), lambda formula: value_text(formula.value), "right"),
        Column("note", "", attrgetter("note")),
    )

    def draw(width: int) -> list[Line]:
        heading = [plain(title, "bold")] if title else []
        return [*heading, *arithmetic_lines(formulas, width, label_width)]

    return Table(columns, formulas, layout=Layout(draw=draw))
