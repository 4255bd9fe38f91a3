"""Sheet: the rows of a table of layers, folded, sorted and cut as the user wants to view them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cnnstat.analysis.analysis import Analysis
from cnnstat.report.columns import COLUMNS, Column, column
from cnnstat.report.row import Row, fold_blocks, layer_rows, sum_of
from cnnstat.report.view import TableView


class View(TableView):
    """What a user wants to see of an analysis."""

    keys = tuple(each.key for each in COLUMNS)


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
    by = column(view.sort or COLUMNS[0].key)
    rows, rest = view.arranged(rows, by.value, sum_of)
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
