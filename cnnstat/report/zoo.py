"""Zoo: the networks that ship with cnnstat, with their totals."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from cnnstat.analysis.analysis import Analysis
from cnnstat.numbers import binary_bytes, count
from cnnstat.report import network_text
from cnnstat.report.document import SCHEMA
from cnnstat.report.formats.json import json_text
from cnnstat.report.listing import Field, Listing
from cnnstat.report.terminal_text import Verbatim, show

if TYPE_CHECKING:
    from rich.console import Console


def _input(analysis: Analysis) -> tuple[tuple[int, ...], ...]:
    """Return the shapes of the inputs without the batch."""
    return tuple(i.shape[1:] for i in analysis.graph.inputs)


def _field(analysis: Analysis) -> tuple[int, ...] | None:
    """Return the size of the receptive field."""
    field = analysis.totals.receptive_field
    return None if field is None else field.size


def _field_text(analysis: Analysis) -> str:
    """Return the size of the receptive field, or a dash."""
    size = _field(analysis)
    return "–" if size is None else network_text.axes_text(size)


def _title(analysis: Analysis) -> str:
    """Return the one-line title of a network."""
    return str(analysis.graph.about.get("title", ""))


def _weighted_bytes(analysis: Analysis) -> int:
    """Return the bytes of the outputs of convolutions and linear layers."""
    return analysis.totals.memory.weighted_activation_bytes


FIELDS = (
    Field("name", "network", attrgetter("graph.name"), least=12, is_code=True),
    Field("title", "", _title, least=16),
    Field("input", "input", _input, lambda a: network_text.shapes_text(_input(a)), "right", least=12),
    Field("params", "params", attrgetter("totals.params"), lambda a: count(a.totals.params), "right"),
    Field("macs", "MACs", attrgetter("totals.macs"), lambda a: count(a.totals.macs), "right"),
    Field(
        "weighted_activation_bytes",
        "conv + fc memory",
        _weighted_bytes,
        lambda a: binary_bytes(_weighted_bytes(a)),
        "right",
    ),
    Field("receptive_field", "RF", _field, _field_text, "right"),
)
"""The columns of the list."""


def print_table(analyses: Sequence[Analysis], console: Console) -> None:
    """Print the list, fitted to the console's width; what does not fit a narrow one is left out from the right."""
    titles_keep = max(16, min(24, console.width // 3))  # at the cost of many inputs, which only few networks have
    fields = [field._replace(least=titles_keep) if field.key == "title" else field for field in FIELDS]
    page = Listing(fields, analyses).page(console.width)
    while len(fields) > 4 and page.width > console.width:
        fields.pop()
        page = Listing(fields, analyses).page(console.width)
    show(page, console)


def print_json(analyses: Sequence[Analysis], console: Console) -> None:
    """Print one object a network."""
    listing: Listing[Any] = Listing(FIELDS, analyses)
    show(Verbatim(json_text({"schema": SCHEMA, "networks": listing.objects()}, "networks")), console)


def print_csv(analyses: Sequence[Analysis], console: Console) -> None:
    """Print one row a network."""
    show(Verbatim(Listing(FIELDS, analyses).csv()), console)


def print_markdown(analyses: Sequence[Analysis], console: Console) -> None:
    """Print a GitHub table."""
    show(Verbatim(Listing(FIELDS, analyses).markdown()), console)


FORMATS = {"table": print_table, "json": print_json, "csv": print_csv, "markdown": print_markdown}
"""The functions that print the zoo, by the name of the format."""
