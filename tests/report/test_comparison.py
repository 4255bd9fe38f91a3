"""Comparisons: totals, ratios to the first network, and the lecture's bar charts."""

import csv
import io
import json
import re
from dataclasses import replace

import pytest
from networks import branches, network, op, written, zoo

import cnnstat
from cnnstat import report
from cnnstat.analysis.analysis import analyze_graph
from cnnstat.analysis.comparison import compare_analyses
from cnnstat.errors import CnnstatError
from cnnstat.report.charts.bar_chart import MEASURES, bar_text, bars, chart_number
from cnnstat.report.subjects.comparison import document


def compared(*names, format="table", **console):
    return written(report.write, document(compare_analyses([zoo(name) for name in names])), format, **console)


def test_alexnet_and_vgg16(golden):
    golden("compare_alexnet_vgg16.out", compared("alexnet", "vgg16"))


def test_the_lectures_ratios():
    ratios = cnnstat.compare("alexnet", "vgg16").ratios[1]
    assert round(ratios["weighted_activation_bytes"], 1) == 27.4
    assert round(ratios["params"], 2) == 2.26
    assert round(ratios["macs"], 1) == 21.7


def test_the_first_is_the_measure_of_all():
    comparison = compare_analyses([zoo("vgg16"), zoo("alexnet"), zoo("lenet5")])
    assert set(comparison.ratios[0].values()) == {1.0, None}
    assert comparison.ratios[2]["params"] == 61_706 / 138_357_544


def test_a_ratio_to_nothing_is_none():
    nothing = network((1, 3, 8, 8), ("same", op("Identity"), "input"))
    comparison = compare_analyses([nothing, zoo("lenet5")])
    assert comparison.ratios[1]["macs"] is None
    assert "–" in written(report.write, document(comparison), "table")


@pytest.mark.parametrize(
    ("sources", "headings"),
    [
        (("net", "torchvision:net"), ("net", "torchvision:net")),
        (("a/net.yaml", "b/net.yaml"), ("a/net.yaml", "b/net.yaml")),
        (("a/net.yaml", "a/net.yaml"), ("a/net.yaml (1)", "a/net.yaml (2)")),
        (("", ""), ("net (1)", "net (2)")),
    ],
)
@pytest.mark.parametrize("format", ["table", "csv", "markdown"])
def test_networks_of_one_name_have_headings_of_their_own(sources, headings, format):
    graph = replace(network((1, 3, 8, 8), ("same", op("Identity"), "input")).graph, name="net")
    comparison = compare_analyses([analyze_graph(replace(graph, source=source)) for source in sources])
    assert comparison.headings == headings
    printed = written(report.write, document(comparison), format)
    assert all(heading in printed for heading in headings)


def test_none_cannot_be_compared():
    with pytest.raises(CnnstatError, match="at least one"):
        compare_analyses([])


def test_json():
    found = json.loads(compared("alexnet", "vgg16", format="json"))
    assert set(found) == {"schema", "models", "ratios"} and found["schema"] == "cnnstat/1"
    assert found["models"][1]["totals"] == zoo("vgg16").to_dict()["totals"]
    assert found["ratios"][1]["macs"] == pytest.approx(15_470_264_320 / 714_188_480)
    assert json.loads(cnnstat.compare("alexnet", "vgg16").to_json()) == found


def test_csv():
    rows = list(csv.DictReader(io.StringIO(compared("alexnet", "vgg16", format="csv"))))
    assert [row["model"] for row in rows] == ["alexnet", "vgg16"]
    assert rows[1]["params"] == "138357544" and rows[0]["params_ratio"] == "1.0"


def test_markdown():
    lines = compared("alexnet", "vgg16", format="markdown").splitlines()
    assert lines[0] == "|  | alexnet | vgg16 | ratio |"
    assert "| conv + linear outputs | 1.89 MiB | 51.71 MiB | 27.4× |" in lines


@pytest.mark.parametrize("width", [60, 80, 120])
def test_many_networks_follow_in_groups(width):
    names = ("alexnet", "vgg11", "vgg16", "vgg19", "resnet18", "resnet50", "unet")
    text = compared(*names, width=width)
    assert max(map(len, text.splitlines())) <= width
    table = text[: text.index("output memory")]
    assert all(name in table for name in names)
    assert table.count("alexnet") == table.count("parameter memory")


def test_repr_and_html():
    comparison = cnnstat.compare("alexnet", "vgg16")
    assert "27.4×" in repr(comparison) and "27.4×" in comparison._repr_html_()


# Charts --------------------------------------------------------------------------------------------------------------


def test_bars_are_those_of_the_lecture():
    memory, params, macs = (bars(zoo("vgg16"), measure) for measure in MEASURES)
    assert len(memory) == 16
    assert sum(bar.value for bar in memory) == zoo("vgg16").totals.memory.weighted_activation_bytes
    assert sum(bar.value for bar in params) == 138_357_544
    assert max(macs, key=lambda bar: bar.value).name == "conv1_2"


def test_a_deep_network_is_drawn_block_by_block():
    folded = bars(zoo("resnet152"), MEASURES[2])
    assert [bar.name for bar in folded] == ["conv1", "layer1", "layer2", "layer3", "layer4", "fc"]
    assert sum(bar.value for bar in folded) == zoo("resnet152").totals.macs
    assert "the layers of a block together" in compared("resnet152")


@pytest.mark.parametrize(
    ("value", "bar"), [(0, ""), (1, "▏"), (1000, "████████"), (500, "████"), (62, "▌"), (1000 / 64, "▏")]
)
def test_bars_have_eighths(value, bar):
    assert bar_text(value, 1000, 8) == bar


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.0001, "<0.001"), (0.0234, "0.023"), (1.234, "1.23"), (12.34, "12.3"), (12_345.6, "12,346")],
)
def test_numbers_beside_bars(value, text):
    assert chart_number(value) == text


def test_charts_in_ascii():
    buffer = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    report.write(document(cnnstat.compare("alexnet", "vgg16")), "table", report_console(buffer))
    buffer.flush()
    text = buffer.buffer.getvalue().decode()
    assert "######" in text and "?" not in text


def report_console(file):
    from rich.console import Console

    return Console(file=file, width=80)


def test_a_network_without_weighted_layers_has_empty_charts():
    nothing = network((1, 3, 8, 8), ("same", op("ReLU"), "input"))
    assert "total" in written(report.write, document(compare_analyses([nothing, branches()])), "table")


def test_networks_of_one_name_are_told_apart_by_their_source():
    spec = cnnstat.load("lenet5")
    other = replace(spec, source="torchvision:lenet5")
    comparison = compare_analyses([cnnstat.analyze(graph) for graph in (spec, other, cnnstat.load("alexnet"))])
    assert comparison.headings == ("lenet5", "torchvision:lenet5", "alexnet")
    assert "torchvision:lenet5" in repr(comparison)


@pytest.mark.parametrize("width", [80, 104, 200])
def test_equal_layers_of_two_networks_have_equal_bars(width):
    text = compared("alexnet", "vgg16", width=width)
    (here, there) = re.findall(r"fc7 +16\.8 (\S+)", text)[
        :2
    ]  # 16.8 M parameters in both, under names of unequal length
    assert here == there and len(here) > 2
