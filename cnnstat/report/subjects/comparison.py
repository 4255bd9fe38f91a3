"""Comparison: totals of several networks side by side, with their ratios to the first, and their layers as bars."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from operator import attrgetter
from typing import Any, NamedTuple

from cnnstat.analysis.comparison import Comparison, Difference, parameter_differences
from cnnstat.analysis.figures import CONVENTION, TOTAL_FIGURES, Figure
from cnnstat.numbers import count, or_dash, plural, ratio_text
from cnnstat.report.charts.bar_chart import MEASURES, BarChart, Measure
from cnnstat.report.document import DRAWINGS, SCHEMA, Block, Document, Fact, Facts, KeyFigure
from cnnstat.report.network_columns import RATIO, network_table
from cnnstat.report.network_text import input_text, shape_text, size_text
from cnnstat.report.network_values import model_values, total_values
from cnnstat.report.table import Column, Table
from cnnstat.report.terminal_text import printable

CONVENTIONS = (
    Fact("MACs", "multiply-accumulates of convolutions, linear layers and matrix products"),
    Fact("FLOPs", "2 × MACs and every other floating-point operation of inference"),
    Fact("memory", "MiB are 2^20 bytes; training is parameters, gradients, optimizer state and what backward needs"),
)
"""The conventions in force, said below every table."""

RECORDED = ("model", *(f"{figure.key}{end}" for end in ("", RATIO) for figure in TOTAL_FIGURES))
"""The columns for programs: figures of each network, and their ratios to the first network's."""

DRIFT = "drift"
"""The measured figure without a ratio: a remainder near 0, of either sign."""


class Line(NamedTuple):
    """One line of the comparison: what it is called, and the text and the ratio of each network."""

    title: str
    texts: tuple[str, ...]
    ratios: tuple[str, ...]


def document(comparison: Comparison, keys: Sequence[str] | None = None) -> Document:
    """Return totals and ratios of all networks, and a chart for each kind of figure.

    keys: columns of a table that has a row for each network instead of a line for each figure; see `network_columns`.
    """
    columns: Sequence[Column] = _overview().compared(comparison.profiles) if comparison.profiles else ()
    table = Table(_columns(comparison), list(_lines(comparison, columns)))
    chosen = None if keys is None else network_table(comparison, keys, columns)
    inputs = "; ".join(dict.fromkeys(map(input_text, comparison.analyses)))
    has_ratios = any(key.endswith(RATIO) for key in keys or ())
    ratios = f". Ratios are to {printable(comparison.headings[0])}" if chosen and has_ratios else ""
    return Document(
        page_title=f"{', '.join(map(printable, comparison.headings))}: side by side",
        blocks=lambda: _blocks(comparison, chosen or table),
        data=lambda: _values(comparison, columns),
        listed=("models", "ratios", "profiles", "time_ratios"),
        records=chosen or network_table(comparison, (*RECORDED, *(column.key for column in columns)), columns),
        caption=f"{inputs[:1].upper()}{inputs[1:]}. {CONVENTION}{ratios}",
        key_figures=lambda: _key_figures(comparison),
        charts=lambda: _charts(comparison),
        drawings=lambda: import_module(DRAWINGS).network_drawings(dict(zip(comparison.headings, comparison.analyses))),
    )


def _charts(comparison: Comparison) -> dict[str, BarChart]:
    measures = [*MEASURES, *([_time_measure(comparison)] if comparison.profiles else ())]
    return {each.key: BarChart(comparison.analyses, comparison.headings, each) for each in measures}


def _key_figures(comparison: Comparison) -> Iterator[KeyFigure]:
    """Yield what limits compare most, for each network: its MACs with their ratio to the first, its parameters."""
    for number, (heading, values) in enumerate(zip(comparison.headings, comparison.figures)):
        ratio = f", {ratio_text(comparison.ratios[number]['macs'])} the first" if number else ""
        yield KeyFigure(heading, count(values["macs"]), f"MACs{ratio}; {count(values['params'])} parameters")


def _values(comparison: Comparison, columns: Sequence[Column]) -> dict[str, Any]:
    times = {
        "profiles": [profile.to_dict() for profile in comparison.profiles],
        "time_ratios": _time_ratios(comparison.profiles, columns),
    }
    return {
        "schema": SCHEMA,
        "models": [{"model": model_values(a), "totals": total_values(a.totals)} for a in comparison.analyses],
        "ratios": [dict(ratios) for ratios in comparison.ratios],
        **(times if comparison.profiles else {}),
    }


def _blocks(comparison: Comparison, table: Table) -> Iterator[Block]:
    times = _overview().compared_facts(comparison.profiles) if comparison.profiles else ()
    yield table
    yield Facts((*_parameter_facts(comparison), *CONVENTIONS, *times))
    yield from _charts(comparison).values()


def _parameter_facts(comparison: Comparison) -> Iterator[Fact]:
    """Yield where the parameters of networks differ that do the same work as the first, as an exported model does."""
    first = comparison.analyses[0]
    for heading, other in zip(comparison.headings[1:], comparison.analyses[1:]):
        parts = parameter_differences(first, other)
        if parts:
            more = other.totals.params - first.totals.params
            listed = ", ".join(map(_difference_text, parts))
            yield Fact("parameters", f"{printable(heading)}: {_signed(more)} with the same MACs; {listed}")


def _difference_text(part: Difference) -> str:
    where = f"{part.layers} {printable(part.kind)} of one" if part.kind else f"{plural(part.layers, 'layer')} of both"
    return f"{_signed(part.elements)} in {where}"


def _signed(number: int) -> str:
    return f"{'+' if number > 0 else '−'}{abs(number):,}"


# Measured times -------------------------------------------------------------------------------------------------------


def _overview() -> Any:
    """Return the module that describes profiles; it imports results that only a comparison with times needs."""
    return import_module("cnnstat.report.subjects.profile_overview")


def _time_ratios(profiles: Sequence[Any], columns: Sequence[Column]) -> list[dict[str, float | None]]:
    """Return each model's figures divided by the first one's; drift, a remainder, has no ratio."""
    return [{c.key: _ratio(c.value(p), c.value(profiles[0])) for c in columns if c.key != DRIFT} for p in profiles]


def _ratio(value: float | None, base: float | None) -> float | None:
    return value / base if value is not None and base else None


def _time_measure(comparison: Comparison) -> Measure:
    # By identity: equal layers of two networks take different times. Charts are of integers, hence nanoseconds.
    nanoseconds: Mapping[int, int] = {
        id(layer): round(1e9 * times.seconds)
        for analysis, profile in zip(comparison.analyses, comparison.profiles)
        for layer, times in zip(analysis.layers, profile.layers)
    }
    return Measure("time", "time", lambda layer: nanoseconds.get(id(layer), 0), ((10**6, "ms"), (10**3, "µs")))


# The table ------------------------------------------------------------------------------------------------------------


def _columns(comparison: Comparison) -> list[Column]:
    """Return the column of titles, the first network's, and two for each other network, which stay together."""
    first, *others = map(printable, comparison.headings)
    columns = [
        Column("figure", "", attrgetter("title")),
        Column("first", first, lambda line: line.texts[0], align="right", least=6),
    ]
    for panel, heading in enumerate(others, start=1):
        columns += _network_columns(panel, heading)
    return columns


def _network_columns(panel: int, heading: str) -> tuple[Column, Column]:
    return (
        Column("figures", heading, lambda line: line.texts[panel], align="right", panel=panel),
        Column("ratios", "ratio", lambda line: line.ratios[panel], align="right", panel=panel, terminal_title=""),
    )


def _lines(comparison: Comparison, columns: Sequence[Column]) -> Iterator[Line]:
    """Yield a line for each figure that says something, and for each measured time."""
    analyses = comparison.analyses
    inputs = (", ".join(shape_text(each.shape) for each in analysis.graph.inputs) for analysis in analyses)
    yield Line("input", tuple(inputs), ("",) * len(analyses))
    precisions = [each.graph.deployment and each.graph.deployment.precision for each in analyses]
    if any(precisions):
        yield Line("deployed in", tuple(each or "–" for each in precisions), ("",) * len(analyses))
    for figure in TOTAL_FIGURES:
        if not _is_usual(figure, comparison.figures) and (any(precisions) or not figure.of_deployed):
            texts = (figure.unit.rounded(values[figure.key]) for values in comparison.figures)
            ratios = (ratio_text(values[figure.key]) for values in comparison.ratios)
            yield Line(figure.name, tuple(texts), tuple(ratios))
    fields = (analysis.totals.receptive_field for analysis in analyses)
    yield Line("receptive field", tuple(or_dash(field, size_text) for field in fields), ("",) * len(analyses))
    time_ratios = _time_ratios(comparison.profiles, columns)
    for column in columns:
        ratio_texts = (ratio_text(ratios[column.key]) if column.key in ratios else "" for ratios in time_ratios)
        yield Line(column.title, column.cells(comparison.profiles), tuple(ratio_texts))


def _is_usual(figure: Figure, networks: Sequence[Mapping[str, int]]) -> bool:
    """Return whether a figure says nothing of any network, as parameters that are all trainable."""
    if not figure.usually:
        return False
    return all(values[figure.key] == values.get(figure.usually, 0) for values in networks)
