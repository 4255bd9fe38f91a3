"""Columns of a table of measured times, declared once for all formats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

from cnnstat import numbers
from cnnstat.report.columns import ON_REQUEST, Column
from cnnstat.report.terminal_text import cut_end, cut_start, printable
from cnnstat.report.time_row import TimeRow
from cnnstat.report.view import check_column

MAIN = 7
"""Columns up to this importance are shown at 80 characters."""

IF_MEASURED = 4
"""Importance of columns that --backward and --isolate ask for: shown at any width, if they were measured."""

STEPS = (("name", 16), ("time", None), ("name", 28), ("kind", 14), ("name", 44))
"""What width is spent on, in this order, as in `cnnstat.report.layout`."""

RATES = {"cuda": (1e12, "TFLOP/s"), "cpu": (1e9, "GFLOP/s"), "mps": (1e9, "GFLOP/s")}
"""Unit of the rate of work by kind of device."""

GIGA = 1e9


def _name(row: TimeRow) -> str:
    """Return a layer's name, and how often it is called if that is more than once."""
    return f"{row.name} ×{row.calls}" if row.calls > 1 else row.name


def _kernel_names(row: TimeRow) -> str:
    """Return the names of a layer's kernels."""
    return ", ".join(row.kernel_names)


def _text(
    key: str,
    title: str,
    importance: int,
    doc: str,
    value: Callable[[TimeRow], str],
    cut: Callable[[str, int], str] = cut_end,
) -> Column:
    """Return a column of text; names may be cut."""

    def shown(row: TimeRow) -> str:
        return printable(value(row))

    raw = attrgetter("name") if key == "name" else value
    least = None if key == "bound" else 10 if key == "name" else 8
    return Column(
        key=key, title=title, doc=doc, value=raw, shown=shown, short=shown, importance=importance, informs=value,
        least=least, cut=cut,
    )  # fmt: skip


def _number(
    key: str, title: str, importance: int, doc: str, text: Callable[[Any], str], *, additive: bool = False
) -> Column:
    """Return a column of numbers; what was not measured is a dash."""
    value = attrgetter(key)

    def shown(row: TimeRow) -> str:
        found = value(row)
        return "–" if found is None else text(found)

    return Column(
        key=key, title=title, doc=doc, value=value, shown=shown, short=shown, importance=importance, align="right",
        additive=additive, informs=lambda row: value(row) is not None,
    )  # fmt: skip


def _rate(key: str, title: str, importance: int, doc: str, scale: float) -> Column:
    """Return a column of rates."""
    return _number(key, title, importance, doc, lambda rate: numbers.rate_text(rate, scale))


def _time() -> Column:
    """Return the column of times, with what they scatter by where there is room."""

    def shown(row: TimeRow) -> str:
        return numbers.samples_text(row.samples) if row.samples else numbers.seconds_text(row.seconds)

    return Column(
        key="time", title="time", doc="median seconds of a pass, all calls together", value=attrgetter("seconds"),
        shown=shown, short=lambda row: numbers.seconds_text(row.seconds), importance=2, align="right", additive=True,
        informs=attrgetter("seconds"),
    )  # fmt: skip


def _spread(key: str, title: str, importance: int, doc: str) -> Column:
    """Return the column of one direction, which says something only if both were measured."""

    def shown(row: TimeRow) -> str:
        samples = getattr(row, f"{key}_samples")
        seconds = getattr(row, key)
        return "–" if seconds is None else samples and numbers.samples_text(samples) or numbers.seconds_text(seconds)

    return Column(
        key=key, title=title, doc=doc, value=attrgetter(key), shown=shown, short=shown, importance=importance,
        align="right", additive=True, informs=lambda row: row.backward is not None,
    )  # fmt: skip


def time_columns(device: str) -> tuple[Column, ...]:
    """Return every column, in the order in which tables show them; the device decides the unit of rates."""
    scale, unit = RATES[device]
    return (
        _text("name", "layer", 1, "path of the layer, with its calls if it is called several times", _name, cut_start),
        _text("kind", "operation", 13, "the operation without arguments", attrgetter("kind")),
        _number("calls", "calls", ON_REQUEST, "how often it is called in a pass", lambda n: f"{n:,}", additive=True),
        _number("kernels", "kernels", 8, "GPU kernels launched in a pass", lambda n: f"{n:,}", additive=True),
        _time(),
        _number("spread", "IQR", ON_REQUEST, "interquartile range of the time", numbers.seconds_text),
        _number("share", "% time", 3, "share of the whole model's time", numbers.percent, additive=True),
        _spread("forward", "forward", IF_MEASURED, "median seconds of the forward pass"),
        _spread("backward", "backward", IF_MEASURED, "median seconds of the backward pass"),
        _number("macs", "MACs", 7, "multiply-accumulates", numbers.brief_count, additive=True),
        _number("flops", "FLOPs", ON_REQUEST, "floating-point operations", numbers.brief_count, additive=True),
        _number(
            "moved",
            "moved",
            10,
            "bytes of inputs, weights and outputs, each once",
            numbers.brief_decimal_bytes,
            additive=True,
        ),
        _rate("flops_per_second", unit, 7, f"floating-point operations per second, in {unit}", scale),
        _rate("bytes_per_second", "GB/s", 8, "bytes moved per second, in GB/s", GIGA),
        _number("floor", "floor", 11, "least time that the ceilings allow", numbers.seconds_text, additive=True),
        _number(
            "share_of_floor",
            "% floor",
            5,
            "floor divided by time; 100 is all the ceilings allow",
            numbers.whole_percent,
        ),
        _text("bound", "bound by", 6, "the ceiling that sets the floor", attrgetter("bound")),
        _number("warm", "warm", IF_MEASURED, "time alone, inputs in the cache", numbers.seconds_text, additive=True),
        _number(
            "cold", "cold", IF_MEASURED, "time alone, inputs not in the cache", numbers.seconds_text, additive=True
        ),
        _text("kernel_names", "kernel names", ON_REQUEST, "the kernels' names", _kernel_names),
    )


KEYS = tuple(column.key for column in time_columns("cpu"))
"""The keys of all columns, the same on every device."""


def columns_of(keys: Sequence[str], device: str) -> tuple[Column, ...]:
    """Return the columns under these keys; raises CnnstatError."""
    for key in keys:
        check_column(key, KEYS)
    by_key = {column.key: column for column in time_columns(device)}
    return tuple(by_key[key] for key in keys)
