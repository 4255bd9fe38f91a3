"""Exit codes: what a check found times every format; and what the command line alone can do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from git_history import Command, params, spec

from cnnstat.analysis.figures import LIMITED_FIGURES
from cnnstat.check import latency, model_figures
from cnnstat.check.check_result import LayerShare
from cnnstat.check.formats import FORMATS
from cnnstat.check.limits import Limit
from cnnstat.check.model_figures import COMPUTED
from cnnstat.errors import CnnstatError
from cnnstat.ir.graph import Edge, Graph, Input, Node
from cnnstat.ir.work import Work
from cnnstat.ops.traced import Recorded
from cnnstat.sources.request import Request

MODEL = '[[check.models]]\nsource = "tiny.yaml"\n'
CASES = {
    "pass": (0, MODEL + "budgets.params.max = 1000\n"),
    "fail": (1, MODEL + "budgets.params.max = 10\n"),
    "warn": (0, MODEL + 'budgets.params = {max = 10, level = "warn"}\n'),
    "no baseline": (0, MODEL + 'budgets.params.max_increase = "1%"\n'),
    "required baseline": (3, "check.require_baseline = true\n" + MODEL + 'budgets.params.max_increase = "1%"\n'),
    "no figure": (3, MODEL + "budgets.receptive_field.min = 3\n"),
    "latency": (0, MODEL + 'budgets.latency.max = "5 ms"\n'),
    "strict latency": (1, MODEL + 'budgets.latency = {max = "5 ms", level = "fail"}\n'),
    "no device": (0, MODEL + 'budgets.latency = {max = "5 ms", device = "mps"}\n'),
    "strictly no device": (3, MODEL + 'budgets.latency = {max = "5 ms", device = "mps", level = "fail"}\n'),
    "broken and unverified": (1, MODEL + "budgets.params.max = 10\nbudgets.receptive_field.min = 3\n"),
    "bad configuration": (2, MODEL + "budgets.parms.max = 10\n"),
    "bad model": (2, '[[check.models]]\nsource = "broken.yaml"\nbudgets.params.max = 10\n'),
}


@pytest.fixture
def models(folder: Path) -> Path:
    flat = "input: [16]\nlayers:\n  - Linear(8)\n"
    (folder / "tiny.yaml").write_text(spec(8))
    (folder / "flat.yaml").write_text(flat)
    (folder / "broken.yaml").write_text("input: [3, 8, 8]\nlayers:\n  - Conv3d\n")
    return folder


@pytest.fixture(autouse=True)
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure 6 ms on every device but one that is not there."""

    def rounds(source: str, model: Any, limit: Limit, pair: Any) -> latency.Rounds:
        if limit.device == "mps":
            raise CnnstatError("no Apple GPU is available here")
        return latency.Rounds(after=(6_000_000,) * 8, before=None, device="Some CPU")

    monkeypatch.setattr(latency, "measure_rounds", rounds)
    monkeypatch.setattr(latency, "slow_layers", lambda *arguments: (LayerShare(name="stem", value=4_000_000),))


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("case", CASES)
def test_every_outcome_in_every_format(check: Command, models: Path, case: str, format: str) -> None:
    code, text = CASES[case]
    if case in ("no figure", "broken and unverified"):
        text = text.replace("tiny.yaml", "flat.yaml")
    (models / "cnnstat.toml").write_text(text)
    result = check("--format", format, "--output", f"{format}:out/report")
    assert result.code == code, result
    if code == 2:
        assert result.out == "" and result.err and not (models / "out").exists()
        return
    assert result.err == ""
    assert format == "table" or (models / "out" / "report").read_bytes().decode() == result.out
    assert check("--format", format).out == result.out  # byte-identical
    assert check("--format", format, "--exit-zero").code == 0


def uncounted_graph(source: str, request: Request) -> Graph:
    """Return a network with one call of unknown work."""
    shape = (1, 3, 8, 8)
    known = Recorded(function="known", outputs=(shape,), result_dtypes=("float32",), work=Work(1000))
    unknown = Recorded(function="custom", outputs=(shape,), result_dtypes=("float32",), work=Work(10), modelled=False)
    nodes = (Node("known", known, (Edge(0),)), Node("custom", unknown, (Edge(1),)))
    return Graph(name="net", inputs=(Input("input", shape, "float32"),), nodes=nodes, outputs=(Edge(2),))


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(("limit", "code"), [("2 k", 3), ("500", 1)])
def test_an_incomplete_count_never_passes(
    check: Command, folder: Path, monkeypatch: pytest.MonkeyPatch, format: str, limit: str, code: int
) -> None:
    monkeypatch.setattr(model_figures, "load_source", uncounted_graph)
    result = check("vgg16", "--max-macs", limit, "--format", format)
    assert result.code == code, result


def test_an_incomplete_count_is_enough_for_what_it_does_not_concern(
    check: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_figures, "load_source", uncounted_graph)
    assert check("vgg16", "--max-params", "10").code == 0
    (folder / "cnnstat.toml").write_text('[[check.models]]\nsource = "vgg16"\nbudgets.macs.min = 1000\n')
    assert check().code == 0  # at least 1010 is at least 1000
    assert check("--baseline", "b.json", "--update-baseline").code == 0
    result = check("--baseline", "b.json", "--max-increase", "macs=5%", "-f", "json")
    assert result.code == 3 and "custom" in result.out


def test_the_first_thing_people_try(check: Command, folder: Path) -> None:
    result = check("vgg16", "--max-params", "10M")
    assert result.code == 1
    assert "fc6" in result.out and "fc7" in result.out and "138.36 M" in result.out


def test_every_limit_has_an_option(check: Command, models: Path) -> None:
    flags = {f"--{figure.limit}": figure.key for figure in LIMITED_FIGURES if figure.key in COMPUTED}
    del flags["--min-receptive-field"]
    assert flags["--max-peak-memory"] == "peak_inference_bytes" and flags["--max-moved-memory"] == "moved_bytes"
    words = [word for flag in flags for word in (flag, "0")]
    report = json.loads(check("tiny.yaml", *words, "--min-receptive-field", "4", "-f", "json").out)
    verdicts = report["models"][0]["verdicts"]
    assert [v["metric"] for v in verdicts] == [*flags.values(), "receptive_field"] == [*COMPUTED]
    assert {v["status"] for v in verdicts} == {"fail"}
    figures = {v["metric"]: v["value"] for v in verdicts}
    # weight and bias begin at multiples of 64 bytes, behind a head of 66; then come their entries and names
    records = 64 * (-(-(4 * 8 * 27 + 66) // 64) + -(-(4 * 8 + 66) // 64))
    entries = 114 + 4 * 4 + len("stem.weight") + 114 + 4 * 1 + len("stem.bias") + 15 + len("stem")
    assert figures["file_size"] == 1385 + records + entries
    assert figures["params"] == params(8)
    assert figures["receptive_field"] == 3 and figures["activation_bytes"] == 2 * 8 * 16 * 16 * 4
    # the convolution reads the input and its weights and writes once; the ReLU reads that and writes as much
    assert figures["moved_bytes"] == 4 * (3 * 16 * 16 + params(8) + 3 * 8 * 16 * 16)
    (moved,) = (v for v in verdicts if v["metric"] == "moved_bytes")
    assert [layer["name"] for layer in moved["layers"]] == ["relu1", "stem"]


def test_a_limit_holds_up_to_its_last_number(check: Command, models: Path) -> None:
    assert check("tiny.yaml", "--max-params", str(params(8))).code == 0
    assert check("tiny.yaml", "--max-params", str(params(8) - 1)).code == 1
    assert check("tiny.yaml", "--min-receptive-field", "3").code == 0


def test_options_change_the_model(check: Command, models: Path) -> None:
    def totals(*arguments: str) -> Any:
        return json.loads(check("tiny.yaml", "--max-params", "1k", "-f", "json", *arguments).out)["models"][0]["totals"]

    one = totals()
    assert totals("--batch", "2")["macs"] == 2 * one["macs"]
    assert one["file_size"] - totals("--dtype", "float16")["file_size"] == 2 * params(8)
    assert totals("--input", "3x32x32")["macs"] == 4 * one["macs"]
    assert totals("--optimizer", "adam")["training_bytes"] == one["training_bytes"] + 2 * 4 * params(8)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "nothing to check"),
        (("vgg16",), "has no limit"),
        (("vgg61", "--max-params", "1M"), "did you mean vgg16?"),
        (("vgg16", "--max-params", "1 X"), "--max-params '1 X'"),
        (("vgg16", "--max-params", "2%"), "max_increase"),
        (("vgg16", "--max-parms", "2"), "--max-params"),
        (("vgg16", "--max-increase", "2%"), "METRIC=AMOUNT"),
        (("vgg16", "--max-increase", "parms=2%"), "did you mean params?"),
        (("vgg16", "--max-params", "1G", "--output", "report.xml"), "write FORMAT:PATH"),
        (("vgg16", "--max-params", "1G", "--output", "junitt:report.xml"), "did you mean junit?"),
        (("vgg16", "--max-params", "1G", "--output", "json:/proc/nothing/x"), "cannot be written"),
        (("vgg16", "--max-params", "1G", "--baseline-ref", "main"), "in no git repository"),
        (("vgg16", "--max-params", "1G", "--baseline", "a", "--baseline-ref", "b"), "exclude each other"),
        (("vgg16", "--max-params", "1G", "--update-baseline"), "needs a file"),
        (("vgg16", "--max-params", "1G", "--fail-on-baseline-growth"), "needs a file"),
    ],
)
def test_usage_errors_say_what_to_write(check: Command, folder: Path, arguments: tuple[str, ...], said: str) -> None:
    result = check(*arguments)
    assert result.code == 2 and said in result.err.replace("\n", " "), result


def test_several_outputs_at_once(check: Command, models: Path) -> None:
    outputs = [word for format in ("json", "junit", "sarif") for word in ("--output", f"{format}:out/{format}")]
    assert check("tiny.yaml", "--max-params", "1", *outputs).code == 1
    assert json.loads((models / "out" / "json").read_text())["exit_code"] == 1
    assert (models / "out" / "junit").read_text().startswith("<?xml")
    assert json.loads((models / "out" / "sarif").read_text())["version"] == "2.1.0"


def test_a_github_job_gets_a_summary(check: Command, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    summary = models / "summary.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    assert "::error file=tiny.yaml,line=3" in check("tiny.yaml", "--max-params", "1", "-f", "github").out
    assert summary.read_text().startswith("before\n") and "params" in summary.read_text()
    length = len(summary.read_text())
    check("tiny.yaml", "--max-params", "1")
    assert len(summary.read_text()) == length  # nobody asked for GitHub's format


@pytest.mark.parametrize(
    ("format", "unwanted"), [("json", ("torch", "numpy", "rich.table")), ("table", ("torch", "numpy"))]
)
def test_nothing_heavy_is_imported(models: Path, format: str, unwanted: tuple[str, ...]) -> None:
    code = (
        "import sys\nfrom cnnstat import cli\n"
        f"sys.argv = ['cnnstat', 'check', 'tiny.yaml', '--max-params', '1k', '-f', '{format}', '-o', 'junit:x']\n"
        "try:\n    cli.main()\nexcept SystemExit:\n    pass\n"
        f"print([m for m in {unwanted!r} if m in sys.modules])"
    )
    out = subprocess.check_output([sys.executable, "-c", code], text=True, env={**os.environ, "COLUMNS": "200"})
    assert out.splitlines()[-1] == "[]"


def test_an_ending_names_the_format_of_a_file_where_it_can_be_no_other(tmp_path):
    from cnnstat.check.formats import parse_outputs

    outputs = parse_outputs(["report.json", "report/x.md", "a.sarif", "junit:b.xml"])
    assert [output.format for output in outputs] == ["json", "markdown", "sarif", "junit"]
