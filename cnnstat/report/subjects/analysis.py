"""Analysis: every layer of a network and its totals."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from cnnstat.analysis.analysis import Analysis, Layer, Totals
from cnnstat.analysis.figures import CONVENTION, LAYER_FIGURES, LIMITED_FIGURES, Figure
from cnnstat.analysis.receptive_field.fields import ReceptiveField
from cnnstat.numbers import Unit, percent, plural
from cnnstat.ops.spatial import LETTERS
from cnnstat.report.document import DRAWINGS, Document, Facts, KeyFigure
from cnnstat.report.network_text import (
    SHORT_EXTENTS,
    axes_text,
    extent_of,
    field_notes,
    field_of,
    has_common_batch,
    heading,
    input_text,
    point_text,
    shape_text,
    shapes_text,
    size_text,
    summary,
)
from cnnstat.report.table import ON_REQUEST, Column, Group, Kind, Layout, Table, View, block_of, last, layered, summed
from cnnstat.report.terminal_text import cut_call, cut_start

if TYPE_CHECKING:
    from cnnstat.analysis.device_floor import DeviceFloor

LAYOUT = Layout(
    steps=(
        ("name", 15), ("op", 20), ("params", None), ("name", 24), ("op", 26), ("macs", None), ("output_bytes", None),
        ("name", 40), ("op", 44), ("op", None),
    )
)  # fmt: skip


def document(analysis: Analysis, view: View | None = None, floor: DeviceFloor | None = None) -> Document:
    """Return the layers that a view shows, and the totals, which are always those of the whole network.

    floor: the least time on a device, which adds a column.
    """
    view = view or AnalysisView()
    table = layer_table(analysis, view, floor)
    return Document(
        title=heading(analysis),
        subtitle=input_text(analysis),
        blocks=lambda: (table, Facts(tuple(summary(analysis, table.rows, floor)))),
        data=lambda: _values(analysis, table.rows, view.depth, floor),
        listed=("layers",),
        records=table,
        caption=f"{'At least, as layers are not counted: ' if analysis.uncounted else ''}{CONVENTION}",
        key_figures=lambda: key_figures(analysis),
        charts=lambda: charts(analysis),
        drawings=lambda: import_module(DRAWINGS).network_drawings({analysis.graph.name: analysis}),
        page_charts=PAGE_CHARTS if analysis.totals.receptive_field else PAGE_CHARTS[:-1],
    )


PAGE_CHARTS = ("macs", "params", "memory", "receptive_field")
"""The charts that pages show; the last where there is a receptive field."""


def charts(analysis: Analysis) -> dict[str, Any]:
    """Return a chart of each figure of layers, and of the receptive field where there is one."""
    from cnnstat.report.charts.layer_chart import FieldChart, LayerChart  # here, as tables do without

    model, names = analysis.graph.name, [layer.name for layer in analysis.layers]
    by_name: dict[str, Any] = {}
    for figure in LAYER_FIGURES:
        by_name[figure.layer] = LayerChart(model, names, [figure.of_layer(layer) for layer in analysis.layers], figure)
    by_name["memory"] = by_name["output_bytes"]
    return by_name if analysis.totals.receptive_field is None else {**by_name, "receptive_field": FieldChart(analysis)}


def layer_table(analysis: Analysis, view: View, floor: DeviceFloor | None = None) -> Table:
    """Return the table of layers as a view wants it."""
    skipped = 1 if has_common_batch(analysis) else 0
    is_shipped = analysis.graph.deployment is not None
    columns = layer_columns(analysis.totals, analysis.graph.blocks, skipped, view.depth, is_shipped=is_shipped)
    if floor is not None:
        from cnnstat.report.floor_text import floor_column  # seldom asked for

        columns = (*columns, floor_column(analysis, floor))
    table = layered(columns, analysis.layers, view, layout=LAYOUT)
    is_long = view.depth is None and view.top is None and len(table.rows) > MANY
    return table._replace(hint=_fewer_rows(analysis.layers)) if is_long else table


MANY = 100
"""Rows from which it is said how to see fewer."""


def _fewer_rows(layers: Sequence[Layer]) -> str:
    """Return how a long table is folded: at the deepest level of names that leaves few rows."""
    folded = {depth: len(list(groupby(block_of(layer.name, depth) for layer in layers))) for depth in (3, 2, 1)}
    depth = next((depth for depth, number in folded.items() if number <= MANY), None)
    fold = "" if depth is None else f"--depth {depth} folds them into {folded[depth]}, "
    return f"{len(layers):,} rows: {fold}--sort macs --top 20 shows the largest"


# Columns --------------------------------------------------------------------------------------------------------------


def layer_columns(
    totals: Totals | None = None,
    blocks: Any = None,
    skipped_axes: int = 0,
    depth: int | None = None,
    *,
    is_shipped: bool = False,
) -> tuple[Column, ...]:
    """Return every column of a table of layers, in the order in which tables show them.

    totals: what shares are of; blocks: what folded blocks are called; skipped_axes: axes of shapes that text leaves
    out, which is the batch; depth: to which names of inputs are folded; is_shipped: whether the network is deployed.
    """
    blocks = blocks or {}

    def inputs(group: Group[Layer]) -> str:
        return ", ".join(_inputs(group, depth))

    def shapes(group: Group[Layer]) -> str:
        return shapes_text([shape[skipped_axes:] for shape in _input_shapes(group)])

    def output(group: Group[Layer]) -> str:
        return "" if group.is_sum else shape_text(group.items[-1].output_shape[skipped_axes:])

    figures = [column for figure in LAYER_FIGURES for column in _figure_columns(figure, totals)]
    return (
        Column(
            "name", "layer", attrgetter("name"), least=10, cut=cut_start, is_code=True, importance=1, style="cyan",
            doc="path of the layer",
        ),
        Column(
            "op", "operation", lambda group: _op(group, blocks), least=12, cut=cut_call, is_code=True, importance=4,
            brief=lambda group: _op(group, blocks, is_brief=True), legend=_abbreviations,
            doc="the operation with its arguments",
        ),
        Column(
            "kind", "kind", lambda group: _op_kind(group, blocks), least=8, is_code=True, importance=ON_REQUEST,
            doc="the operation without arguments",
        ),
        Column(
            "inputs", "inputs", inputs, least=12, is_code=True, importance=17,
            informs=lambda group: len(_inputs(group, depth)) > 1, doc="layers that it reads",
        ),
        Column(
            "input_shape", "input", _input_shapes, shapes, least=10, is_code=True, importance=8,
            doc="shapes of the input tensors",
        ),
        Column(
            "output_shape", "output", last(attrgetter("output_shape")), output, "right", importance=5,
            doc="shape of the (first) output tensor",
        ),
        *figures,
        Column(
            "receptive_field", "RF", _field_size, _field_text, "right", importance=7,
            doc="size of the receptive field, in input pixels",
        ),
        Column(
            "rf_stride", "RF stride", *_of_field(attrgetter("stride"), axes_text), "right", importance=12,
            doc="input pixels between neighbouring outputs",
        ),
        Column(
            "rf_start", "RF start", *_of_field(attrgetter("start"), point_text), "right", importance=14,
            doc="where the first output's receptive field begins",
        ),
        Column(
            "rf_note", "RF note", _field_note, least=11, is_code=True, importance=13,
            informs=lambda group: field_notes(field_of(group)),
            doc="what restricts the receptive field's figures",
        ),
        Column(
            "folded", "folded in", _folded, _folded_text, least=6, is_code=True,
            importance=7 if is_shipped else ON_REQUEST, doc="layers whose work its weights do too",
        ),
    )  # fmt: skip


def _figure_columns(figure: Figure, totals: Totals | None) -> Iterator[Column]:
    key, unit = figure.layer, figure.unit

    def value(group: Group[Layer]) -> Any:
        return figure.of_layers(group.items)

    usual = summed(attrgetter(figure.usually)) if figure.usually not in ("", "0") else None
    whole = figure.of(totals) if totals else 0

    def share(group: Group[Layer]) -> float:
        return float(value(group) / whole) if whole else 0.0

    yield Column(
        key, figure.column or figure.title, value, lambda group: unit.exact(value(group)), "right",
        brief=lambda group: unit.brief(value(group)), importance=figure.importance,
        informs=None if usual is None else lambda group: value(group) != usual(group), doc=figure.doc, share=share,
    )  # fmt: skip
    if figure.share_importance:
        yield Column(
            f"{key}_share", f"% {figure.title}", share, lambda group: percent(share(group)), "right",
            importance=figure.share_importance, doc=f"share of all {figure.name}",
        )  # fmt: skip


def _op(group: Group[Layer], blocks: Any, *, is_brief: bool = False) -> str:
    layers = plural(len(group.items), "layer")
    if group.kind is Kind.BLOCK:
        return f"{_op_kind(group, blocks)} ({layers})"
    if group.kind is not Kind.LAYER:
        return layers if group.kind is Kind.TOTAL else ""
    op = group.items[0].op
    return op.compact if is_brief else str(op)


_ABBREVIATED = {letter: name.replace("_", " ") for name, letter in LETTERS.items()}
_ABBREVIATION = re.compile(rf" ([{''.join(_ABBREVIATED)}])(?=\d|same|valid)")


def _abbreviations(texts: Sequence[str]) -> str:
    """Return what the letters mean that operations are abbreviated with: `s stride, p padding`."""
    used = {letter for text in texts for letter in _ABBREVIATION.findall(text)}
    return ", ".join(f"{letter} {name}" for letter, name in _ABBREVIATED.items() if letter in used)


def _op_kind(group: Group[Layer], blocks: Any) -> str:
    if group.kind is Kind.BLOCK:
        return str(blocks.get(group.name, "block"))
    return "" if group.is_sum else group.items[0].op.kind


def _folded(group: Group[Layer]) -> tuple[str, ...]:
    layers = () if group.is_sum else group.items
    return tuple(name for layer in layers for name in layer.folded)


def _folded_text(group: Group[Layer]) -> str:
    """Return the same: the names without the block that they share with the layer, or how many a block has."""
    if group.kind is Kind.BLOCK:
        return f"{len(_folded(group))}" if _folded(group) else ""
    block = group.name.rpartition(".")[0]
    return ", ".join(name.removeprefix(f"{block}.") for name in _folded(group))


def _inputs(group: Group[Layer], depth: int | None) -> tuple[str, ...]:
    """Return the names that a group reads, as a folded table shows them."""
    names = () if group.is_sum else group.items[0].inputs
    return names if depth is None else tuple(block_of(name, depth)[0] for name in names)


def _input_shapes(group: Group[Layer]) -> tuple[tuple[int, ...], ...]:
    return () if group.is_sum else group.items[0].input_shapes


def _of_field(
    value: Callable[[ReceptiveField], Any], text: Callable[[Any], str]
) -> tuple[Callable[[Group[Layer]], Any], Callable[[Group[Layer]], str]]:
    """Return the functions for the raw value and the text of a property of receptive fields."""

    def raw(group: Group[Layer]) -> Any:
        field = field_of(group)
        return None if field is None else value(field)

    return raw, lambda group: "" if raw(group) is None else text(raw(group))


def _field_size(group: Group[Layer]) -> tuple[int, ...] | str | None:
    """Return the size of the receptive field, `whole input`, `not followed`, or None where there is none."""
    if extent_of(group) in SHORT_EXTENTS:
        return extent_of(group).value
    field = field_of(group)
    return None if field is None else field.size


def _field_text(group: Group[Layer]) -> str:
    """Return the receptive field's size, with * where `rf_note` says more."""
    if extent_of(group) in SHORT_EXTENTS:
        return SHORT_EXTENTS[extent_of(group)]
    field = field_of(group)
    if field is None:
        return "" if group.is_sum else "–"
    return size_text(field) + "*" * bool(field_notes(field))


def _field_note(group: Group[Layer]) -> str:
    if extent_of(group) in SHORT_EXTENTS:
        return extent_of(group).value
    return ", ".join(field_notes(field_of(group)))


FLOOR = "floor"
"""The column that only a device sheet adds."""


class AnalysisView(View):
    """What a user wants to see of an analysis."""

    keys = (*(column.key for column in layer_columns()), FLOOR)


# Totals at a glance ---------------------------------------------------------------------------------------------------


def key_figures(analysis: Analysis) -> Iterator[KeyFigure]:
    """Yield the totals that limits are set on, counts in full below them, and the receptive field."""
    totals = analysis.totals
    for figure in LIMITED_FIGURES:
        if figure.total and not figure.is_part:
            value, at_least = figure.of(totals), "≥ " * bool(figure.at_least and analysis.uncounted)
            exact = f"{value:,}" if figure.unit is Unit.COUNT and value >= 1000 else ""
            yield KeyFigure(figure.name, f"{at_least}{figure.unit.rounded(value)}", exact)
    if totals.receptive_field is not None:
        strides = f"stride {axes_text(totals.receptive_field.stride)}"
        yield KeyFigure("receptive field", size_text(totals.receptive_field), strides)
    yield KeyFigure("layers", f"{totals.layers:,}")


def _values(
    analysis: Analysis, rows: Sequence[Group[Layer]], depth: int | None, floor: DeviceFloor | None = None
) -> dict[str, Any]:
    """Return totals and the rows under the JSON contract; columns are always all."""
    from cnnstat.report.network_values import analysis_values, row_values  # here, as tables do without

    blocks = analysis.graph.blocks
    layers = [row_values(row.name, _op_kind(row, blocks), _inputs(row, depth), row.items) for row in rows]
    return analysis_values(analysis, layers, floor)
