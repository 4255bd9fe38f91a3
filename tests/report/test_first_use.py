"""What a newcomer meets first: operations at 80 columns, legends, hints, ops by a part of their name, help."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from networks import written

from cnnstat import cli, ops, report
from cnnstat.analysis.analysis import analyze_graph
from cnnstat.cli import COMMANDS, EXAMPLES
from cnnstat.ir.op import Op
from cnnstat.report.subjects import analysis as subject
from cnnstat.report.subjects.ops import document as ops_document
from cnnstat.sources.load import load_source
from cnnstat.sources.request import Request


def op(kind: str, *arguments: Any, **keywords: Any) -> Op:
    return ops.lookup(kind)(*arguments, **keywords)


def table(name: str, width: int = 80, **view: Any) -> str:
    analysis = analyze_graph(load_source(name, Request()))
    return str(written(report.write, subject.document(analysis, subject.AnalysisView(**view)), "table", width=width))


@pytest.mark.parametrize(
    ("full", "compact"),
    [
        (op("Conv2d", 64, 3, stride=2, padding=1, groups=64, bias=False), "Conv2d 3×3 s2 p1 g64"),
        (op("Conv2d", 64, 1), "Conv2d 1×1"),
        (op("Conv2d", 64, (1, 7), padding=(0, 3)), "Conv2d 1×7 p0×3"),
        (op("Conv2d", 64, 3, padding="same", dilation=2), "Conv2d 3×3 psame d2"),
        (op("Conv2d", 64, 3, padding=(1, 1)), "Conv2d 3×3 p1"),
        (op("Conv1d", 64, 80, stride=4), "Conv1d 80 s4"),
        (op("Conv3d", 64, 3), "Conv3d 3×3×3"),
        (op("ConvTranspose2d", 64, 3, stride=2, padding=1, output_padding=1), "ConvTranspose2d 3×3 s2 p1 o1"),
        (op("MaxPool2d", 2), "MaxPool2d 2×2 s2"),
        (op("MaxPool2d", 3, stride=1), "MaxPool2d 3×3"),
        (op("MaxPool2d", 3, stride=2, ceil_mode=True), "MaxPool2d 3×3 s2 ceil"),
        (op("AvgPool2d", 2), "AvgPool2d 2×2 s2"),
        (op("AdaptiveAvgPool2d", 1), "AdaptiveAvgPool2d(1)"),
        (op("ReLU", inplace=True), "ReLU"),
        (op("Linear", 10, bias=False), "Linear(10)"),
        (op("BatchNorm2d", eps=0.001), "BatchNorm2d"),
        (op("LeakyReLU", 0.2, inplace=True), "LeakyReLU(negative_slope=0.2)"),
    ],
)
def test_compact_operations_say_kernel_stride_padding_and_groups_first(full: Op, compact: str) -> None:
    assert full.compact == compact


@pytest.mark.parametrize("name", ["vgg16", "resnet50", "unet", "alexnet_2012", "ssd300"])
def test_at_80_columns_every_convolution_shows_its_stride_and_padding(name: str) -> None:
    text = table(name)
    graph = load_source(name, Request())
    shown = [line for line in text.splitlines() if " Conv2d " in line]
    assert len(shown) == sum(node.op.kind == "Conv2d" for node in graph.nodes)
    assert max(map(len, text.splitlines())) <= 80
    for line, node in zip(shown, (node for node in graph.nodes if node.op.kind == "Conv2d")):
        assert f" {node.op.compact} " in line


def test_abbreviations_have_a_legend_and_only_those_that_occur() -> None:
    assert "\ns stride, p padding\n" in table("alexnet")
    assert "\ns stride, p padding, g groups\n" in table("alexnet_2012")
    assert "stride, p padding" not in table("alexnet", width=200)


def test_signs_in_the_column_of_receptive_fields_have_a_legend() -> None:
    text = " ".join(table("alexnet").split())
    assert "whole: every output depends on the whole input" in text
    assert "start: input position where the field of the first output begins" in text
    assert "?" not in text and " –: " not in text


def test_a_long_table_says_how_it_is_folded() -> None:
    assert "\n175 rows: --depth 2 folds them into 23, --sort macs --top 20 shows the largest\n" in table("resnet50")
    assert "rows:" not in table("resnet50", depth=2) + table("resnet50", top=5) + table("vgg16")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("pool", {"MaxPool2d", "AvgPool2d", "AdaptiveAvgPool2d", "GlobalAvgPool"}),
        ("SoftPlus", {"Softplus"}),
        ("softplus", {"Softplus"}),
        ("leaky-relu", {"LeakyReLU"}),
        ("ReLU", {"ReLU"}),
        ("bn", {"BatchNorm2d"}),
        ("dense", {"Linear"}),
        ("conv", {"Conv1d", "Conv2d", "ConvTranspose2d"}),
    ],
)
def test_ops_are_found_by_a_part_of_their_name(text: str, found: set[str]) -> None:
    assert found <= set(ops.search(text))
    assert len(found) > 1 or set(ops.search(text)) == found


def test_part_of_a_name_lists_the_ops_that_have_it() -> None:
    text = written(report.write, ops_document("pool"), "table", width=80)
    assert "MaxPool2d" in text and "GlobalAvgPool" in text and "Conv2d" not in text


def test_several_activations_share_a_plot() -> None:
    text = written(report.write, ops_document("sigmoid", "tanh", "ReLU", "leakyrelu"), "table", width=80)
    assert "● Sigmoid  ○ Tanh  ▲ ReLU  △ LeakyReLU" in text
    assert all(text.count(mark) > 5 for mark in "●○▲△")
    assert max(map(len, text.splitlines())) <= 80
    assert "▲" not in written(report.write, ops_document("Conv2d", "ReLU"), "table", width=80)


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_titles_of_the_zoo_have_the_room_that_other_columns_leave(width: int) -> None:
    from cnnstat.report.subjects.zoo import document
    from cnnstat.sources import zoo

    analyses = [analyze_graph(load_source(name, Request())) for name in zoo.names()]
    lines = written(report.write, document(analyses), "table", width=width).splitlines()
    assert max(map(len, lines)) <= width
    if width >= 80:
        assert any("VGG-16 with batch normalization" in line for line in lines)


Run = Callable[..., str]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setenv("COLUMNS", "80")

    def call(*arguments: str, code: int = 0) -> str:
        monkeypatch.setattr(sys, "argv", ["cnnstat", *arguments])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        assert (stop.value.code or 0) == code
        out, err = capsys.readouterr()
        return out if code == 0 else err

    return call


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("x.json", '{\n  "schema": "cnnstat/1"'),
        ("x.csv", "name,op,"),
        ("x.md", "### lenet5"),
        ("x.html", "<!doctype html>"),
        ("x.tex", "% \\usepackage{booktabs}"),
        ("x.txt", "lenet5: LeNet-5"),
        ("x.out", "lenet5: LeNet-5"),
    ],
)
def test_the_format_of_a_file_is_that_of_its_ending(run: Run, tmp_path: Path, name: str, start: str) -> None:
    run("analyze", "lenet5", "-o", str(tmp_path / name))
    assert (tmp_path / name).read_text(encoding="utf-8").startswith(start)


def test_a_format_that_is_named_comes_before_the_ending(run: Run, tmp_path: Path) -> None:
    run("analyze", "lenet5", "-f", "csv", "-o", str(tmp_path / "x.txt"))
    assert (tmp_path / "x.txt").read_text(encoding="utf-8").startswith("name,op,")


@pytest.mark.parametrize("command", [["analyze", "lenet5"], ["compare", "lenet5"], ["list"], ["ops"]])
def test_an_ending_that_would_not_hold_what_it_promises_is_refused(
    run: Run, tmp_path: Path, command: list[str]
) -> None:
    path = tmp_path / "x.pdf"
    assert ".pdf is not written here; end it in .txt, .text, .json" in run(*command, "-o", str(path), code=2)
    assert not path.exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_help_ends_with_examples_and_names_no_python_types(run: Run, command: str) -> None:
    text = run(command, "--help")
    assert all(f"cnnstat {example}" in " ".join(text.split()) for example in EXAMPLES[command])
    assert not re.search(r"<(bool|str|int|path)>", text + run("--help"))


CHEAP = [line for name, lines in EXAMPLES.items() if name not in ("profile", "verify") for line in lines]


@pytest.mark.parametrize("line", [line for line in CHEAP if "torchvision" not in line and "config" not in line])
def test_the_examples_of_the_help_work(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = shlex.split(line.partition(" > ")[0])
    if "vgg16.py" in arguments:
        pytest.importorskip("torch")
    if "vgg16.pdf" in arguments:
        pytest.importorskip("fpdf", reason="the extra draw is not installed")
    run(*arguments)


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("cnnstat explain alexnet co", ["conv1", "conv2", "conv3", "conv4", "conv5"]),
        ("cnnstat analyze vgg16 --dtype bf", ["bfloat16"]),
        ("cnnstat analyze vgg16 --columns name,par", ["name,params", "name,params_share"]),
        ("cnnstat analyze vgg16 --sort macs_", ["macs_share"]),
        ("cnnstat analyze vgg16 --format mark", ["markdown"]),
        ("cnnstat ops MaxPool2", ["MaxPool2d"]),
    ],
)
def test_shells_complete_layers_columns_dtypes_and_formats(line: str, wanted: list[str]) -> None:
    words = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1), "_CNNSTAT_COMPLETE": "complete_bash"}
    done = subprocess.run(
        [sys.executable, "-m", "cnnstat"], env={**os.environ, **words}, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == wanted
