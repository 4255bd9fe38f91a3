"""Comparison: totals of several networks side by side, with their ratios to the first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from cnnstat import numbers
from cnnstat.analysis.analysis import Analysis
from cnnstat.numbers import binary_bytes, count
from cnnstat.report import comparison_times, network_text
from cnnstat.report.chart import MEASURES, charts
from cnnstat.report.document import SCHEMA, Fact
from cnnstat.report.formats.csv import csv_text
from cnnstat.report.formats.html import division, facts_list, html_table
from cnnstat.report.formats.json import json_text
from cnnstat.report.formats.markdown import escaped, markdown_table
from cnnstat.report.formats.terminal import facts_page
from cnnstat.report.grid import GAP, Track, grid
from cnnstat.report.network_text import model_values
from cnnstat.report.subjects.analysis import total_values
from cnnstat.report.terminal_text import BLANK, Page, Verbatim, cut_end, printable, show, widest

if TYPE_CHECKING:
    from rich.console import Console

    from cnnstat.analysis.comparison import Comparison

TITLES = {
    "params": "parameters",
    "trainable_params": "trainable parameters",
    "buffers": "buffers",
    "macs": "MACs",
    "flops": "FLOPs",
    "layers": "layers",
    "params_bytes": "parameter memory",
    "activation_bytes": "outputs of all layers",
    "weighted_activation_bytes": "conv + linear outputs",
    "peak_inference_bytes": "peak of inference",
    "training_bytes": "training",
}
"""What each figure is called."""

CONVENTIONS = (
    Fact("MACs", "multiply-accumulates of convolutions, linear layers and matrix products"),
    Fact("FLOPs", "2 × MACs and every other floating-point operation of inference"),
    Fact("memory", "MiB are 2^20 bytes; training is parameters, gradients, optimizer state and what backward needs"),
)
"""The conventions in force, said below every table."""


class Side(NamedTuple):
    """One network of a comparison: its texts for each line, and those of the ratios."""

    name: str
    texts: tuple[str, ...]
    ratios: tuple[str, ...]


def print_table(comparison: Comparison, console: Console) -> None:
    """Print totals, ratios and the bar charts, fitted to the console's width."""
    measures = (*MEASURES, *comparison_times.measures(comparison))
    drawn = charts(comparison.analyses, comparison.headings, console.width, measures)
    show(table(comparison, console.width) + Page([BLANK]) + drawn, console)


def print_json(comparison: Comparison, console: Console) -> None:
    """Print models, totals and ratios as JSON."""
    show(Verbatim(to_json(comparison)), console)


def print_csv(comparison: Comparison, console: Console) -> None:
    """Print one row a network: its figures, and their ratios to the first network's."""
    head = ["model", *TITLES, *(f"{key}_ratio" for key in TITLES)]
    rows = [
        [name, *(f[key] for key in TITLES), *(r[key] for key in TITLES)]
        for name, f, r in zip(comparison.headings, comparison.figures, comparison.ratios)
    ]
    timed = comparison_times.lines(comparison.profiles)
    head += timed
    for row, profile in zip(rows, comparison.profiles):
        row += [line.value(profile) for line in timed.values()]
    show(Verbatim(csv_text(head, rows)), console)


def print_markdown(comparison: Comparison, console: Console) -> None:
    """Print totals and ratios as a GitHub table."""
    head, aligns, rows = _everything(comparison)
    told = (*CONVENTIONS, *comparison_times.facts(comparison.profiles))
    facts = "".join(f"- **{fact.label}** {escaped(fact.text)}\n" for fact in told)
    cells = ([escaped(text) for text in row] for row in rows)
    show(Verbatim(f"{markdown_table(head, aligns, cells)}\n{facts}"), console)


def print_html(comparison: Comparison, console: Console) -> None:
    """Print totals and ratios as a page of its own."""
    show(Verbatim(html(comparison) + "\n"), console)


FORMATS = {
    "table": print_table,
    "json": print_json,
    "csv": print_csv,
    "markdown": print_markdown,
    "html": print_html,
}
"""The functions that print a comparison, by the name of the format."""


def document(comparison: Comparison) -> dict[str, Any]:
    """Return models, totals and ratios as JSON-ready values; a ratio to 0 is null."""
    return {
        "schema": SCHEMA,
        "models": [{"model": model_values(a), "totals": total_values(a.totals)} for a in comparison.analyses],
        "ratios": [dict(ratios) for ratios in comparison.ratios],
        **_times(comparison),
    }


def _times(comparison: Comparison) -> dict[str, Any]:
    """Return the `cnnstat-profile/1` document of each model and the ratios of times, if there are any."""
    if not comparison.profiles:
        return {}
    documents = [profile.to_dict() for profile in comparison.profiles]
    return {"profiles": documents, "time_ratios": comparison_times.ratios(comparison.profiles)}


def to_json(comparison: Comparison) -> str:
    """Return the same as JSON text, one line a network."""
    return json_text(document(comparison), "models", "ratios", "profiles", "time_ratios")


def text(comparison: Comparison, width: int) -> str:
    """Return totals and ratios as plain text of a given width."""
    return str(table(comparison, width)).rstrip("\n")


def html(comparison: Comparison) -> str:
    """Return totals and ratios, and how they are counted, as HTML for notebooks and files."""
    told = (*CONVENTIONS, *comparison_times.facts(comparison.profiles))
    return division(html_table(*_everything(comparison)) + facts_list(told))


def table(comparison: Comparison, width: int) -> Page:
    """Return totals and ratios; where not all networks fit, the first stays and the others follow in groups."""
    titles = _titles(comparison)
    first, *others = _sides(comparison, titles)
    page = Page([])
    for group in _groups(first, others, width - widest(titles.values())):
        if page.lines:
            page += Page([BLANK])
        page += _group_page(tuple(titles.values()), first, group, width)
    facts = (*CONVENTIONS, *comparison_times.facts(comparison.profiles))
    return page + Page([BLANK]) + facts_page(facts, width)


def _group_page(titles: Sequence[str], first: Side, group: Sequence[Side], width: int) -> Page:
    """Return the first network and some others."""
    tracks = [Track(title=""), Track(title=first.name, align="right", least=6)]
    columns: list[Sequence[str]] = [titles, first.texts]
    for side in group:
        tracks += [Track(title=cut_end(side.name, 24), align="right"), Track(title="", align="right")]
        columns += [side.texts, side.ratios]
    return grid(tracks, zip(*columns), width)


def _groups(first: Side, others: Sequence[Side], width: int) -> Iterator[Sequence[Side]]:
    """Yield the others in groups that fit beside the first; once without any if there are none."""
    room = width - GAP - widest((cut_end(first.name, 24), *first.texts))
    group: list[Side] = []
    used = 0
    for side in others:
        needed = 2 * GAP + widest((cut_end(side.name, 24), *side.texts)) + widest(side.ratios)
        if group and used + needed > room:
            yield group
            group, used = [], 0
        group.append(side)
        used += needed
    yield group


def _titles(comparison: Comparison) -> dict[str, str]:
    """Return the figures worth a line: trainable parameters and buffers only where they say something."""
    figures = comparison.figures
    silent = {
        *(("trainable_params",) if all(f["trainable_params"] == f["params"] for f in figures) else ()),
        *(("buffers",) if not any(f["buffers"] for f in figures) else ()),
    }
    shown = {key: title for key, title in TITLES.items() if key not in silent}
    timed = {key: line.title for key, line in comparison_times.lines(comparison.profiles).items()}
    return {"input": "input", **shown, "receptive_field": "receptive field", **timed}


def _sides(comparison: Comparison, titles: dict[str, str]) -> list[Side]:
    """Return the texts of each network."""
    timed = comparison_times.lines(comparison.profiles)
    ratios = comparison_times.ratios(comparison.profiles) or [{} for _ in comparison.analyses]
    sides = []
    for index, analysis in enumerate(comparison.analyses):
        figures = comparison.figures[index]
        shown = {
            **{key: _figure(key, figures[key]) for key in titles if key in figures},
            **{key: line.shown(comparison.profiles[index]) for key, line in timed.items()},
            "input": _input(analysis),
            "receptive_field": _field(analysis),
        }
        known = {**comparison.ratios[index], **ratios[index]}
        texts = tuple(numbers.ratio_text(known[key]) if key in known else "" for key in titles)
        sides.append(Side(printable(comparison.headings[index]), tuple(shown[key] for key in titles), texts))
    return sides


def _figure(key: str, number: int) -> str:
    """Return a figure with its unit."""
    if key == "layers":
        return f"{number:,}"
    return binary_bytes(number) if key.endswith("_bytes") else count(number)


def _input(analysis: Analysis) -> str:
    """Return the shapes of the inputs."""
    return ", ".join(network_text.shape_text(i.shape) for i in analysis.graph.inputs)


def _field(analysis: Analysis) -> str:
    """Return the size of the network's receptive field."""
    field = analysis.totals.receptive_field
    return "–" if field is None else network_text.axes_text(field.size)


def _everything(comparison: Comparison) -> tuple[list[str], list[str], list[list[str]]]:
    """Return titles, alignments and rows of all networks in one table."""
    titles = _titles(comparison)
    first, *others = _sides(comparison, titles)
    head, columns = ["", first.name], [tuple(titles.values()), first.texts]
    for side in others:
        head += [side.name, "ratio"]
        columns += [side.texts, side.ratios]
    return head, ["left", *["right"] * (len(head) - 1)], [list(row) for row in zip(*columns)]
