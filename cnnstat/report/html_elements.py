"""HTML elements: tables, lists of facts and key figures in which every text is escaped, for pages and notebooks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from html import escape
from typing import Any

from cnnstat.report.document import Fact, KeyFigure
from cnnstat.report.table import Column, Table
from cnnstat.report.terminal_text import printable

TONES = {"red": "bad", "yellow": "warn", "magenta": "warn", "green": "good", "dim": "dim"}
"""The class that says the same as the colour of a terminal's style."""


def text_of(text: str) -> str:
    """Return text in which nothing is markup."""
    return escape(printable(text.replace("\N{NO-BREAK SPACE}", " ")))


def tone_of(style: str) -> str:
    """Return the class of a terminal's style, nothing for one without a colour."""
    return next((tone for colour, tone in TONES.items() if colour in style), "")


def attributes(**values: str) -> str:
    """Return attributes that are not empty, a space before each; `class_` stands for `class`."""
    return "".join(f' {name.strip("_").replace("_", "-")}="{escape(value)}"' for name, value in values.items() if value)


def facts_list(facts: Iterable[Fact]) -> str:
    """Return labels with what is said under them; a fact without a label continues the one above."""
    items = [
        f"{f'<dt>{text_of(fact.label)}</dt>' if fact.label or not number else ''}"
        f"<dd{attributes(class_=tone_of(fact.style))}>{text_of(fact.text)}</dd>"
        for number, fact in enumerate(facts)
    ]
    return f"<dl>{''.join(items)}</dl>" if items else ""


def key_figures_list(figures: Iterable[KeyFigure]) -> str:
    """Return figures that are read at a glance, with a remark below each."""
    items = "".join(
        f"<div{attributes(class_=tone_of(figure.style))}><dt>{text_of(figure.label)}</dt>"
        f"<dd>{text_of(figure.value)}{f' <small>{text_of(figure.remark)}</small>' if figure.remark else ''}</dd></div>"
        for figure in figures
    )
    return f'<dl class="figures">{items}</dl>' if items else ""


def table_element(table: Table, caption: str) -> str:
    """Return a table whose rows can be sorted and folded; `caption` says what it lists.

    Cells carry the value to sort by where their text is another, and the share that a bar shows.
    """
    columns = [_with_longest_bar(column, table) for column in table.page_columns]
    is_sortable = any(_is_number(column.value(row)) for column in columns for row in table.rows[:1])
    head = "".join(map(_head_cell, columns))
    foot = "" if table.total is None else f"<tfoot>{_rows(columns, (table.total,))}</tfoot>"
    return (
        f"<table{attributes(class_='sortable' if is_sortable else '')}><caption>{text_of(caption)}</caption>"
        f"<thead><tr>{head}</tr></thead>{_bodies(table, columns)}{foot}</table>"
    )


def _with_longest_bar(column: Column, table: Table) -> Column:
    """Return a column whose bars are as long as its cells where the share is largest, so that small ones are seen."""
    share = column.share
    if share is None:
        return column
    longest = max((share(row) or 0 for row in (*table.rows, *table.blocks())), default=0)
    return column._replace(share=lambda row: None if row is table.total else (share(row) or 0) / (longest or 1))


def _bodies(table: Table, columns: Sequence[Column]) -> str:
    """Return the rows; those of a block together, below a row with its sums."""
    blocks = table.blocks()
    if not blocks:
        return f"<tbody>{_rows(columns, table.all_rows)}</tbody>"
    parts, start, loose = [], 0, 0
    for block in blocks:
        end = start + len(block.items)
        if len(block.items) > 1:
            parts += [f"<tbody>{_rows(columns, table.rows[loose:start])}</tbody>"] * (loose < start)
            inside = _rows(columns, table.rows[start:end])
            parts.append(f'<tbody class="block">{_rows(columns, (block,), "block")}{inside}</tbody>')
            loose = end
        start = end
    parts += [f"<tbody>{_rows(columns, table.rows[loose:])}</tbody>"] * (loose < start)
    return "\n".join(parts)


def _rows(columns: Sequence[Column], rows: Sequence[Any], kind: str = "") -> str:
    texts = zip(*(column.cells(rows) for column in columns))
    return "\n".join(
        f"<tr{attributes(class_=kind)}>"
        + "".join(_cell(column, row, text, not i) for i, (column, text) in enumerate(zip(columns, cells)))
        + "</tr>"
        for row, cells in zip(rows, texts)
    )


def _head_cell(column: Column) -> str:
    side = attributes(class_="r" if column.align == "right" else "", title=printable(column.doc))
    title = text_of(column.title) or f'<span class="unseen">{text_of(column.key)}</span>'
    return f'<th scope="col"{side}>{title}</th>'


def _cell(column: Column, row: Any, text: str, is_first: bool) -> str:
    name = '<th scope="row"' if is_first and text else "<td"
    share = None if column.share is None else column.share(row)
    classes = (
        "r" if column.align == "right" else "",
        "code" if column.is_code else "",
        "bar" if share else "",
        tone_of(column.styles.get(text, "")),
    )
    attributes_text = attributes(
        class_=" ".join(filter(None, classes)),
        data_v=_sort_value(column, row, text),
        style=f"--share:{100 * share:.3g}%" if share else "",
    )
    return f"{name}{attributes_text}>{escape(text)}</{name[1:3]}>"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, Fraction, tuple)) and not isinstance(value, bool)


def _sort_value(column: Column, row: Any, text: str) -> str:
    """Return the number that a cell is sorted by, empty where its text says it already; sizes by their product."""
    if column.align != "right":
        return ""
    value = column.value(row)
    if isinstance(value, str):
        return "inf" if value and column.text is not None else ""
    if isinstance(value, tuple):
        flat = [each for size in value for each in (size if isinstance(size, tuple) else (size,))]
        return f"{float(math.prod(flat)):.9g}" if flat and all(map(_is_number, flat)) else ""
    if not _is_number(value) or text.replace(",", "") == str(value):
        return ""
    return f"{float(value):.9g}"
