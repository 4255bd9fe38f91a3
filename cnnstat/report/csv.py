"""CSV: the rows of a table of layers with raw values, after RFC 4180."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from cnnstat.analysis.analysis import Analysis
from cnnstat.report.columns import COLUMNS
from cnnstat.report.page import Verbatim, show
from cnnstat.report.sheet import EVERYTHING, View, sheet

if TYPE_CHECKING:
    from rich.console import Console


def print_csv(analysis: Analysis, view: View, console: Console) -> None:
    """Print the rows under the keys of their columns; rows beyond `top` are left out, totals too."""
    show(Verbatim(text(analysis, view)), console)


def text(analysis: Analysis, view: View = EVERYTHING) -> str:
    """Return the same as text: counts as integers, shapes as `1x64x55x55`, shares between 0 and 1."""
    found = sheet(analysis, view)
    columns = found.columns(COLUMNS)
    rows = ((column.value(row) for column in columns) for row in found.rows)
    return csv_text([column.key for column in columns], rows)


def csv_text(head: Sequence[str], rows: Iterable[Iterable[Any]]) -> str:
    """Return head and rows as CSV text."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(head)
    writer.writerows([_raw(value) for value in row] for row in rows)
    return out.getvalue()


def _raw(value: Any) -> Any:
    """Return a value in one cell: sizes joined by x, several shapes by spaces, what is missing empty."""
    if isinstance(value, tuple):
        return (" " if value and isinstance(value[0], tuple) else "x").join(str(_raw(part)) for part in value)
    return "" if value is None else value
