"""The table of figures in docs/counting.md is the list of figures; `pytest --update-goldens` writes it."""

from pathlib import Path

import pytest

from cnnstat.analysis.figures import FIGURES

PAGE = Path(__file__).resolve().parents[2] / "docs" / "counting.md"


def test_the_table_of_figures_is_the_list(request: pytest.FixtureRequest) -> None:
    rows = [
        f"| `{figure.key}` | {figure.doc} | {f'`{figure.layer}`' if figure.layer else '–'} "
        f"| {f'`--{figure.limit}`' if figure.limit else '–'} |"
        for figure in FIGURES
        if not figure.is_part or figure.limit
    ]
    table = ["| key | what it is | column of layers | limit |", "|---|---|---|---|", *rows]
    text = PAGE.read_text(encoding="utf-8")
    start = text.index(table[0])
    if request.config.getoption("--update-goldens"):
        PAGE.write_text(text[:start] + "\n".join(table) + text[text.index("\n\n", start) :], encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8")[start:].startswith("\n".join(table) + "\n\n")
