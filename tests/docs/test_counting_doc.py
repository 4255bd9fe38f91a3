"""The table of figures in docs/counting.md is the list of figures."""

from pathlib import Path

from cnnstat.analysis.figures import FIGURES

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "counting.md").read_text(encoding="utf-8")


def test_every_figure_is_in_the_table_of_figures() -> None:
    rows = [
        f"| `{figure.key}` | {figure.doc} | {f'`{figure.layer}`' if figure.layer else '–'} "
        f"| {f'`--{figure.limit}`' if figure.limit else '–'} |"
        for figure in FIGURES
        if not figure.is_part or figure.limit
    ]
    table = ["| key | what it is | column of layers | limit |", "|---|---|---|---|", *rows]
    assert "\n".join(table) in TEXT
