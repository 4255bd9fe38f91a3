"""Published figures: what papers and slides print about a network, beside what is exact, and why they differ."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from cnnstat.analysis.analysis import Analysis
from cnnstat.report.document import SCHEMA, Fact
from cnnstat.report.formats.html import division, facts_list, text_of
from cnnstat.report.formats.json import json_text
from cnnstat.report.formats.markdown import escaped
from cnnstat.report.formats.terminal import facts_page
from cnnstat.report.listing import Field, Listing
from cnnstat.report.network_text import heading, model_values
from cnnstat.report.terminal_text import BLANK, Line, Page, Verbatim, cut_start, plain, printable, show, wrapped

if TYPE_CHECKING:
    from rich.console import Console

    from cnnstat.analysis.published import PublishedRow


def _printed(row: PublishedRow) -> str:
    """Return the figure as printed, with what it means where that is not clear."""
    return f"{row.printed} ({row.means})" if row.means else row.printed


FIELDS = (
    Field("figure", "figure", attrgetter("figure"), least=10),
    Field("layer", "layer", attrgetter("layer"), least=8, cut=cut_start, is_code=True),
    Field("printed", "printed", attrgetter("printed"), lambda row: printable(_printed(row)), "right"),
    Field("exact", "exact", attrgetter("exact"), align="right"),
    Field("verdict", "verdict", attrgetter("verdict"), align="right"),
    Field("source", "source", attrgetter("source"), least=12),
)
"""The columns that all formats show."""

RAW = (
    *(field for field in FIELDS if field.key != "verdict"),
    Field("means", "means", attrgetter("means")),
    Field("value", "value", attrgetter("value")),
    Field("agrees", "agrees", attrgetter("agrees")),
    Field("difference", "difference in %", attrgetter("difference")),
    Field("cause", "cause", attrgetter("cause")),
)
"""The columns for programs."""

NONE = "no published figures are known for this network; a spec gives them under published:"


def print_table(analysis: Analysis, rows: Sequence[PublishedRow], console: Console) -> None:
    """Print the figures, and below them the cause of each difference."""
    lines: list[Line] = [plain(line, "bold") for line in wrapped(heading(analysis), console.width)]
    if not rows:
        show(Page([*lines, plain(NONE)]), console)
        return
    sources = list(dict.fromkeys(row.source for row in rows))
    numbered = Field("source", "source", lambda row: f"[{sources.index(row.source) + 1}]", align="right")
    lines += [BLANK, *Listing([*FIELDS[:-1], numbered], rows).page(console.width).lines]
    for facts in (_causes(rows), [Fact(f"[{n}]", printable(text)) for n, text in enumerate(sources, start=1)]):
        lines += (BLANK, *facts_page(facts, console.width).lines) if facts else ()
    show(Page(lines), console)


def print_json(analysis: Analysis, rows: Sequence[PublishedRow], console: Console) -> None:
    """Print one object a figure."""
    listing: Listing[Any] = Listing(RAW, rows)
    values = {"schema": SCHEMA, "model": model_values(analysis), "published": listing.objects()}
    show(Verbatim(json_text(values, "published")), console)


def print_csv(analysis: Analysis, rows: Sequence[PublishedRow], console: Console) -> None:
    """Print one row a figure."""
    show(Verbatim(Listing(RAW, rows).csv()), console)


def print_markdown(analysis: Analysis, rows: Sequence[PublishedRow], console: Console) -> None:
    """Print a GitHub table and the causes of the differences."""
    causes = "".join(f"- **{escaped(fact.label)}** {escaped(fact.text)}\n" for fact in _causes(rows))
    table = Listing(FIELDS, rows).markdown() if rows else f"{NONE}\n"
    show(Verbatim(f"### {escaped(heading(analysis))}\n\n{table}{causes and chr(10)}{causes}"), console)


def print_html(analysis: Analysis, rows: Sequence[PublishedRow], console: Console) -> None:
    """Print a page of its own with the figures and the causes of the differences."""
    table = Listing(FIELDS, rows).html() if rows else f"<p>{text_of(NONE)}</p>"
    head = f"<b>{text_of(heading(analysis))}</b>"
    show(Verbatim(f"{division(head + table + facts_list(_causes(rows)))}\n"), console)


FORMATS = {
    "table": print_table,
    "json": print_json,
    "csv": print_csv,
    "markdown": print_markdown,
    "html": print_html,
}
"""The functions that print published figures, by the name of the format."""


def _causes(rows: Sequence[PublishedRow]) -> list[Fact]:
    """Return why figures differ, each cause once with all the figures it explains."""
    labels: dict[str, list[str]] = {}
    for row in rows:
        if row.cause:
            labels.setdefault(row.cause, []).append(f"{row.figure} {row.layer}".strip())
    return [Fact(printable(", ".join(dict.fromkeys(names))), printable(cause)) for cause, names in labels.items()]
