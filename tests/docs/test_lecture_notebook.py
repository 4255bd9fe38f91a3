"""The lecture in docs/examples was really run, and its cells still run."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).resolve().parents[2] / "docs" / "examples" / "lecture.ipynb"


def cells() -> list[dict[str, Any]]:
    found = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in found if cell["cell_type"] == "code"]


def source(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def test_its_ten_cells_were_run_in_their_order() -> None:
    assert [cell["execution_count"] for cell in cells()] == list(range(1, 11))
    for cell in cells():
        kinds = [output["output_type"] for output in cell["outputs"]]
        assert kinds and set(kinds) <= {"execute_result", "stream"}, source(cell)
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert not re.search(r"<script|/home/|/root/|/tmp/|/opt/", text)


def test_its_cells_run_and_print_what_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {}
    for cell in cells():
        if "to_pandas" in source(cell):
            try:
                import pandas  # noqa: F401
            except ModuleNotFoundError:
                continue
        # The last expression of a cell is what a notebook shows.
        *statements, last = ast.parse(source(cell)).body
        exec(compile(ast.Module(statements, []), "lecture.ipynb", "exec"), namespace)  # our own text
        assert isinstance(last, (ast.Expr, ast.For))
        shown = None
        if isinstance(last, ast.Expr):
            shown = eval(compile(ast.Expression(last.value), "lecture.ipynb", "eval"), namespace)  # our own text
        else:
            exec(compile(ast.Module([last], []), "lecture.ipynb", "exec"), namespace)  # our own text
        streams = ["".join(each["text"]) for each in cell["outputs"] if each["output_type"] == "stream"]
        assert capsys.readouterr().out == "".join(streams)
        for output in cell["outputs"]:
            if "text/html" in output.get("data", {}):
                assert shown._repr_html_().strip()
    assert (tmp_path / "tiny.svg").is_file()
