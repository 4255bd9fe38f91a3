"""What is added in one file and one line is there for every command: a kind of source, a format, a limit."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from rich.console import Console

import cnnstat
from cnnstat import cli, report
from cnnstat.analysis.figures import FIGURES, LIMITED_FIGURES
from cnnstat.check.limits import METRICS
from cnnstat.ir.graph import Graph
from cnnstat.report import document as documents
from cnnstat.sources import load
from cnnstat.sources.model import NamedReference
from cnnstat.spec.spec_graph import parse_spec
from cnnstat.testing import assert_budget

Run = Callable[..., Any]


class SquareReference(NamedReference):
    """A convolution for each text of hashes."""

    @classmethod
    def matches(cls, text: str) -> bool:
        return set(text) == {"#"}

    def _load(self) -> Graph:
        return parse_spec(f"input: [3, 8, 8]\nlayers: [Conv2d({len(self.source)}, 3)]\n", self.request)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str, code: int = 0) -> str:
        monkeypatch.setattr(sys, "argv", ["cnnstat", *arguments])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        printed = capfd.readouterr()
        assert int(stop.value.code or 0) == code, printed.err
        return printed.out

    return call


def test_a_kind_of_source_is_a_class_and_a_line(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    module = ModuleType("cnnstat.sources.squares")
    module.SquareReference = SquareReference  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(load, "KINDS", (*load.KINDS[:1], "squares.SquareReference", *load.KINDS[1:]))
    assert cnnstat.analyze("##").totals.params == 2 * (27 + 1)
    assert_budget("##", params=56)
    assert "84" in run("analyze", "###", "--format", "csv")
    assert "1.5" in run("compare", "##", "###", "--format", "csv")
    assert "Conv2d" in run("explain", "##", "conv")
    assert "Conv2d(4, 3)" in run("export", "####", "--to", "yaml")
    assert "112 > 60" in run("check", "####", "--max-params", "60", "--format", "github", code=1)
    assert cnnstat.analyze("##", batch=4).totals.macs == 4 * cnnstat.analyze("##").totals.macs == 4 * 2 * 27 * 36


def test_a_format_is_a_function_and_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("cnnstat.report.formats.titles")
    module.render = lambda document: f"{document.title} has {len(document.main_table.rows)} rows"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(documents.FORMATS, "titles", module.__name__)
    analysis = cnnstat.analyze("lenet5")
    for result in (analysis, cnnstat.compare("lenet5", "alexnet"), cnnstat.explain("lenet5", "C1")):
        out = io.StringIO()
        report.write(result._document(), "titles", Console(file=out, width=200))
        assert out.getvalue().strip().endswith("rows")


def test_every_limit_comes_from_its_figure() -> None:
    limited = {figure.key for figure in FIGURES if figure.limit}
    assert limited == {figure.key for figure in LIMITED_FIGURES} == set(METRICS)
    options = {name for option in cli.load_command("check").params for name in option.opts}
    assert {f"--{figure.limit}" for figure in LIMITED_FIGURES} <= options
