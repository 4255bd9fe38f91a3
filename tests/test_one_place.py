"""What is added in one file and one line is there for every command: a kind of source, a figure, a format, a limit."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import cnnstat
from cnnstat import cli
from cnnstat.analysis.figures import FIGURES, LIMITED_FIGURES
from cnnstat.check.limits import METRICS
from cnnstat.ir.graph import Graph
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


# A copy of the package with a figure or a format more -----------------------------------------------------------------

ROOT = Path(cnnstat.__file__).resolve().parent.parent
RUN_ALL = """
import contextlib, io, json, sys
from cnnstat import cli

printed = []
for line in json.loads(sys.argv[1]):
    sys.argv = ["cnnstat", *line]
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        cli.main()
    printed.append(out.getvalue())
print(json.dumps(printed))
"""


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """Return a folder with a copy of the package to change."""
    shutil.copytree(ROOT / "cnnstat", tmp_path / "cnnstat", ignore=shutil.ignore_patterns("__pycache__"))
    if (ROOT / "specs").is_dir():  # in a wheel they are in the package
        shutil.copytree(ROOT / "specs", tmp_path / "specs")
    return tmp_path


def changed(path: Path, *replacements: tuple[str, str]) -> None:
    text = path.read_text(encoding="utf-8")
    for old, new in replacements:
        assert text.count(old) == 1
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")


def outputs(folder: Path, *lines: str, code: str = RUN_ALL) -> list[str]:
    """Return what commands print with the package in a folder, in one process."""
    arguments = json.dumps([line.split() for line in lines])
    environment = {**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200", "PYTHONIOENCODING": "utf-8"}
    result = subprocess.run(
        [sys.executable, "-c", code, arguments], cwd=folder, env=environment, capture_output=True, encoding="utf-8"
    )
    assert result.returncode == 0, result.stderr
    printed: list[str] = json.loads(result.stdout.splitlines()[-1])
    return printed


def test_a_figure_is_what_computes_it_and_an_entry(copied: Path) -> None:
    with (copied / "cnnstat" / "analysis" / "analysis.py").open("a", encoding="utf-8") as file:
        file.write(
            "Layer.reuse = Totals.reuse = property(lambda each: each.macs / each.params if each.params else 0)\n"
        )
    entry = """FIGURES = (
    Figure(
        key="reuse", title="MACs/weight", name="weight reuse", doc="MACs for each parameter", unit=Unit.RATIO,
        layer="reuse", total="reuse", adds_up=False, ratio_of=("macs", "params"), limit="max-reuse", importance=8,
    ),
"""
    changed(copied / "cnnstat" / "analysis" / "figures.py", ("FIGURES = (\n", entry))
    (copied / "cnnstat.toml").write_text(
        '[check]\nbaseline = "b.json"\n[[check.models]]\nsource = "net.yaml"\n'
        'budgets.reuse = {max = 30.5, max_increase = "2%"}\n'
    )
    (copied / "net.yaml").write_text(
        "input: [1, 8, 8]\nlayers: [Conv2d(2, 3)]\npublished: [{figure: reuse, value: 32.4, source: a paper}]\n"
    )
    table, csv, totals, compared, published, options, broken, _, kept, listed, swept = outputs(
        copied,
        "analyze net.yaml", "analyze net.yaml --columns name,reuse --format csv", "analyze net.yaml --format json",
        "compare net.yaml lenet5", "analyze net.yaml --published", "check --help",
        "check net.yaml --max-reuse 32 --max-params 1k", "check --update-baseline", "check --format csv",
        "compare net.yaml lenet5 --columns model,reuse,reuse_ratio --format csv",
        "sweep net.yaml --batch 1,2 --columns source,reuse",
    )  # fmt: skip
    # 36 places × 18 products, 18 weights and 2 biases
    assert "MACs/weight" in table and "32.40" in table and csv.split() == ["name,reuse", "conv1,32.4"]
    assert json.loads(totals)["totals"]["reuse"] == json.loads(totals)["layers"][0]["reuse"] == 32.4
    assert re.search(r"weight reuse +32.40 +6.75 +0.208×", compared) and "reuse" in published and "agrees" in published
    assert "--max-reuse" in options and "MACs for each parameter." in options
    assert "reuse 32.40 > 32 by 0.40 (+1.2 %); heaviest layer conv1" in " ".join(broken.split())
    assert [line.split(",")[1:4] + line.split(",")[6:8] for line in kept.splitlines()[1:]] == [
        ["reuse", "max", "fail", "32.4", "32.4"], ["reuse", "max_increase", "pass", "32.4", "32.4"]
    ]  # fmt: skip
    assert listed.splitlines()[1].startswith("net,32.4") and "32.4" in swept
    code = "from cnnstat.testing import assert_budget\nassert_budget('net.yaml', reuse=32.4)\nprint('[]')"
    assert outputs(copied, code=code) == []


def test_a_format_is_a_file_and_a_word(copied: Path) -> None:
    text = """
from cnnstat.report.table import Table

def render(document):
    lines = [f"= {document.title or document.caption}"]
    for block in document.blocks():
        if isinstance(block, Table):
            lines += ["|===", " ".join(f"|{column.title}" for column in block.page_columns)]
            lines += [" ".join(f"|{column.cell(row)}" for column in block.page_columns) for row in block.all_rows]
            lines.append("|===")
    return "\\n".join(lines) + "\\n"
"""
    (copied / "cnnstat" / "report" / "formats" / "asciidoc.py").write_text(text, encoding="utf-8")
    changed(copied / "cnnstat" / "choices.py", ('"html", "latex"]', '"html", "latex", "asciidoc"]'))
    lines = [
        "analyze lenet5 --format", "compare lenet5 alexnet --format", "list --format", "explain lenet5 C1 --format",
        "check lenet5 --max-params 1M --format", "ops Conv2d --format", "sweep lenet5 --batch 1,2 --format",
    ]  # fmt: skip
    if find_spec("torch"):
        lines += ["verify lenet5 --no-run --format", "profile lenet5 --device cpu --samples 2 --format"]
    printed = outputs(copied, *(f"{line} asciidoc" for line in lines))
    for line, output in zip(lines, printed):
        assert output.startswith("= ") and output.count("|===") >= 2, line
    *_, helped, _, nothing = outputs(
        copied, "analyze --help", "check lenet5 --max-params 1M --output a.asciidoc", "analyze lenet5 -o b.asciidoc"
    )
    assert not nothing and "asciidoc" in helped
    assert all((copied / name).read_text(encoding="utf-8").startswith("= ") for name in ("a.asciidoc", "b.asciidoc"))


def test_every_limit_comes_from_its_figure() -> None:
    limited = {figure.key for figure in FIGURES if figure.limit}
    assert limited == {figure.key for figure in LIMITED_FIGURES} == set(METRICS)
    options = {name for option in cli.load_command("check").params for name in option.opts}
    assert {f"--{figure.limit}" for figure in LIMITED_FIGURES} <= options
