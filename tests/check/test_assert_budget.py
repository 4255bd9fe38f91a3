"""`cnnstat.testing.assert_budget`: the same verdicts inside a test suite."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
from git_history import Command, spec

import cnnstat
from cnnstat.check.model_figures import COMPUTED
from cnnstat.errors import CnnstatError
from cnnstat.testing import BudgetWarning, assert_budget


def test_what_holds_says_nothing(folder: Path) -> None:
    assert_budget("vgg16", params="139 M", macs="16 G", moved_bytes="1 GB", receptive_field=212)
    (folder / "tiny.yaml").write_text(spec(8))
    assert_budget(folder / "tiny.yaml", params=224, input=(3, 32, 32), batch=2, dtype="float16")
    assert_budget(cnnstat.load("lenet5"), params="100 k")


def test_what_is_broken_names_the_layers() -> None:
    with pytest.raises(AssertionError, match=r"vgg16: params 138.36 M > 10 M by 128.36 M .*fc6 102.76 M") as caught:
        assert_budget("vgg16", params="10 M", receptive_field=213)
    assert "receptive_field 212 < 213" in str(caught.value) and "\n" in str(caught.value)


def test_a_warning_is_no_failure() -> None:
    with pytest.warns(BudgetWarning, match="params"):
        assert_budget("vgg16", params={"max": "10 M", "level": "warn"})


def test_growth_against_a_file(check: Command, folder: Path) -> None:
    (folder / "tiny.yaml").write_text(spec(8))
    budget = {"max_increase": "2%"}
    with pytest.raises(AssertionError, match="no baseline"):
        assert_budget("tiny.yaml", params=budget)
    with pytest.raises(AssertionError, match=r"there is no b\.json"):
        assert_budget("tiny.yaml", params=budget, baseline="b.json")
    assert check("tiny.yaml", "--baseline", "b.json", "--update-baseline").code == 0
    assert_budget("tiny.yaml", params=budget, baseline="b.json")
    (folder / "tiny.yaml").write_text(spec(9))
    with pytest.raises(AssertionError, match=r"stem \+28"):
        assert_budget("tiny.yaml", params=budget, baseline="b.json")
    with pytest.raises(CnnstatError, match="other conditions"):
        assert_budget("tiny.yaml", params=budget, baseline="b.json", batch=2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "needs a limit"),
        ({"params": "5 X"}, "no unit X"),
        ({"params": {"mx": 5}}, "did you mean max?"),
        ({"receptive_field": {"max": 5}}, "unknown key max"),
        ({"moved_bytes": "5 MX"}, "no unit MX"),
        ({"params": "5 M", "optimizer": "adamm"}, "did you mean adam?"),
    ],
)
def test_wrong_use_is_no_assertion(arguments: dict[str, object], said: str) -> None:
    with pytest.raises(CnnstatError, match=said.replace("?", r"\?")):
        assert_budget("vgg16", **arguments)  # type: ignore[arg-type]


def test_every_metric_that_is_no_time_is_a_keyword() -> None:
    parameters = inspect.signature(assert_budget).parameters
    assert set(COMPUTED) <= set(parameters) and "limits" not in parameters and "latency" not in parameters
    assert list(parameters)[: len(COMPUTED) + 1] == ["source", *COMPUTED]


def test_an_unknown_keyword_is_a_type_error() -> None:
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'parms'; did you mean params\?"):
        assert_budget("vgg16", parms="5 M")


GATED = """input: [3, 16, 16]
layers:
  - Conv2d(8, 3)
  - multiply: [[], [AdaptiveAvgPool2d(1), Conv2d(8, 1), Sigmoid]]
  - Conv2d(8, 3)
"""


def test_the_strict_receptive_field_can_be_limited(tmp_path: Path) -> None:
    (tmp_path / "gated.yaml").write_text(GATED)
    assert_budget(tmp_path / "gated.yaml", receptive_field=5)
    with pytest.raises(AssertionError, match="receptive_field 3 < 5"):
        assert_budget(tmp_path / "gated.yaml", receptive_field=5, strict_receptive_field=True)


def test_modules_are_sources_and_take_every_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    assert_budget(torch.nn.Linear(3, 4), params=16, input=(2, 3))
    with pytest.raises(AssertionError, match=r"Linear: params 16 > 15"):
        assert_budget(torch.nn.Linear(3, 4), params=15, input=(2, 3))
    code = "from torch import nn\ndef net(width):\n    return nn.Sequential(nn.Linear(3, width), nn.Dropout(0.5))\n"
    (tmp_path / "assert_budget_net.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    source = "assert_budget_net.py:net"
    assert_budget(source, params=20, input="1x3", arguments={"width": 5})
    assert_budget(source, training_bytes={"max": 10**6}, input="1x3", arguments={"width": 5}, mode="train")
    with pytest.raises(AssertionError, match="params 20 > 19"):
        assert_budget(source, params=19, input="1x3", arguments={"width": 5})


def test_numbers_of_onnx_inputs_reach_the_model(
    tmp_path: Path, check: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx = pytest.importorskip("onnx", reason="needs the package onnx")
    pytest.importorskip("numpy")
    helper, kinds = onnx.helper, onnx.TensorProto
    nodes = [
        helper.make_node("Expand", ["x", "times"], ["wide"]),
        helper.make_node("MatMul", ["wide", "wide_t"], ["y"]),
    ]
    nodes.insert(1, helper.make_node("Transpose", ["wide"], ["wide_t"]))
    inputs = [
        helper.make_tensor_value_info("x", kinds.FLOAT, [1, 8]),
        helper.make_tensor_value_info("times", kinds.INT64, [2]),
    ]
    graph = helper.make_graph(nodes, "main", inputs, [helper.make_tensor_value_info("y", kinds.FLOAT, None)])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "n.onnx")
    monkeypatch.chdir(tmp_path)
    assert_budget("n.onnx", values={"times": [4, 8]}, macs=4 * 4 * 8)
    with pytest.raises(AssertionError):
        assert_budget("n.onnx", values={"times": [4, 8]}, macs=4 * 4 * 8 - 1)
    Path("cnnstat.toml").write_text(
        '[[check.models]]\nsource = "n.onnx"\nvalues = {times = [5, 8]}\nbudgets.macs.max = 200\n', encoding="utf-8"
    )
    assert check().code == 0
    assert check("--value", "times=[6,8]").code == 1  # 288 MACs
