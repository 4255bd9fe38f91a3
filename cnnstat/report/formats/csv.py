"""CSV: the rows of a document's table with raw values, after RFC 4180."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

from cnnstat.errors import inert_line
from cnnstat.report.document import Document
from cnnstat.report.terminal_text import printable

FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")
"""Beginnings of texts that a spreadsheet takes for a formula (OWASP, CSV injection)."""


def render(document: Document) -> str:
    """Return the rows under the keys of all columns; a rest and a total are left out."""
    table = document.main_table
    rows = ((column.value(row) for column in table.columns) for row in table.rows)
    return csv_text([column.key for column in table.columns], rows)


def csv_text(head: Sequence[str], rows: Iterable[Iterable[Any]]) -> str:
    """Return head and rows as CSV text: counts as integers, shapes as `1x64x55x55`, shares between 0 and 1."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(head)
    writer.writerows([_raw(value) for value in row] for row in rows)
    return out.getvalue()


def _raw(value: Any) -> Any:
    """Return a value in one cell: sizes joined by x, several shapes by spaces, what is missing empty."""
    if isinstance(value, tuple):
        return (" " if value and isinstance(value[0], tuple) else "x").join(str(_raw(part)) for part in value)
    if isinstance(value, str):
        text = "\n".join(inert_line(printable(line)) for line in value.split("\n"))
        return f"'{text}" if text.lstrip().startswith(FORMULA) else text
    return "" if value is None else value
