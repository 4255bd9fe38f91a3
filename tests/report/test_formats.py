"""JSON, CSV, Markdown and HTML of an analysis."""

import csv
import html.parser
import io
import json
import re

import pytest
from graph_strategy import graphs
from hypothesis import HealthCheck, given, settings
from networks import branches, network, op, printed, zoo

from cnnstat import report
from cnnstat.analysis.analysis import analyze_graph
from cnnstat.analysis.figures import FIGURES
from cnnstat.errors import CnnstatError
from cnnstat.report.subjects.analysis import AnalysisView as View

HOSTILE = 'a|b`c`\n<script>alert("x")</script>,"q"&amp;'


def document(analysis, **view):
    return json.loads(printed(analysis, View(**view), "json"))


# JSON ----------------------------------------------------------------------------------------------------------------


def test_json_has_exactly_the_keys_of_the_contract():
    found = document(zoo("vgg16"))
    assert set(found) == {"schema", "model", "totals", "coverage", "warnings", "arena", "layers"}
    assert found["schema"] == "cnnstat/1"
    assert set(found["model"]) == {"name", "source", "inputs", "dtype"}
    totals = {figure.total for figure in FIGURES if figure.total and not figure.is_part}
    assert set(found["totals"]) == {
        *(key for key in totals if "." not in key), "memory", "receptive_field", "flop_parts", "macs_by_precision",
    }  # fmt: skip
    assert {f"memory.{key}" for key in found["totals"]["memory"]} == {key for key in totals if "." in key}
    assert found["coverage"] == {"ops": len(found["layers"]), "uncounted": [], "notes": []}
    for layer in found["layers"]:
        assert set(layer) == {
            "name", "op", "kind", "operation", "inputs", "input_shapes", "output_shape", "output_shapes",
            *(figure.layer for figure in FIGURES if figure.layer and figure.in_layers),
            "receptive_field", "receptive_field_extent", "arguments",
        }  # fmt: skip
        assert layer["receptive_field"] is None or set(layer["receptive_field"]) == {"size", "stride", "start", "exact"}


def test_json_figures_of_vgg16():
    found = document(zoo("vgg16"))
    assert found["totals"]["params"] == 138_357_544
    assert found["totals"]["macs"] == 15_470_264_320
    assert found["totals"]["receptive_field"] == {"size": [212, 212], "stride": [32, 32], "start": [-90, -90]}
    first = found["layers"][0]
    assert first["output_shape"] == [1, 64, 224, 224]
    assert first["receptive_field"] == {"size": [3, 3], "stride": [1, 1], "start": [-1, -1], "exact": True}
    assert found["layers"][-1]["receptive_field"] is None


def test_json_says_what_restricts_a_field():
    layers = {layer["name"]: layer["receptive_field"] for layer in document(branches())["layers"]}
    assert layers["gate.multiply"]["global_context"] is True
    assert layers["merge"]["aligned"] is False
    assert layers["merge"]["stride"] == [None, None]
    assert layers["resize"]["stride"] == [1, 1]
    assert layers["gate.pool"] is None
    assert "aligned" not in layers["stem"]


def test_json_stride_below_one_is_a_float():
    analysis = network((1, 3, 8, 8), ("up", op("Upsample", scale_factor=2), "input"))
    assert document(analysis)["layers"][0]["receptive_field"]["stride"] == [0.5, 0.5]


def test_json_folds_sorts_and_limits_layers_only():
    found = document(zoo("resnet50"), depth=1, sort="params", top=2)
    assert [layer["name"] for layer in found["layers"]] == ["layer4", "layer3"]
    assert found["totals"] == document(zoo("resnet50"))["totals"]
    assert found["coverage"]["ops"] == found["totals"]["layers"]


def test_json_is_the_same_every_time_and_what_to_dict_gives():
    text = printed(zoo("unet"), format="json")
    assert text == printed(zoo("unet"), format="json", width=200) and text.isascii()
    assert json.loads(text) == json.loads(json.dumps(zoo("unet").to_dict(), allow_nan=False))


# CSV -----------------------------------------------------------------------------------------------------------------


def test_csv_has_raw_values_under_the_keys():
    text = printed(zoo("vgg16"), View(columns=("name", "output_shape", "macs", "receptive_field")), "csv")
    assert text.splitlines()[:2] == ["name,output_shape,macs,receptive_field", "conv1_1,1x64x224x224,86704128,3x3"]
    assert text.endswith("whole input\r\n")


def test_csv_columns_add_up():
    rows = list(csv.DictReader(io.StringIO(printed(zoo("resnet18"), format="csv"))))
    assert sum(int(row["params"]) for row in rows) == 11_689_512
    assert len(rows) == zoo("resnet18").totals.layers


def test_csv_of_top_has_no_row_for_the_rest():
    assert len(printed(zoo("vgg16"), View(top=3), "csv").splitlines()) == 4


def test_csv_quotes_names():
    analysis = network((1, 3, 8, 8), (HOSTILE, op("Conv2d", 4, 3), "input"))
    (row,) = csv.DictReader(io.StringIO(printed(analysis, format="csv"), newline=""))
    assert row["name"] == HOSTILE


# Markdown and HTML ---------------------------------------------------------------------------------------------------


def test_markdown(golden):
    golden("lenet5.md", printed(zoo("lenet5"), format="markdown"))


def test_markdown_cells_hold_any_name():
    analysis = network((1, 3, 8, 8), (HOSTILE, op("Conv2d", 4, 3), "input"))
    table = [line for line in printed(analysis, format="markdown").splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {8}
    assert "``a\\|b`c`\\n<script>" in table[2]


class Checker(html.parser.HTMLParser):
    """Collects tags and text, and sees that tags are closed."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.text = [], set(), ""

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize("name", [HOSTILE, "conv"])
def test_html_holds_any_name(name):
    analysis = network((1, 3, 8, 8), (name, op("Conv2d", 4, 3), "input"), name=name)
    checker = Checker()
    checker.feed(analysis._repr_html_())
    assert not checker.open and "script" not in checker.tags
    assert name.replace("\n", "\\n") in checker.text


def test_html_has_totals():
    assert "15,470,264,320" in zoo("vgg16")._repr_html_()


# All -----------------------------------------------------------------------------------------------------------------


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(graph=graphs())
def test_every_format_takes_every_graph(graph):
    analysis = analyze_graph(graph)
    for format in report.FORMATS:
        assert printed(analysis, format=format)
    assert printed(analysis, View(depth=1, sort="receptive_field", top=2), width=60)


def test_an_unknown_format_is_named():
    with pytest.raises(CnnstatError, match="no format markdwon here; did you mean markdown"):
        printed(zoo("lenet5"), format="markdwon")
