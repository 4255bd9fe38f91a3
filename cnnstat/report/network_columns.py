"""Network columns: figures of networks a row each, in the units of their heads, as tables of papers have them."""

from __future__ import annotations

from collections.abc import Sequence

from cnnstat.analysis.comparison import Comparison
from cnnstat.analysis.figures import TOTAL_FIGURES, Figure
from cnnstat.errors import CnnstatError
from cnnstat.numbers import common_unit, or_dash
from cnnstat.report.network_text import shapes_text, size_text
from cnnstat.report.table import Column, Table, check_column

RATIO = "_ratio"
"""How the key of a ratio to the first network ends."""

KEYS = (
    "model", "input", *(figure.key for figure in TOTAL_FIGURES), "receptive_field",
    *(f"{figure.key}{RATIO}" for figure in TOTAL_FIGURES),
)  # fmt: skip
"""The columns that a table of networks may have; measured times come to them."""


def network_table(comparison: Comparison, keys: Sequence[str], measured: Sequence[Column] = ()) -> Table:
    """Return a row for each network with the columns of some keys; measured: columns whose rows are profiles.

    Raises CnnstatError where there is no such column, or none at all.
    """
    known = (*KEYS, *(column.key for column in measured))
    if not keys:
        raise CnnstatError(f"--columns is empty; choose from {', '.join(known)}")
    for key in keys:
        check_column(key, known)
    columns = {column.key: _of_profile(column, comparison) for column in measured} | {
        column.key: column for column in _columns(comparison)
    }
    rows = range(len(comparison.analyses))
    return Table([columns[key] for key in keys], rows, is_chosen=True, has_plain_numbers=True)


def _columns(comparison: Comparison) -> list[Column]:
    inputs = [[each.shape for each in analysis.graph.inputs] for analysis in comparison.analyses]
    fields = [analysis.totals.receptive_field for analysis in comparison.analyses]
    return [
        Column("model", "network", lambda i: comparison.headings[i], is_code=True),
        Column("input", "input", lambda i: inputs[i], lambda i: shapes_text(inputs[i]), "right"),
        Column(
            "receptive_field", "receptive field", lambda i: None if fields[i] is None else fields[i].size,
            lambda i: or_dash(fields[i], size_text), "right",
        ),
        *(_of_figure(figure, comparison) for figure in TOTAL_FIGURES),
        *(_of_ratio(figure, comparison) for figure in TOTAL_FIGURES),
    ]  # fmt: skip


def _of_figure(figure: Figure, comparison: Comparison) -> Column:
    values = [values[figure.key] for values in comparison.figures]
    unit = common_unit(values, figure.unit)
    title = f"{figure.title} ({unit.name})" if unit.name else figure.title
    return Column(figure.key, title, lambda i: values[i], lambda i: unit.text(values[i]), "right", doc=figure.doc)


def _of_ratio(figure: Figure, comparison: Comparison) -> Column:
    ratios = [ratios[figure.key] for ratios in comparison.ratios]
    # As many decimals in all rows, so that points stand below each other; two digits of the smallest.
    least = min((ratio for ratio in ratios if ratio), default=1.0)
    decimals = next((decimals for decimals in (2, 3) if least * 10**decimals >= 10), 4)

    def text(i: int) -> str:
        return or_dash(ratios[i], f"{{:.{decimals}f}}".format)

    doc = f"{figure.title}, divided by that of the first network"
    return Column(f"{figure.key}{RATIO}", f"{figure.title} ratio", lambda i: ratios[i], text, "right", doc=doc)


def _of_profile(column: Column, comparison: Comparison) -> Column:
    profiles = comparison.profiles
    return column._replace(
        value=lambda i: column.value(profiles[i]), text=lambda i: column.cell(profiles[i]), align="right"
    )
