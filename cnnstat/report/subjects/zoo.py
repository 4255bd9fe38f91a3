"""Zoo: the networks that ship with cnnstat, with their totals."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

from cnnstat.analysis.analysis import Analysis
from cnnstat.analysis.figures import CONVENTION, TOTAL_FIGURES
from cnnstat.numbers import or_dash
from cnnstat.report.document import SCHEMA, Document
from cnnstat.report.formats.terminal import table_lines
from cnnstat.report.network_text import axes_text, shape_text, shapes_text
from cnnstat.report.table import ALWAYS, Column, Layout, Table
from cnnstat.report.terminal_text import BLANK, Line, plain
from cnnstat.sources import zoo


def _input(analysis: Analysis) -> tuple[tuple[int, ...], ...]:
    return tuple(i.shape[1:] for i in analysis.graph.inputs)


def _field(analysis: Analysis) -> tuple[int, ...] | None:
    field = analysis.totals.receptive_field
    return None if field is None else field.size


def _kind(analysis: Analysis) -> str:
    return zoo.kind_of(analysis.graph.name)


def _year(analysis: Analysis) -> int | None:
    return zoo.year_of(str(analysis.graph.about.get("cite", "")))


def _figure(key: str, importance: int = ALWAYS) -> Column:
    figure = next(figure for figure in TOTAL_FIGURES if figure.key == key)

    def value(analysis: Analysis) -> Any:
        return figure.of(analysis.totals)

    return Column(
        key, figure.title, value, lambda a: figure.unit.rounded(value(a)), "right",
        brief=lambda a: figure.unit.brief(value(a)), importance=importance,
    )  # fmt: skip


def _first_input(analysis: Analysis) -> str:
    first, *others = _input(analysis)
    return shape_text(first) + ", …" * bool(others)


COLUMNS = (
    Column("name", "network", attrgetter("graph.name"), least=12, is_code=True),
    Column("title", "", lambda analysis: str(analysis.graph.about.get("title", "")), least=16),
    Column("input", "input", _input, lambda a: shapes_text(_input(a)), "right", brief=_first_input),
    _figure("params"),
    _figure("macs", 3),
    _figure("weighted_activation_bytes", 4)._replace(brief=None),
    Column("receptive_field", "RF", _field, lambda a: or_dash(_field(a), axes_text), "right", importance=5),
    Column("kind", "kind", _kind, importance=6),
    Column("year", "year", _year, align="right", importance=4),
)
"""The columns of the list; a narrow terminal leaves them out from the right."""


def document(analyses: Sequence[Analysis]) -> Document:
    """Return the list of networks, for people by kind and year, for programs as they are given."""
    order = {kind: number for number, kind in enumerate(zoo.KINDS)}
    grouped = sorted(analyses, key=lambda analysis: (order[_kind(analysis)], _year(analysis) or 0))
    records = Table(COLUMNS, analyses)
    table = Table(COLUMNS, grouped, layout=Layout(draw=lambda width: _lines(grouped, width)))
    return Document(
        blocks=lambda: (table,),
        data=lambda: {"schema": SCHEMA, "networks": records.objects()},
        listed=("networks",),
        records=records,
        caption=f"Networks that ship with cnnstat. {CONVENTION}",
    )


def _lines(analyses: Sequence[Analysis], width: int) -> list[Line]:
    """Return the list in a terminal, with the kinds as headings of their networks.

    A narrow terminal shows the first input alone and shorter numbers, for the titles.
    """
    columns: Sequence[Column] = tuple(
        c if width < ROOMY else c._replace(brief=None) for c in COLUMNS if c.key != "kind"
    )
    if width < ROOMY:
        least = min(32, max(16, width - 40))
        columns = tuple(c._replace(least=least) if c.key == "title" else c for c in columns)
    lines = table_lines(Table(columns, analyses), width)
    first = len(lines) - len(analyses)
    if first < 0:
        return lines
    grouped = lines[:first]
    for number, (line, analysis) in enumerate(zip(lines[first:], analyses)):
        kind = _kind(analysis)
        if not number or kind != _kind(analyses[number - 1]):
            years = [year for each in analyses if _kind(each) == kind and (year := _year(each)) is not None]
            span = f", {'–'.join(map(str, sorted({min(years), max(years)})))}" if years else ""
            grouped += [*([BLANK] if number else []), plain(f"{kind}{span}", "bold")]
        grouped.append(line)
    return grouped


ROOMY = 140
"""Columns from which everything is written out."""
