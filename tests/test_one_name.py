"""One thing has one name in options, configurations, JSON and Python; earlier names are still read."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cnnstat
from cnnstat import cli

Run = Callable[..., Any]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: object, code: int = 0) -> Any:
        monkeypatch.setattr(sys, "argv", ["cnnstat", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        assert int(stop.value.code or 0) == code
        return capfd.readouterr()

    return call


SPEC = "input: [3, 8, 8]\nlet: {width: 4}\nlayers:\n  - Conv2d(width, 3)\n"


@pytest.mark.parametrize(
    ("option", "said"), [("--variable", ""), ("--set", "cnnstat: --set is called --variable now\n")]
)
def test_variables_of_a_spec(run: Run, tmp_path: Path, option: str, said: str) -> None:
    path = tmp_path / "net.yaml"
    path.write_text(SPEC)
    printed = run("analyze", path, option, "width=10", "--format", "json")
    assert json.loads(printed.out)["totals"]["params"] == 280 and printed.err == said
    assert cnnstat.analyze(path, variables={"width": 10}).totals.params == 280


@pytest.mark.parametrize(
    ("option", "said"), [("--argument", ""), ("--arg", "cnnstat: --arg is called --argument now\n")]
)
def test_arguments_of_a_model(run: Run, tmp_path: Path, option: str, said: str) -> None:
    pytest.importorskip("torch")
    path = tmp_path / "net.py"
    path.write_text("from torch import nn\n\n\ndef net(width):\n    return nn.Conv2d(3, width, 3)\n")
    printed = run("analyze", f"{path}:net", option, "width=10", "--input", "3x8x8", "--format", "json")
    assert json.loads(printed.out)["totals"]["params"] == 280 and printed.err == said


@pytest.mark.parametrize("key", ["variables", "set"])
def test_variables_in_a_configuration(run: Run, tmp_path: Path, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.yaml").write_text(SPEC)
    text = f'[[check.models]]\nsource = "net.yaml"\n{key} = {{width = 10}}\nbudgets.params.max = 1\n'
    Path("cnnstat.toml").write_text(text)
    assert json.loads(run("check", "--format", "json", code=1).out)["models"][0]["totals"]["params"] == 280


def test_kind_and_operation_and_shapes_of_a_layer() -> None:
    analysis = cnnstat.analyze("resnet50")
    for layer, values in zip(analysis.layers, analysis.to_dict()["layers"]):
        assert values["kind"] == values["op"] == layer.kind == layer.op.kind
        assert values["operation"] == str(layer.op) and values["operation"].startswith(layer.kind)
        assert values["output_shapes"] == [list(shape) for shape in layer.output_shapes]
        assert values["output_shapes"][0] == values["output_shape"] == list(layer.output_shape)
    assert list(analysis.by_op()) == sorted({layer.kind for layer in analysis.layers}, key=list(analysis.by_op()).index)


def test_the_outputs_of_convolutions_and_linear_layers_have_one_name(run: Run) -> None:
    name = "conv + linear outputs"
    assert name in run("analyze", "vgg16").out and name in run("compare", "vgg16", "alexnet").out
    assert name in run("list", "--format", "markdown").out
