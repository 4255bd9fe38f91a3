"""`cnnstat verify` as a user meets it: formats, widths, errors and exit codes."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Callable
from typing import NamedTuple

import pytest

torch = pytest.importorskip("torch")

from cnnstat import cli  # noqa: E402
from cnnstat.ops import conv  # noqa: E402

SPEC = """
input: [3, 24, 24]
let: {width: 4}
layers:
  - stem: Conv2d(width, 3, padding=1)
  - norm: BatchNorm2d
  - ReLU
  - MaxPool2d(2)
  - head: Conv2d(width, 3)
"""


class Result(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setenv("COLUMNS", "80")

    def call(*arguments: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["cnnstat", "verify", *arguments])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out, err = capfd.readouterr()
        return Result(int(stop.value.code or 0), out, err)

    return call


@pytest.fixture
def spec(tmp_path) -> str:
    path = tmp_path / "net.yaml"
    path.write_text(SPEC)
    return str(path)


@pytest.fixture
def model(tmp_path) -> str:
    path = tmp_path / "verified_net.py"
    path.write_text(
        "import torch\n"
        "class Net(torch.nn.Sequential):\n"
        "    def __init__(self, width=4):\n"
        "        super().__init__(torch.nn.Conv2d(3, width, 3), torch.nn.BatchNorm2d(width))\n"
        "def broken():\n"
        "    return torch.nn.Linear(3, 4)\n"
    )
    return f"{path}:Net"


@pytest.mark.parametrize("width", [80, 120, 200])
def test_table_fits_and_says_everything(run, spec, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    result = run(spec)
    assert (result.code, result.err) == (0, "")
    assert max(map(len, result.out.splitlines())) <= width
    for said in ("stem", "62,208", "FlopCounter", "verified", "receptive field of", "parameters"):
        assert said in result.out
    assert "ReLU" not in result.out or width > 80
    assert "2 layers without multiply-accumulates" in re.sub(r"\s+", " ", result.out)


def test_all_shows_layers_without_work(run, spec):
    assert "pool1" in run(spec, "--all").out
    assert "pool1" not in run(spec).out.partition("receptive field of")[0]


def test_a_difference_without_a_reason_exits_with_3(run, spec, model, monkeypatch):
    right = conv.Conv2d.macs
    monkeypatch.setattr(conv.Conv2d, "macs", lambda self, i, o: right(self, i, o) + 1)
    for source, *options in ((spec,), (model, "--input", "3x16x16")):
        result = run(source, *options)
        assert (result.code, result.err) == (3, "")
        assert "not verified" in result.out and "unexplained" in result.out


def test_json(run, spec):
    pytest.importorskip("fvcore")
    result = run(spec, "--format", "json")
    found = json.loads(result.out)
    assert set(found) == {
        "schema", "model", "verified", "verdicts", "layers", "totals", "receptive_fields", "witnesses", "notes",
    }  # fmt: skip
    assert found["verified"] is True
    assert found["verdicts"] == {"agrees": 4, "explained": 1, "no witness": 0, "unexplained": 0}
    stem, norm, *_ = found["layers"]
    assert stem["macs"] == stem["flop_counter"]["macs"] == stem["fvcore"]["macs"] == 62208
    assert norm["fvcore"] == {
        "macs": 4608,
        "difference": 4608,
        "verdict": "explained",
        "reasons": ["fvcore adds batch norm: 2 for each input element"],
    }
    assert stem["output_shapes"] == stem["made_shapes"] == [[1, 4, 24, 24]]
    assert found["receptive_fields"][-1]["field"] == found["receptive_fields"][-1]["gradient"]
    assert [w["heard"] for w in found["witnesses"]] == [True, True, True]


def test_csv_has_every_layer(run, spec):
    rows = list(csv.DictReader(io.StringIO(run(spec, "--format", "csv").out)))
    assert len(rows) == 5
    assert rows[0]["macs"] == rows[0]["flop_counter_macs"] == "62208"
    assert {row["verdict"] for row in rows} <= {"agrees", "explained"}


def test_markdown_is_a_table(run, spec):
    out = run(spec, "--format", "markdown").out
    assert "| `stem` |" in out and "- **verified**" in out


def test_output_file(run, spec, tmp_path):
    path = tmp_path / "out.json"
    result = run(spec, "-f", "json", "-o", str(path))
    assert (result.code, result.out) == (0, "")
    assert json.loads(path.read_text())["verified"] is True


def test_options_of_the_source(run, spec, model):
    found = json.loads(run(spec, "--variable", "width=8", "--batch", "2", "--input", "3x32x32", "-f", "json").out)
    assert found["model"]["inputs"] == [[2, 3, 32, 32]]
    assert found["layers"][0]["output_shapes"] == [[2, 8, 32, 32]]
    found = json.loads(run(model, "--argument", "width=6", "--input", "3x16x16", "--mode", "train", "-f", "json").out)
    assert found["layers"][0]["output_shapes"] == [[1, 6, 14, 14]]
    found = json.loads(run(model, "--input", "3x16x16", "--dtype", "float16", "--no-run", "-f", "json").out)
    assert (found["model"]["dtype"], found["verified"]) == ("float16", True)


def test_no_run_says_what_it_leaves_out(run, spec):
    result = run(spec, "--no-run")
    assert result.code == 0
    said = re.sub(r"\s+", " ", result.out)
    assert "no reference: it needs a real forward pass: --no-run" in said
    assert "on shapes alone, by PyTorch's meta kernels" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["vgg61"], "did you mean vgg16?"),
        (["vgg16", "--format", "jsn"], "jsn"),
        (["vgg16", "--input", "3x"], "write sizes as in 3x224x224"),
        (["vgg16", "--variable", "clases=10"], "classes"),
        (["vgg16", "--argument", "x=1"], "a spec takes --variable"),
        (["vgg16", "--dtype", "floatt16"], "float16"),
        (["vgg16", "--batch", "0"], "--batch must be at least 1"),
        (["nothing.py:Net"], "there is no such file"),
        (["vgg16", "--no-rn"], "--no-run"),
        (["vgg16", "--mode", "evil"], "eval"),
    ],
)
def test_slips_are_one_line_and_exit_with_2(run, arguments, said):
    result = run(*arguments)
    assert (result.code, result.out) == (2, "")
    assert said in result.err
    assert len(result.err.strip().splitlines()) == 1


def test_a_model_that_does_not_run(run, model):
    result = run(model.replace(":Net", ":broken"), "--input", "1x5")
    assert result.code == 2
    assert "does not run on this input" in result.err


@pytest.mark.parametrize("format", ["table", "markdown", "csv", "json", "html", "latex"])
def test_hostile_names_stay_text(format):
    from rich.console import Console

    from cnnstat import report, verify
    from cnnstat.ir.graph import Edge, Graph, Input, Node
    from cnnstat.report.subjects.verification import document

    name = "a|b\x1b[31m\n`<b>"
    node = Node(name, conv.Conv2d(2, 3), (Edge(0),))
    graph = Graph(name=name, inputs=(Input("x", (1, 1, 8, 8), "float32"),), nodes=(node,), outputs=(Edge(1),))
    out = io.StringIO()
    report.write(document(verify(graph), everything=True), format, Console(file=out, width=100))
    assert "\x1b" not in out.getvalue() or format == "csv"
    if format in ("table", "markdown"):
        assert out.getvalue().count("\n`<b>") == 0
