"""Analysis: every layer of a network and its totals."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from importlib import import_module
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from cnnstat.analysis.analysis import Analysis, Layer, Totals
from cnnstat.analysis.figures import CONVENTION, LAYER_FIGURES, LIMITED_FIGURES, WORK_FIGURES, Figure
from cnnstat.analysis.memory import Memory
from cnnstat.analysis.receptive_field.fields import Extent, ReceptiveField
from cnnstat.numbers import Unit, binary_bytes, count, percent, plural
from cnnstat.ops.spatial import LETTERS
from cnnstat.report.document import DRAWINGS, SCHEMA, Document, Fact, Facts, KeyFigure, glued
from cnnstat.report.network_text import (
    MISALIGNED,
    NOTES,
    axes_text,
    batch_of,
    field_notes,
    field_text,
    has_common_batch,
    heading,
    input_text,
    model_values,
    point_text,
    row_values,
    shape_text,
    shapes_text,
    size_text,
    total_values,
)
from cnnstat.report.table import ON_REQUEST, Column, Group, Kind, Layout, Table, View, block_of, last, layered, summed
from cnnstat.report.terminal_text import cut_call, cut_start, printable

if TYPE_CHECKING:
    from cnnstat.analysis.device_floor import DeviceFloor

LISTED = 5
"""Names that a list in the summary shows before it says how many more there are."""

LAYOUT = Layout(
    steps=(
        ("name", 15), ("op", 20), ("params", None), ("name", 24), ("op", 26), ("macs", None), ("output_bytes", None),
        ("name", 40), ("op", 44), ("op", None),
    )
)  # fmt: skip


SHORT_EXTENTS = {Extent.WHOLE: "whole", Extent.NOT_FOLLOWED: "?"}
"""What a cell says where there is no receptive field of a size."""


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
    found: dict[str, Any] = {}
    for figure in LAYER_FIGURES:
        found[figure.layer] = LayerChart(model, names, [figure.of_layer(layer) for layer in analysis.layers], figure)
    found["memory"] = found["output_bytes"]
    return found if analysis.totals.receptive_field is None else {**found, "receptive_field": FieldChart(analysis)}


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
            informs=lambda group: field_notes(_field(group)),
            doc="what restricts the receptive field's figures",
        ),
        Column(
            "folded", "folded in", _folded, _folded_text, least=6, is_code=True,
            importance=7 if is_shipped else ON_REQUEST, doc="layers whose work its weights do too",
        ),
    )  # fmt: skip


def _figure_columns(figure: Figure, totals: Totals | None) -> Iterator[Column]:
    """Yield the column of a figure, and that of its share of the total if it has one."""
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
    """Return the kind of an op, or what the network calls a folded block."""
    if group.kind is Kind.BLOCK:
        return str(blocks.get(group.name, "block"))
    return "" if group.is_sum else group.items[0].op.kind


def _folded(group: Group[Layer]) -> tuple[str, ...]:
    """Return the layers that are folded into those of a group."""
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


def _field(group: Group[Layer]) -> ReceptiveField | None:
    return None if group.is_sum else group.items[-1].receptive_field


def _extent(group: Group[Layer]) -> Extent:
    return Extent.NONE if group.is_sum else group.items[-1].field_extent


def _of_field(
    value: Callable[[ReceptiveField], Any], text: Callable[[Any], str]
) -> tuple[Callable[[Group[Layer]], Any], Callable[[Group[Layer]], str]]:
    """Return the functions for the raw value and the text of a property of receptive fields."""

    def raw(group: Group[Layer]) -> Any:
        field = _field(group)
        return None if field is None else value(field)

    return raw, lambda group: "" if raw(group) is None else text(raw(group))


def _field_size(group: Group[Layer]) -> tuple[int, ...] | str | None:
    """Return the size of the receptive field, `whole input`, `not followed`, or None where there is none."""
    if _extent(group) in SHORT_EXTENTS:
        return _extent(group).value
    field = _field(group)
    return None if field is None else field.size


def _field_text(group: Group[Layer]) -> str:
    """Return the receptive field's size, with * where `rf_note` says more."""
    if _extent(group) in SHORT_EXTENTS:
        return SHORT_EXTENTS[_extent(group)]
    field = _field(group)
    if field is None:
        return "" if group.is_sum else "–"
    return size_text(field) + "*" * bool(field_notes(field))


def _field_note(group: Group[Layer]) -> str:
    if _extent(group) in SHORT_EXTENTS:
        return _extent(group).value
    return ", ".join(field_notes(_field(group)))


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


# Summary --------------------------------------------------------------------------------------------------------------


def summary(analysis: Analysis, rows: Sequence[Group[Layer]], floor: DeviceFloor | None = None) -> Iterator[Fact]:
    """Yield the totals in words, each with the convention it follows; `rows` are those that the table shows."""
    yield from _work(analysis)
    yield from _memory(analysis)
    if analysis.graph.deployment is not None:
        from cnnstat.report.deployment_text import deployment_facts  # seldom asked for

        yield from deployment_facts(analysis.graph.deployment)
    if floor is not None:
        from cnnstat.report.floor_text import floor_facts

        yield from floor_facts(floor)
    yield from _receptive_field(analysis, rows)
    left_out = ", left out of the shapes above" if has_common_batch(analysis) else ""
    yield Fact("batch", f"{batch_of(analysis):,}{left_out}")
    names = analysis.uncounted
    if names:
        more = f" and {len(names) - LISTED:,} more" if len(names) > LISTED else ""
        listed = ", ".join(map(printable, names[:LISTED]))
        yield Fact("not counted", f"{listed}{more}; MACs and FLOPs are at least what is printed", "yellow")
    for warning in analysis.warnings:
        yield Fact("warning", printable(warning), "yellow")


def _exact_and_short(number: int) -> str:
    """Return a count in full, and with a suffix if it is long: `138,357,544 (138.4 M)`."""
    return glued(f"{number:,}" if number < 10_000 else f"{number:,} ({count(number)})")


def _work(analysis: Analysis) -> Iterator[Fact]:
    totals = analysis.totals
    at_least = "at least " if analysis.uncounted else ""
    frozen = totals.params - totals.trainable_params
    trainable = glued(f"{totals.trainable_params:,} trainable") if frozen else "all trainable" if totals.params else ""
    buffers = glued(f"{totals.buffers:,} more in buffers") if totals.buffers else ""
    yield Fact("parameters", ", ".join(filter(None, (_exact_and_short(totals.params), trainable, buffers))))
    for figure in WORK_FIGURES:
        parts = getattr(totals, figure.parts).items() if figure.parts else ()
        sums = " + ".join(glued(f"{name} {count(part)}") for name, part in parts if part)
        meaning = f" = {sums}" if sums else "" if figure.parts else f": {figure.doc}"
        yield Fact(figure.name, f"{at_least}{_exact_and_short(figure.of(totals))}{meaning}")
    if analysis.graph.deployment is not None:
        macs = " + ".join(glued(f"{name} {count(part)}") for name, part in totals.macs_by_precision.items())
        bits = f"{at_least}{_exact_and_short(totals.bops)} = MACs × bits of the weight × bits of the activation"
        yield Fact("bit operations", f"{bits}{f'; MACs are {macs}' if macs else ''}")


def _memory(analysis: Analysis) -> Iterator[Fact]:
    memory = analysis.totals.memory
    buffers = f", {glued(binary_bytes(memory.buffers_bytes))} more in buffers" if memory.buffers_bytes else ""
    yield Fact("memory", f"{_bytes(memory.params_bytes)} parameters{buffers}")
    yield Fact("", f"{_bytes(memory.activation_bytes)} outputs of all layers")
    yield Fact("", f"{_bytes(memory.weighted_activation_bytes)} conv + linear outputs")
    peak = "" if memory.peak_at is None else f", reached at {printable(analysis.graph.nodes[memory.peak_at].name)}"
    yield Fact("", f"{_bytes(memory.peak_inference_bytes)} peak of inference: tensors alive at once{peak}")
    if analysis.graph.deployment is not None:  # what is shipped is trained no more
        yield Fact("", f"{_bytes(memory.arena_bytes)} arena: {_arena(memory)}")
        yield Fact("", f"{_bytes(memory.flash_bytes)} flash: weights and biases, their scales and zero points")
        return
    parts = (
        ("parameters", memory.params_bytes),
        ("gradients", memory.gradient_bytes),
        ("optimizer state", memory.optimizer_bytes),
        ("kept for backward", memory.saved_bytes),
    )
    sums = " + ".join(glued(f"{name} {binary_bytes(part)}") for name, part in parts)
    yield Fact("", f"{_bytes(memory.training_bytes)} training = {sums}")


def _arena(memory: Memory) -> str:
    """Return how the arena was planned, and how much larger than the peak it is."""
    above = memory.arena_bytes - memory.peak_inference_bytes
    share = percent(above / memory.peak_inference_bytes) if above else ""
    found = f"{above:,} bytes ({share} %) above the peak" if above else "the peak, so that none is smaller"
    return f"addresses that are multiples of 16, given {memory.arena.order}; {found}"


def _bytes(number: int) -> str:
    """Return bytes in powers of 1024, as wide as the widest, so that the list of memory totals is aligned."""
    return glued(f"{binary_bytes(number):>10}")


def _receptive_field(analysis: Analysis, rows: Sequence[Group[Layer]]) -> Iterator[Fact]:
    """Yield the network's receptive field, and what the notes on single layers mean."""
    fields, field = analysis.fields, analysis.totals.receptive_field
    extents = set(map(_extent, rows))
    if field is None or fields.total_at is None:
        known = next((extent.value for extent in SHORT_EXTENTS if extent in extents), "none: no input has spatial axes")
        yield Fact("receptive field", known)
        yield from _extents(extents)
        return
    where = printable(analysis.graph.value_name(fields.total_at.value))
    ends = any(layer.field_extent is Extent.WHOLE for layer in analysis.layers)
    last_map = ", the last map before the whole input is seen" if ends else ", the last map that has one"
    after = "" if fields.total_at in analysis.graph.outputs else last_map
    yield Fact("receptive field", f"{field_text(field)}, at {where}{after}")
    yield Fact("", "start: input position where the field of the first output begins; below 0 is padding")
    notes = {note for row in rows for note in field_notes(_field(row))}
    for note, meaning in NOTES.items():
        if note in notes:
            yield Fact("", f"* {note}{_since(field) if note == MISALIGNED else ''}: {meaning}")
    yield from _extents(extents)


MEANINGS = {
    Extent.WHOLE: "whole: every output depends on the whole input",
    Extent.NONE: "–: depends on no input that has spatial axes",
    Extent.NOT_FOLLOWED: "? not followed: at most the whole input; an op reads by no known rule",
}
"""What the words and signs in the column of receptive fields mean."""


def _extents(extents: Collection[Extent]) -> Iterator[Fact]:
    yield from (Fact("", text) for extent, text in MEANINGS.items() if extent in extents)


def _since(field: ReceptiveField) -> str:
    """Return where strides first differed, if they differ in the network's own field."""
    return f" from {printable(field.misaligned_at)} on" if field.misaligned_at else ""


def _deployment(analysis: Analysis) -> dict[str, Any]:
    from cnnstat.report.deployment_text import arena_values, deployment_values  # tables do without

    deployment = analysis.graph.deployment
    done = {} if deployment is None else {"deployment": deployment_values(deployment)}
    return {**done, "arena": arena_values(analysis)}


def _values(
    analysis: Analysis, rows: Sequence[Group[Layer]], depth: int | None, floor: DeviceFloor | None = None
) -> dict[str, Any]:
    """Return totals and layers under the contract: integers raw, sizes in bytes; columns are always all."""
    uncounted, notes = list(analysis.uncounted), list(analysis.notes)
    blocks = analysis.graph.blocks
    return {
        "schema": SCHEMA,
        "model": model_values(analysis),
        "totals": total_values(analysis.totals),
        "coverage": {"ops": len(analysis.graph.nodes), "uncounted": uncounted, "notes": notes},
        "warnings": list(analysis.warnings),
        **_deployment(analysis),
        **({} if floor is None else import_module("cnnstat.report.floor_text").floor_values(analysis, floor)),
        "layers": [row_values(row.name, _op_kind(row, blocks), _inputs(row, depth), row.items) for row in rows],
    }
