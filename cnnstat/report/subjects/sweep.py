"""Sweeps: a line for each point, with what varies and its totals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from cnnstat.analysis.figures import CONVENTION, FIGURES
from cnnstat.numbers import Unit, plural, seconds_text
from cnnstat.report.charts.scatter_plot import ScatterPlot, ScatterPoint
from cnnstat.report.document import Block, Document, Fact, Facts
from cnnstat.report.table import ON_REQUEST, Column, Table, check_column
from cnnstat.report.terminal_text import Line, printable
from cnnstat.sweep.evaluate import SCHEMA, TOTALS, Record
from cnnstat.sweep.selection import ACCURACY, flat, pareto_front, unsigned, value_of
from cnnstat.sweep.sweep import Sweep

USUAL = ("params", "macs", "peak_inference_bytes", "receptive_field")
"""The figures of the table unless others are chosen."""

MAIN = 5
"""Importance of the columns that every terminal shows."""

ERRORS = 5
"""Errors that are listed below a table."""

_FIGURES = {figure.key: figure for figure in FIGURES}


def document(
    sweep: Sweep,
    columns: Sequence[str] | None = None,
    plot: tuple[str, str] | None = None,
    caption: str = "",
    page_title: str = "",
) -> Document:
    """Return the points, and a plot of two figures if one is asked for; raises CnnstatError for an unknown column."""
    known = column_keys(sweep.settings)
    for key in columns or ():
        check_column(key, known)
    has_figures = any(not record["error"] for record in sweep)
    plot = plot if has_figures else None
    table = Table(_columns(sweep, columns), sweep.records, is_chosen=columns is not None)
    everything = [_column(key, sweep) for key in known]
    return Document(
        title=caption,
        page_title=caption or page_title or f"Sweep of {plural(len(sweep.records), 'point')}",
        blocks=lambda: _blocks(sweep, table, plot),
        data=lambda: {"schema": SCHEMA, "settings": list(sweep.settings), "points": list(sweep.records)},
        listed=("points",),
        records=Table(everything, sweep.records) if columns is None else table,
        caption=f"{_conditions(sweep)}. {CONVENTION}",
        charts=lambda: _charts(sweep, plot),
        page_charts=("plot",) if plot else ("params",) if has_figures else (),
    )


def _conditions(sweep: Sweep) -> str:
    """Return what all points have in common: their source, and the input size with its batch."""
    sources = {record["source"] for record in sweep.records}
    inputs = {"; ".join("×".join(map(str, s)) for s in r["inputs"]) for r in sweep.records if not r["error"]}
    source = f" of {printable(next(iter(sources)))}" if len(sources) == 1 else ""
    size = f", input {next(iter(inputs))}" if len(inputs) == 1 else ", inputs as listed" if inputs else ""
    return f"Totals of one forward pass{source}{size}"


def _charts(sweep: Sweep, plot: tuple[str, str] | None) -> dict[str, ScatterPlot]:
    """Return a chart of each figure, against MACs or against what the plot is drawn over."""
    keys = [*dict.fromkeys((*USUAL, *(figure.key for figure in TOTALS), "latency", ACCURACY))]
    across = plot[0] if plot else "macs"
    has = {key: any(isinstance(value_of(record, key), (int, float)) for record in sweep.records) for key in keys}
    charts = {key: scatter(sweep, across if key != across else "params", key) for key in keys if has[key]}
    return charts if plot is None else {"plot": scatter(sweep, *plot), **charts}


def resolutions_document(sweep: Sweep, columns: Sequence[str] | None = None) -> Document:
    """Return a model's totals at several sizes of its input, and its MACs against the size."""
    size = sweep.settings[0]
    keys = None if columns is None else tuple(dict.fromkeys((size, *columns)))
    sources = dict.fromkeys(record["source"] for record in sweep.records)
    title = f"{printable(', '.join(sources))} at {plural(len(sweep.records), 'input size')}"
    return document(sweep, keys, (size, "macs"), page_title=title)


def column_keys(settings: Sequence[str]) -> tuple[str, ...]:
    """Return the columns that a sweep can show."""
    figures = (figure.key for figure in TOTALS)
    return tuple(dict.fromkeys(("source", *settings, *figures, "receptive_field", "latency", ACCURACY, "error")))


class InCharacters(NamedTuple):
    """A plot as a terminal draws it; pages have their own picture of it."""

    plot: ScatterPlot

    def lines(self, width: int) -> Sequence[Line]:
        """Return the drawing in characters."""
        return self.plot.lines(width)


def _blocks(sweep: Sweep, table: Table, plot: tuple[str, str] | None) -> Iterator[Block]:
    yield table
    facts = [Fact("points", plural(len(sweep.records), "point"))]
    if sweep.front:
        facts.append(Fact("Pareto front", f"of {_directions(sweep.front)}: no other point is better in all of them"))
    errors = sweep.failed
    for record in errors[:ERRORS]:
        facts.append(Fact("error", printable(f"{_name(record)}: {record['error']}"), "yellow"))
    if len(errors) > ERRORS:
        facts.append(Fact("", f"… and {plural(len(errors) - ERRORS, 'point')} more without figures", "yellow"))
    notes = dict.fromkeys(note for record in sweep.records for note in record.get("notes", ()))
    for note in [*notes][:ERRORS]:
        facts.append(Fact("note", printable(note), "yellow"))
    facts.append(Fact("convention", CONVENTION))
    yield Facts(facts)
    if plot is not None:
        yield InCharacters(scatter(sweep, *plot))


def _directions(front: Sequence[str]) -> str:
    words = {"+": "more ", "-": "less "}
    return " and ".join(f"{words.get(key[0], '')}{unsigned(key)}" for key in front)


def scatter(sweep: Sweep, x: str, y: str) -> ScatterPlot:
    """Return the plot of two figures; points without one of them are left out. Raises CnnstatError for another name."""
    for key in (x, y):
        check_column(key, column_keys(sweep.settings))
    rows = [r for r in sweep.records if all(isinstance(value_of(r, key), (int, float)) for key in (x, y))]
    # Against a setting, such as the size of the input, there is nothing to choose from.
    signed = {unsigned(key): key for key in sweep.front}
    keys = [signed.get(key, key) for key in (x, y)]
    front = set() if x in sweep.settings else {id(record) for record in pareto_front(rows, keys)}
    is_one = len({record["source"] for record in sweep.records}) == 1
    points = [ScatterPoint(value_of(r, x), value_of(r, y), _name(r, is_one), id(r) in front) for r in rows]
    ends = [
        (min(rows, key=lambda r: value_of(r, key)), max(rows, key=lambda r: value_of(r, key))) if rows else ()
        for key in (x, y)
    ]
    texts = [tuple(_text(key, each) for each in pair) or ("", "") for key, pair in zip((x, y), ends)]
    titles = [_FIGURES[key].title if key in _FIGURES else key for key in (x, y)]
    return ScatterPlot(points, *titles, *texts)  # type: ignore[arg-type]


def _name(record: Record, is_of_one: bool = False) -> str:
    """Return what a point is called: its source, and its settings; these alone where all are of one source."""
    settings = " ".join(f"{key}={value}" for key, value in record["settings"].items())
    return settings if settings and is_of_one else f"{record['source']} {settings}".strip()


def _text(key: str, record: Record) -> str:
    value = flat(record).get(key)
    if value is None:
        return "–"
    if key == "latency":
        return seconds_text(value)
    if key in _FIGURES and _FIGURES[key].unit is not Unit.POSITIONS:
        return _FIGURES[key].unit.rounded(value)
    return f"{value:,}" if isinstance(value, int) else str(value)


def _columns(sweep: Sweep, chosen: Sequence[str] | None) -> list[Column]:
    if chosen is not None:
        return [_column(key, sweep) for key in chosen]
    several = len({record["source"] for record in sweep.records}) > 1 or not sweep.settings
    keys = [*(["source"] if several else []), *sweep.settings]
    measured = [key for key in ("latency", ACCURACY) if any(record.get(key) is not None for record in sweep.records)]
    error = ["error"] if sweep.failed else []
    return [
        _column(key, sweep) for key in dict.fromkeys((*keys, *USUAL, *measured, *map(unsigned, sweep.front), *error))
    ]


def _column(key: str, sweep: Sweep) -> Column:

    def value(record: Record) -> Any:
        return flat(record).get(key)

    if key == "source":
        return Column(key, "source", value, least=12, is_code=True, importance=1)
    if key == "error":
        return Column(key, "error", value, lambda record: record.get("error") or "", least=12, importance=MAIN)
    is_setting = key in sweep.settings
    if is_setting or key in USUAL:
        importance = 2 if is_setting else 2 + USUAL.index(key)
    else:
        importance = MAIN if key in ("latency", ACCURACY, *map(unsigned, sweep.front)) else ON_REQUEST
    title = key if is_setting or key not in _FIGURES else _FIGURES[key].title
    return Column(key, title, value, partial(_text, key), "right", importance=importance, on_pages=True)
