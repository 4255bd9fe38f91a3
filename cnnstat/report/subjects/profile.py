"""Profile: measured times layer by layer, the time breakdown, and what changed since an earlier profile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from operator import attrgetter
from typing import Any

from cnnstat import numbers
from cnnstat.analysis.figures import FIGURES, WORK_FIGURES, Figure
from cnnstat.numbers import plural
from cnnstat.profile.profile_details import KernelTime, OpTime
from cnnstat.profile.profile_json import to_json
from cnnstat.profile.profile_result import (
    LayerTime,
    Profile,
    Samples,
    bound_of,
    bytes_per_second,
    flops_per_second,
    forward_seconds,
)
from cnnstat.report.document import DRAWINGS, Document, Facts, NetworkDrawing
from cnnstat.report.profile_changes import Against, change_blocks, change_table, change_values
from cnnstat.report.profile_text import GIGA, RATES, conditions_text, heading, key_figures, summary, time_parts
from cnnstat.report.table import MAIN, ON_REQUEST, Column, Group, Kind, Layout, Table, View, layered, summed
from cnnstat.report.terminal_text import cut_start, printable

IF_MEASURED = 4
"""Importance of columns that --backward and --isolate ask for: shown at any width, if they were measured."""

LAYOUT = Layout(steps=(("name", 16), ("time", None), ("name", 28), ("kind", 14), ("name", 44)))

PART_COLUMNS = (
    Column("part", "part", attrgetter("name")),
    Column("time", "time", attrgetter("time"), align="right"),
    Column("share", "%", attrgetter("share"), align="right"),
    Column("meaning", "what it is", attrgetter("meaning"), least=12),
)

Row = Group[LayerTime]


def document(profile: Profile, view: View | None = None, against: Against | None = None) -> Document:
    """Return the layers that a view shows, what the whole model's time is made of, and what changed."""
    view = view or ProfileView()
    table = layer_table(profile, view)
    changes = () if against is None else tuple(change_blocks(*against))
    *parts, whole = time_parts(profile)
    return Document(
        title=heading(profile),
        subtitle=conditions_text(profile),
        blocks=lambda: (
            table,
            Table(PART_COLUMNS, parts, total=whole),
            *_kernel_tables(profile),
            *_op_tables(profile),
            Facts(summary(profile)),
            *changes,
        ),
        data=lambda: (
            to_json(profile) if against is None else {**to_json(profile), "difference": change_values(*against)}
        ),
        listed=("layers",),
        records=layered(layer_columns(profile), profile.layers, view)
        if against is None
        else change_table(against.difference),
        caption="Median times of one pass; bounds by the rates measured on this device.",
        key_figures=lambda: key_figures(profile),
        charts=lambda: _charts(profile),
        page_charts=("roofline", "time"),
        drawings=lambda: _drawings(profile),
    )


def _op_layer(each: OpTime) -> str:
    return printable(each.layer) + " (backward)" * each.backward


def _op_tables(profile: Profile) -> Iterator[Table]:
    if not profile.ops:
        return

    def part(each: OpTime) -> float:
        return profile.time_breakdown.share(each.seconds)

    columns = (
        Column("layer", "layer", attrgetter("layer"), _op_layer, least=10, cut=cut_start, is_code=True),
        Column("op", "op", attrgetter("op"), lambda each: printable(each.op), least=16, is_code=True),
        Column("calls", "calls", attrgetter("calls"), align="right"),
        Column("time", "time", attrgetter("seconds"), lambda each: numbers.seconds_text(each.seconds), "right"),
        Column("share", "% time", part, lambda each: numbers.percent(part(each)), "right"),
    )  # fmt: skip
    yield Table(columns, profile.ops, title="ops inside the layers, under the profiler")


HEAVIEST = 5
"""Kernels in the table below the layers; JSON has more."""


def _kernel_tables(profile: Profile) -> Iterator[Table]:
    if not profile.kernels:
        return

    def part(kernel: KernelTime) -> float:
        return profile.time_breakdown.share(kernel.seconds)

    columns = (
        Column("name", "kernel", attrgetter("name"), lambda each: printable(each.name), least=20, is_code=True),
        Column("count", "runs", attrgetter("count"), align="right"),
        Column("time", "time", attrgetter("seconds"), lambda each: numbers.seconds_text(each.seconds), "right"),
        Column("share", "% time", part, lambda each: numbers.percent(part(each)), "right"),
        Column("grid", "grid", lambda each: "×".join(map(str, each.grid)) or "–"),
        Column("tensor_cores", "tensor cores", lambda each: "yes" if each.tensor_cores else "no"),
        Column("layers", "layers", lambda each: len(each.layers), align="right"),
    )  # fmt: skip
    count = plural(len(profile.kernels), "kernel")
    yield Table(columns, profile.kernels[:HEAVIEST], title=f"heaviest kernels, of {count} by name")


def _drawings(profile: Profile) -> dict[str, NetworkDrawing]:
    """Return the network with each box's share of the time, where the profile holds it."""
    if profile.analysis is None:
        return {}
    times = {layer.name: layer.seconds for layer in profile.layers}
    drawings: dict[str, NetworkDrawing] = import_module(DRAWINGS).network_drawings(
        {profile.model: profile.analysis}, times
    )
    return drawings


def _charts(profile: Profile) -> dict[str, Any]:
    from cnnstat.report.charts.layer_chart import LayerChart  # here, as tables do without
    from cnnstat.report.charts.memory_chart import MemoryChart
    from cnnstat.report.charts.roofline_chart import RooflineChart
    from cnnstat.report.charts.timeline_chart import TimelineChart

    names, nanoseconds = [each.name for each in profile.layers], [round(1e9 * each.seconds) for each in profile.layers]
    time = next(figure for figure in FIGURES if figure.unit is numbers.Unit.TIME)
    charts: dict[str, Any] = {"roofline": RooflineChart(profile)}
    charts["time"] = LayerChart(profile.model, names, nanoseconds, time)
    if profile.timeline:
        charts["timeline"] = TimelineChart(profile)
    if profile.memory:
        charts["memory"] = MemoryChart(profile)
    return charts


def layer_table(profile: Profile, view: View) -> Table:
    """Return the table of layers as a view wants it; unless chosen, without the columns that were not measured."""
    columns = layer_columns(profile)
    table = layered(columns, profile.layers, view, layout=LAYOUT, total="sum")
    if table.is_chosen:
        return table
    # A column that was not asked for holds only dashes.
    measured = (c for c in columns if c.importance != IF_MEASURED or _says_something(c, table.all_rows))
    visible = [c._replace(on_pages=c.importance <= MAIN or _is_for_gpus(c, table.rows)) for c in measured]
    return table._replace(columns=visible)


def _says_something(column: Column, rows: Sequence[Row]) -> bool:
    return any(map(column.informs or column.value, rows))


def _is_for_gpus(column: Column, rows: Sequence[Row]) -> bool:
    """Whether pages show a column too that is no main one: the kernels and rates of a GPU."""
    return column.importance <= MAIN + 2 and _says_something(column, rows)


# Columns --------------------------------------------------------------------------------------------------------------


def layer_columns(profile: Profile | None = None, device: str = "cpu") -> tuple[Column, ...]:
    """Return every column, in the order in which tables show them; the device decides the unit of rates."""
    scale, unit = RATES[profile.environment.kind if profile else device]
    whole = profile.time_breakdown.whole if profile else 0.0

    def share(row: Row) -> float:
        return sum(layer.seconds / whole for layer in row.items) if whole else 0.0

    seconds = numbers.seconds_text
    return (
        Column(
            "name", "layer", attrgetter("name"), _name, least=10, cut=cut_start, is_code=True, importance=1,
            style="cyan", doc="path of the layer, with its calls if it is called several times",
        ),
        _text("kind", "operation", 13, "the operation without arguments", _kind, least=8),
        _number("calls", "calls", ON_REQUEST, "how often it is called in a pass", _calls, _integer),
        _number("kernels", "kernels", 8, "GPU kernels launched in a pass", _sum(attrgetter("kernels")), _integer),
        Column(
            "time", "time", _seconds, _time, "right", brief=lambda row: seconds(_seconds(row)), importance=2,
            doc="median seconds of a pass, all calls together", share=share,
        ),
        _number("spread", "IQR", ON_REQUEST, "interquartile range of the time", _spread, seconds),
        _number("share", "% time", 3, "share of the whole model's time", share, numbers.percent),
        _direction("forward", "median seconds of the forward pass"),
        _direction("backward", "median seconds of the backward pass"),
        *map(_work, WORK_FIGURES),
        _number(
            "moved", "moved", 10, "bytes of inputs, weights and outputs, each once", summed(attrgetter("moved")),
            numbers.brief_decimal_bytes,
        ),
        _number(
            "flops_per_second", unit, 7, f"floating-point operations per second, in {unit}",
            lambda row: flops_per_second(row.items), lambda rate: numbers.rate_text(rate, scale),
        ),
        _number(
            "bytes_per_second", "GB/s", 8, "bytes moved per second, in GB/s",
            lambda row: bytes_per_second(row.items), lambda rate: numbers.rate_text(rate, GIGA),
        ),
        _number("floor", "floor", 11, "least time that the ceilings allow", _bound_seconds, seconds),
        _number(
            "share_of_floor", "% floor", 5, "floor divided by time; 100 is all the ceilings allow", _share_of_bound,
            numbers.whole_percent,
        ),
        _text("bound", "bound by", 6, "the ceiling that sets the floor", _bound),
        _number("warm", "warm", IF_MEASURED, "time alone, inputs in the cache", _sum(_median("warm")), seconds),
        _number("cold", "cold", IF_MEASURED, "time alone, inputs not in the cache", _sum(_median("cold")), seconds),
        _text("kernel_names", "kernel names", ON_REQUEST, "the kernels' names", _kernel_names, least=8),
    )  # fmt: skip


def _text(
    key: str, title: str, importance: int, doc: str, value: Callable[[Row], str], least: int | None = None
) -> Column:
    """Return a column of text; names may be cut, and are code."""
    return Column(key, title, value, least=least, is_code=least is not None, importance=importance, doc=doc)


def _number(
    key: str, title: str, importance: int, doc: str, value: Callable[[Row], Any], text: Callable[[Any], str]
) -> Column:
    """Return a column of numbers; what was not measured is a dash."""
    return Column(
        key, title, value, lambda row: numbers.or_dash(value(row), text), "right", importance=importance,
        informs=lambda row: value(row) is not None, doc=doc,
    )  # fmt: skip


def _work(figure: Figure) -> Column:
    """Return the column of a figure that says how much is computed; a layer's time has it under the same name."""
    importance = MAIN if figure.share_importance else ON_REQUEST
    return _number(figure.layer, figure.title, importance, figure.doc, summed(figure.of_layer), numbers.brief_count)


def _direction(name: str, doc: str) -> Column:
    """Return the column of one direction, which says something only if both were measured."""
    value = summed(_median(name)) if name == "forward" else _sum(_median(name))

    def text(row: Row) -> str:
        samples = getattr(row.items[0], name) if row.kind is Kind.LAYER else None
        return numbers.samples_text(samples) if samples else numbers.or_dash(value(row), numbers.seconds_text)

    # Without a backward pass the forward time is the time, which has a column already.
    both = _sum(_median("backward"))
    return _number(name, name, IF_MEASURED, doc, value, str)._replace(
        text=text, informs=lambda row: both(row) is not None
    )


def _sum(value: Callable[[LayerTime], Any]) -> Callable[[Row], Any]:
    """Return the function that adds up what the layers of a row have; None where none has anything."""
    return lambda row: summed(value)(row) if row.items else None


def _median(name: str) -> Callable[[LayerTime], float | None]:
    def median(layer: LayerTime) -> float | None:
        samples = getattr(layer, name)
        return samples.median if samples else None

    return median


def _integer(number: int) -> str:
    return f"{number:,}"


def _name(row: Row) -> str:
    return f"{row.name} ×{_calls(row)}" if _calls(row) > 1 else row.name


def _kind(row: Row) -> str:
    if row.kind is Kind.LAYER:
        return row.items[0].kind
    layers = plural(len(row.items), "layer")
    return layers if row.kind is Kind.TOTAL else f"({layers})"


def _calls(row: Row) -> int:
    """Return how often a layer is called; 1 for several layers, which are not called as such."""
    return row.items[0].calls if row.kind is Kind.LAYER else 1


def _kernel_names(row: Row) -> str:
    return ", ".join(row.items[0].kernel_names) if row.kind is Kind.LAYER else ""


def _seconds(row: Row) -> float:
    return sum(layer.seconds for layer in row.items)


def _samples(row: Row) -> Samples | None:
    """Return what a time scatters by; None for sums and where the backward pass is included."""
    is_single = row.kind is Kind.LAYER and row.items[0].backward is None
    return row.items[0].forward if is_single else None


def _time(row: Row) -> str:
    samples = _samples(row)
    return numbers.samples_text(samples) if samples else numbers.seconds_text(_seconds(row))


def _spread(row: Row) -> float | None:
    samples = _samples(row)
    return samples.spread if samples and samples.scatters else None


def _bound_seconds(row: Row) -> float:
    return bound_of(row.items)


def _share_of_bound(row: Row) -> float | None:
    """Return the bound divided by the time; None where there is no bound, or the forward pass took no time."""
    bound, seconds = bound_of(row.items), forward_seconds(row.items)
    return bound / seconds if bound and seconds else None


def _bound(row: Row) -> str:
    """Return what sets the bound; a dash where nothing does, empty for sums."""
    if row.kind is not Kind.LAYER:
        return ""
    layer = row.items[0]
    return layer.bound if layer.bound and layer.forward.median else "–"


class ProfileView(View):
    """What a user wants to see of a profile."""

    keys = tuple(column.key for column in layer_columns())
