"""Columns: every column a table of layers may have, declared once for all formats."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any, NamedTuple

from cnnstat.report import words
from cnnstat.report.glyphs import cut_call, cut_end, cut_start, printable
from cnnstat.report.row import Row
from cnnstat.report.view import check_column
from cnnstat.units import binary_bytes

MAIN = 7
"""Columns up to this importance are shown at 80 characters."""

ON_REQUEST = 99
"""Importance of a column that is shown only if asked for."""


class Column(NamedTuple):
    """One column of a table of layers; its functions take a row, which another report may make differently.

    value: the raw value (integer, share, text, sizes of the axes, or None), for programs and for sorting.
    shown: the text that people read; short is the same for narrow terminals.
    importance: 1 for the column that a narrow terminal keeps longest.
    additive: whether its sum over all rows is the figure of the whole network.
    least, cut: narrowest width the text may be cut to, and what cuts it; None for text that stays whole.
    informs: whether a row's value says more than other columns do; a column in which none does is left out.
    """

    key: str
    title: str
    doc: str
    value: Callable[[Any], Any]
    shown: Callable[[Any], str]
    short: Callable[[Any], str]
    importance: int
    informs: Callable[[Any], Any]
    align: str = "left"
    additive: bool = False
    least: int | None = None
    cut: Callable[[str, int], str] = cut_end


def _text(
    key: str, title: str, importance: int, doc: str, value: Callable[[Row], str], least: int,
    cut: Callable[[str, int], str] = cut_end, informs: Callable[[Row], Any] | None = None,
) -> Column:  # fmt: skip
    """Return a column of text that the network's author may have written."""

    def shown(row: Row) -> str:
        return printable(value(row))

    return Column(
        key=key, title=title, doc=doc, value=value, shown=shown, short=shown, importance=importance, least=least,
        cut=cut, informs=informs or value,
    )  # fmt: skip


def _sizes(
    key: str, title: str, importance: int, doc: str, value: Callable[[Row], Any], shown: Callable[[Row], str],
    least: int | None = None, informs: Callable[[Row], Any] | None = None,
) -> Column:  # fmt: skip
    """Return a column of shapes or other figures with one number for each axis."""
    return Column(
        key=key, title=title, doc=doc, value=value, shown=shown, short=shown, importance=importance, least=least,
        align="left" if least else "right", informs=informs or value,
    )  # fmt: skip


def _sum(key: str, title: str, importance: int, doc: str, informs: Callable[[Row], Any] | None = None) -> Column:
    """Return a column of counts, exact or with a metric suffix where space is short."""
    value = attrgetter(key)
    return Column(
        key=key, title=title, doc=doc, value=value, shown=lambda row: f"{value(row):,}",
        short=lambda row: words.brief_count(value(row)), importance=importance, align="right", additive=True,
        informs=informs or value,
    )  # fmt: skip


def _share(key: str, title: str, importance: int, doc: str) -> Column:
    """Return a column of percentages of the whole network."""
    value = attrgetter(key)

    def shown(row: Row) -> str:
        return words.percent(value(row))

    return Column(
        key=key, title=title, doc=doc, value=value, shown=shown, short=shown, importance=importance, align="right",
        additive=True, informs=value,
    )  # fmt: skip


def _field_size(row: Row) -> tuple[int, ...] | str | None:
    """Return the size of the receptive field, `whole input`, or None where there is none."""
    if row.sees_whole_input:
        return words.WHOLE_INPUT
    return row.receptive_field.size if row.receptive_field else None


def _field_text(row: Row) -> str:
    """Return the receptive field's size, with * where `rf_note` says more."""
    if row.sees_whole_input:
        return "whole"
    if row.receptive_field is None:
        return "" if row.is_sum else "–"
    return words.axes_text(row.receptive_field.size) + "*" * bool(words.field_notes(row.receptive_field))


def _field_note(row: Row) -> str:
    """Return the words that go with the receptive field."""
    return words.WHOLE_INPUT if row.sees_whole_input else ", ".join(words.field_notes(row.receptive_field))


def _stride_text(row: Row) -> str:
    """Return the effective stride along each axis."""
    return words.axes_text(row.receptive_field.stride) if row.receptive_field else ""


def _start_text(row: Row) -> str:
    """Return where the first output's field begins along each axis."""
    return words.point_text(row.receptive_field.start) if row.receptive_field else ""


def _output_bytes() -> Column:
    """Return the column of output sizes, shown in powers of 1024."""
    value: Callable[[Row], int] = attrgetter("output_bytes")
    return Column(
        key="output_bytes", title="memory", doc="bytes of all output tensors", value=value,
        shown=lambda row: binary_bytes(value(row)), short=lambda row: words.brief_bytes(value(row)), importance=6,
        align="right", additive=True, informs=value,
    )  # fmt: skip


COLUMNS = (
    _text("name", "layer", 1, "path of the layer", attrgetter("name"), 10, cut_start),
    _text("op", "operation", 4, "the operation with its arguments", attrgetter("op"), 12, cut_call),
    _text("kind", "kind", ON_REQUEST, "the operation without arguments", attrgetter("kind"), 8),
    _text(
        "inputs", "inputs", 17, "layers that it reads", lambda row: ", ".join(row.inputs), 12,
        informs=lambda row: len(row.inputs) > 1,
    ),
    _sizes(
        "input_shape", "input", 8, "shapes of the input tensors",
        lambda row: row.input_shapes, lambda row: words.shapes_text(row.input_shapes), least=10,
    ),
    _sizes(
        "output_shape", "output", 5, "shape of the (first) output tensor",
        lambda row: row.output_shape, lambda row: words.shape_text(row.output_shape),
    ),
    _sum("params", "params", 2, "parameters, frozen ones included"),
    _share("params_share", "% params", 11, "share of all parameters"),
    _sum(
        "trainable_params", "trainable", 15, "parameters that are learnt",
        informs=lambda row: row.trainable_params != row.params,
    ),
    _sum("buffers", "buffers", 16, "numbers that are stored but not learnt"),
    _sum("macs", "MACs", 3, "multiply-accumulates of convolutions, linear layers and matrix products"),
    _share("macs_share", "% MACs", 9, "share of all multiply-accumulates"),
    _sum("flops", "FLOPs", 10, "floating-point operations: 2 × MACs and everything else"),
    _output_bytes(),
    _sizes("receptive_field", "RF", 7, "size of the receptive field, in input pixels", _field_size, _field_text),
    _sizes(
        "rf_stride", "RF stride", 12, "input pixels between neighbouring outputs",
        lambda row: row.receptive_field.stride if row.receptive_field else None, _stride_text,
    ),
    _sizes(
        "rf_start", "RF start", 14, "where the first output's receptive field begins",
        lambda row: row.receptive_field.start if row.receptive_field else None, _start_text,
    ),
    _text(
        "rf_note", "RF note", 13, "what restricts the receptive field's figures", _field_note, 11,
        informs=lambda row: words.field_notes(row.receptive_field),
    ),
)  # fmt: skip
"""Every column, in the order in which tables show them."""

_BY_KEY = {column.key: column for column in COLUMNS}


def column(key: str) -> Column:
    """Return the column called `key`; raises CnnstatError with the nearest name and the list otherwise."""
    check_column(key, _BY_KEY)
    return _BY_KEY[key]
