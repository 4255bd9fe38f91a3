"""What the lecture that cnnstat carries out shows with numbers: pooling, padding, stacks, ratios."""

from __future__ import annotations

import json
from typing import Any

import pytest
from networks import written

from cnnstat import ops, report
from cnnstat.analysis.analysis import analyze_graph
from cnnstat.analysis.explanation import Explanation
from cnnstat.analysis.published import ROUNDED, published_ratios
from cnnstat.report.subjects.explanation import document as explanation
from cnnstat.report.subjects.ops import document as ops_document
from cnnstat.report.subjects.published import ratios_document
from cnnstat.sources.load import load_source
from cnnstat.sources.request import Request


def analysis(name: str) -> Any:
    return analyze_graph(load_source(name, Request()))


@pytest.mark.parametrize(("op", "result"), [("MaxPool2d", ((6, 8), (3, 4))), ("AvgPool2d", ((4, 5), (2, 2)))])
def test_pooling_is_shown_with_the_numbers_of_the_lecture(op: str, result: tuple[tuple[int, ...], ...]) -> None:
    torch = pytest.importorskip("torch")
    before, after = ops.lookup(op).in_numbers() or ((), ())
    assert after == result
    pixels = torch.tensor(before, dtype=torch.float32)[None, None]
    assert getattr(torch.nn, op)(2)(pixels)[0, 0].tolist() == [list(row) for row in after]
    page = written(report.write, ops_document(op), "table", width=80)
    assert f"5 6 7 8     {after[0][0]} {after[0][1]}\n    3 2 1 0  →  {after[1][0]} {after[1][1]}" in page
    assert json.loads(written(report.write, ops_document(op), "json"))["in_numbers"][1] == [list(r) for r in after]


def lines(name: str, layer: str) -> str:
    return " ".join(written(report.write, explanation(Explanation(analysis(name), layer)), "table", width=100).split())


@pytest.mark.parametrize(
    ("layer", "stack"), [("conv1_1", ""), ("conv1_2", "1 + 2·(3 − 1) = 5"), ("conv2_1", ""), ("pool1", "")]
)
def test_a_stack_from_the_input_on_is_explained(layer: str, stack: str) -> None:
    text = lines("vgg16", layer)
    assert (f"stack 1 + L(K − 1) = {stack}" in text) if stack else ("stack" not in text)


def test_same_padding_is_explained_where_the_stride_is_1() -> None:
    assert "same padding P = (K − 1) / 2 = (3 − 1) / 2 = 1 it has that, so the size stays" in lines("vgg16", "conv1_1")
    assert "same padding P = (K − 1) / 2 = (5 − 1) / 2 = 2 it has P = 0" in lines("lenet5", "C1")
    assert "same padding" not in lines("alexnet", "conv1")


def test_the_slides_ratios_stand_beside_the_exact_ones_with_the_cause() -> None:
    rows = {row.figure: row for row in published_ratios([analysis("alexnet"), analysis("vgg16")])}
    shown = {name: (row.printed, round(row.exact, 2)) for name, row in rows.items()}
    assert shown == {
        "params": ("2.3×", 2.26), "macs": ("19.4×", 21.66), "weighted_activation_bytes": ("25×", 27.43)
    }  # fmt: skip
    assert rows["params"].cause == ""
    for name in ("macs", "weighted_activation_bytes"):
        assert "one of the three 256-channel 56×56 convolutions" in rows[name].cause and ROUNDED in rows[name].cause
    text = written(report.write, ratios_document([], tuple(rows.values())), "table", width=100)
    assert "27.4×" in text and "2.26×" in text and "21.7×" in text


def test_networks_without_published_ratios_say_so() -> None:
    rows = published_ratios([analysis("resnet18"), analysis("resnet34")])
    assert rows == ()
    assert "no published ratios" in written(report.write, ratios_document([], rows), "table", width=100)
