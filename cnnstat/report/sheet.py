"""Sheet: the rows of a table of layers, folded, sorted and cut as the user wants to view them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

from cnnstat.errors import CnnstatError
from cnnstat.passes.analysis import Analysis
from cnnstat.report.columns import COLUMNS, Column, column
from cnnstat.report.row import Row, fold_blocks, layer_rows, sum_of


@dataclass(frozen=True, kw_only=True)
class View:
    """What a user wants to see; the totals are those of the whole network whatever it says.

    depth: components of layer names that are kept; layers inside the same block become one row.
    columns: keys of the columns to show; None leaves the choice to the format.
    sort: key of the column to sort by, numbers descending, text ascending; None keeps execution order.
    top: number of rows to show; the rest is summed up in one.
    Raises CnnstatError if a key is unknown or a number less than 1.
    """

    depth: int | None = None
    columns: tuple[str, ...] | None = None
    sort: str | None = None
    top: int | None = None

    def __post_init__(self) -> None:
        """Check keys and numbers."""
        for name, number in (("depth", self.depth), ("top", self.top)):
            if number is not None and number < 1:
                raise CnnstatError(f"{name}={number} must be at least 1")
        if self.columns is not None and not self.columns:
            raise CnnstatError(f"columns is empty; choose from {', '.join(c.key for c in COLUMNS)}")
        for key in (*(self.columns or ()), *((self.sort,) if self.sort else ())):
            column(key)


EVERYTHING = View()
"""Every layer in execution order."""


class Sheet(NamedTuple):
    """Rows and, if the user chose them, columns.

    rows: what to show, in this order.
    rest: one row that sums up what `top` leaves out, or None.
    chosen: the columns asked for, or None.
    """

    rows: tuple[Row, ...]
    rest: Row | None
    chosen: tuple[Column, ...] | None

    @property
    def all_rows(self) -> tuple[Row, ...]:
        """The rows and the rest: their sums are the totals."""
        return self.rows if self.rest is None else (*self.rows, self.rest)

    def columns(self, default: Sequence[Column]) -> tuple[Column, ...]:
        """Return the columns asked for, or the default ones."""
        return tuple(default) if self.chosen is None else self.chosen

    def without_batch(self) -> Sheet:
        """Return the same with the first axis left out of all shapes."""
        return self._replace(rows=tuple(map(_without_batch, self.rows)), rest=self.rest and _without_batch(self.rest))


def sheet(analysis: Analysis, view: View = EVERYTHING) -> Sheet:
    """Return the rows of an analysis as a view wants them."""
    rows = layer_rows(analysis)
    if view.depth is not None:
        rows = fold_blocks(rows, view.depth, analysis.graph.blocks)
    if view.sort is not None:
        by = column(view.sort)
        rows = tuple(sorted(rows, key=lambda row: _order(by.value(row))))
    rest = None
    if view.top is not None and len(rows) > view.top:
        rows, rest = rows[: view.top], sum_of(rows[view.top :], f"… {len(rows) - view.top:,} more")
    return Sheet(rows, rest, None if view.columns is None else tuple(map(column, view.columns)))


def has_common_batch(analysis: Analysis) -> bool:
    """Return whether the first axis of every tensor is the batch, so that tables can leave it out."""
    batch = batch_of(analysis)
    return all(shape and shape[0] == batch for shapes in analysis.values.outputs for shape in shapes)


def batch_of(analysis: Analysis) -> int:
    """Return the size of the first input's first axis."""
    shape = analysis.graph.inputs[0].shape if analysis.graph.inputs else ()
    return shape[0] if shape else 1


def _without_batch(row: Row) -> Row:
    """Return a row with the first axis left out of its shapes."""
    return row._replace(
        input_shapes=tuple(shape[1:] for shape in row.input_shapes),
        output_shape=row.output_shape and row.output_shape[1:],
    )


def _order(value: Any) -> tuple[int, Any]:
    """Return a key that sorts numbers and sizes descending, text ascending, and what is missing last.

    A receptive field that is the whole input comes before all sizes.
    """
    if isinstance(value, str):
        return (0, value.casefold())
    if isinstance(value, tuple):
        flat = _flat(value)
        return (2, 0) if not flat or None in flat else (1, -math.prod(flat))
    return (2, 0) if value is None else (1, -value)


def _flat(values: tuple[Any, ...]) -> list[Fraction | int]:
    """Return the numbers of nested tuples."""
    return [n for value in values for n in (_flat(value) if isinstance(value, tuple) else [value])]
