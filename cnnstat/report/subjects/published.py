"""Published figures: what papers and slides print about a network, beside what is exact, and why they differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import attrgetter

from cnnstat.analysis.analysis import Analysis
from cnnstat.analysis.figures import CONVENTION
from cnnstat.analysis.published import PublishedRow, RatioRow
from cnnstat.numbers import ratio_text
from cnnstat.report.document import SCHEMA, Block, Document, Fact, Facts
from cnnstat.report.network_text import heading, input_text
from cnnstat.report.network_values import model_values
from cnnstat.report.subjects.analysis import charts
from cnnstat.report.table import Column, Table
from cnnstat.report.terminal_text import cut_start, printable

COLUMNS = (
    Column("figure", "figure", attrgetter("figure"), least=10),
    Column("layer", "layer", attrgetter("layer"), least=8, cut=cut_start, is_code=True),
    Column(
        "printed", "printed", attrgetter("printed"),
        lambda row: f"{row.printed} ({row.means})" if row.means else row.printed, "right",
    ),
    Column("exact", "exact", attrgetter("exact"), align="right"),
    Column("verdict", "verdict", attrgetter("verdict"), align="right"),
    Column("source", "source", attrgetter("source"), is_footnote=True),
)  # fmt: skip
"""The columns that people read."""

RAW = (
    *(column for column in COLUMNS if column.key != "verdict"),
    *(Column(key, key, attrgetter(key)) for key in ("means", "value", "agrees", "difference", "cause")),
)
"""The columns for programs; the difference is in percent."""

NONE = "no published figures are known for this network; a spec gives them under published:"


def document(analysis: Analysis, rows: Sequence[PublishedRow]) -> Document:
    """Return the published figures of a network, and the cause of each difference."""
    records = Table(RAW, rows)
    return Document(
        title=heading(analysis),
        subtitle="" if rows else NONE,
        blocks=lambda: _blocks(rows),
        data=lambda: {"schema": SCHEMA, "model": model_values(analysis), "published": records.objects()},
        listed=("published",),
        records=records,
        caption=f"{input_text(analysis)}. {CONVENTION}",
        charts=lambda: charts(analysis),
    )


RATIOS = (
    Column("figure", "figure", attrgetter("figure")),
    Column("network", "network", attrgetter("network"), is_code=True),
    Column("base", "to", attrgetter("base"), is_code=True),
    Column("printed", "printed", attrgetter("printed"), align="right"),
    Column(
        "of_printed", "of printed figures", attrgetter("of_printed"), lambda row: ratio_text(row.of_printed), "right"
    ),
    Column("exact", "exact", attrgetter("exact"), lambda row: ratio_text(row.exact), "right"),
    Column("source", "source", attrgetter("source"), is_footnote=True),
)
"""The columns of published ratios."""

NO_RATIOS = "no published ratios of these networks are known; a spec gives them under published: with ratio_to:"


def ratios_document(analyses: Sequence[Analysis], rows: Sequence[RatioRow]) -> Document:
    """Return the published ratios between networks, and the cause of each difference."""
    records = Table((*RATIOS, Column("cause", "cause", attrgetter("cause"))), rows)
    return Document(
        title="published ratios",
        subtitle="" if rows else NO_RATIOS,
        blocks=lambda: _ratio_blocks(rows),
        data=lambda: {
            "schema": SCHEMA, "models": list(map(model_values, analyses)), "published_ratios": records.objects()
        },
        listed=("published_ratios",),
        records=records,
        caption=CONVENTION,
    )  # fmt: skip


def _ratio_blocks(rows: Sequence[RatioRow]) -> Iterator[Block]:
    if rows:
        yield Table(RATIOS, rows)
        if causes := [Fact(printable(row.figure), printable(row.cause)) for row in rows if row.cause]:
            yield Facts(causes)


def _blocks(rows: Sequence[PublishedRow]) -> Iterator[Block]:
    if rows:
        yield Table(COLUMNS, rows)
    causes = _causes(rows)
    if causes:
        yield Facts(causes)


def _causes(rows: Sequence[PublishedRow]) -> list[Fact]:
    """Return why figures differ, each cause once with all the figures it explains."""
    labels: dict[str, list[str]] = {}
    for row in rows:
        if row.cause:
            labels.setdefault(row.cause, []).append(f"{row.figure} {row.layer}".strip())
    return [Fact(printable(", ".join(dict.fromkeys(names))), printable(cause)) for cause, names in labels.items()]
