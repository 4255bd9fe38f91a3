"""Explain: every figure on the page is the true one, and every layer can be asked about."""

import json
import math
import re
from fractions import Fraction

import pytest
from graph_strategy import graphs
from hypothesis import HealthCheck, given, settings
from networks import branches, network, op, written, zoo

from cnnstat import ops, report
from cnnstat.analysis.analysis import analyze_graph
from cnnstat.analysis.explanation import Explanation
from cnnstat.analysis.layer_lookup import find_layer
from cnnstat.errors import CnnstatError
from cnnstat.ir.graph import Edge, Graph, Input, Node
from cnnstat.report.subjects.explanation import document


def explained(analysis, name, format="table", **console):
    return written(report.write, document(Explanation(analysis, name)), format, **console)


def value_of(numbers):
    """The value of `3 + (11 − 1)·4`, exactly."""
    text = re.sub(r"(\d+)/(\d+)", r"Fraction(\1, \2)", numbers.replace("·", "*").replace("−", "-").replace(",", ""))
    assert re.fullmatch(r"[\d\s+*()\-,/Fraction]+", text), text
    return eval(text, {"Fraction": Fraction})  # arithmetic only, see above


@pytest.mark.parametrize(
    ("network_name", "layer"),
    [("alexnet", "conv1"), ("resnet50", "layer1.0.add"), ("unet", "up1.upconv"), ("vgg16", "fc6")],
)
def test_pages(golden, network_name, layer):
    golden(f"explain_{network_name}_{layer}.out", explained(zoo(network_name), layer))


def test_a_narrow_page(golden):
    golden("explain_alexnet_conv1_50.out", explained(zoo("alexnet"), "conv1", width=50))


@pytest.mark.parametrize("name", ["alexnet", "vgg16", "resnet50", "resnet18", "unet", "c3d", "m5", "plain18"])
def test_the_recurrence_leads_to_the_field(name):
    analysis = zoo(name)
    for index, layer in enumerate(analysis.layers):
        field = layer.receptive_field
        steps = Explanation(analysis, layer.name).steps
        assert bool(steps) == (field is not None)
        axes = [axis for step in steps for axis in step.axes]
        assert len(axes) == (0 if field is None else len(field.size))
        for step in steps:
            for formula in step.formulas:
                if formula.quantity in ("size", "stride", "start"):
                    assert Fraction(formula.value) == getattr(step.after, formula.quantity)
                    if formula.numbers:
                        assert value_of(formula.numbers) == Fraction(formula.value), (layer.name, formula)
        assert index == find_layer(analysis.graph, layer.name)


def test_before_a_convolution_behind_a_transposed_one_the_formula_is_not_claimed():
    step, *_ = Explanation(branches(), "wide").steps[1:]
    start = step.formulas[2]
    assert start.numbers == "" and "does not hold here" in start.note
    assert start.value == branches().fields.of(12).start[1]


def test_dilation_is_explained():
    text = explained(branches(), "dilated")
    assert "extent = D(K − 1) + 1 = 3·(3 − 1) + 1 = 7" in text
    assert re.search(r"holes +only 60 % of the field", text)


def test_branches_are_united():
    text = explained(branches(), "add")
    assert re.search(r"from stem +stride 2 += −1 … 1 += size 3", text)
    assert re.search(r"from dilated +stride 2 += −7 … 7 += size 15", text)
    assert "7 − (−7) + 1" in text


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        ("gate.pool", "whole input: every output reads all positions"),
        ("gate.fc", "whole input: gate.pool has already seen all of it"),
        ("gate.multiply", "global context: a gate or statistics over space have seen the whole input beside it"),
        ("merge", "misaligned: branches of different stride meet"),
        ("up", "a period of 2 outputs moves on by 1 input"),
        ("merge", "none of its outputs have a field wholly inside the input"),
    ],
)
def test_words_about_receptive_fields(layer, words):
    assert words in explained(branches(), layer, width=120)


def test_weights_used_twice_are_said_to_be_stored_once():
    shared = op("Conv2d", 3, 3, padding=1)
    nodes = (Node("first", shared, (Edge(0),)), Node("second", shared, (Edge(1),), shares=0))
    analysis = analyze_graph(
        Graph(name="twice", inputs=(Input("input", (1, 3, 8, 8), "float32"),), nodes=nodes, outputs=(Edge(2),))
    )
    assert "these belong to first, where they are counted once" in explained(analysis, "second")
    assert json.loads(explained(analysis, "second", "json"))["shares_weights_of"] == "first"


def test_pixels_left_over_are_said():
    analysis = network((1, 3, 13, 13), ("pool", op("MaxPool2d", 2), "input"))
    assert "stride 2 does not divide 11: the last 1 dropped (1 of the input)" in explained(analysis, "pool", width=120)


def test_nothing_spatial():
    analysis = network((4, 10), ("fc", op("Linear", 3), "input"))
    assert "receptive field  none: it depends on no input that has spatial axes" in explained(analysis, "fc")


def test_json():
    found = json.loads(explained(zoo("alexnet"), "conv1", "json"))
    assert found["layer"] == zoo("alexnet").to_dict()["layers"][0]
    weight, bias = found["tensors"]
    assert weight == {"name": "weight", "shape": [64, 3, 11, 11], "numel": 23232, "buffer": False, "dtype": "float32"}
    assert bias["numel"] == 64
    assert found["flop_parts"] == {"2 × MACs": 140_553_600, "bias": 193_600}
    assert found["receptive_field_steps"][0]["axes"] == ["height", "width"]
    assert found["covered_share"] == [1.0, 1.0]
    assert found["inside_share"] == pytest.approx((53 / 55) ** 2)


def test_csv_and_markdown():
    assert "arithmetic,output height,⌊(H − K + 2P) / S⌋ + 1" in explained(zoo("alexnet"), "conv1", "csv")
    assert "| MACs | `outputs · dot product` |" in explained(zoo("alexnet"), "conv1", "markdown")


@pytest.mark.parametrize("name", ops.names())
def test_every_example_of_every_op_can_be_explained(name):
    for number, example in enumerate(ops.lookup(name).examples()):
        is_token = name in ("Embedding",)
        inputs = tuple(Input(f"x{i}", s, "int64" if is_token else "float32") for i, s in enumerate(example.inputs))
        node = Node(f"example{number}", example.op, tuple(Edge(i) for i in range(len(inputs))))
        outputs = (Edge(len(inputs)),)
        analysis = analyze_graph(Graph(name=name, inputs=inputs, nodes=(node,), outputs=outputs))
        page = explained(analysis, "1", width=100)
        assert "output bytes" in page or "output 1 bytes" in page
        weights = example.op.weights(example.inputs)
        assert all(tensor in page for tensor in weights)
        assert f"{sum(math.prod(shape) for shape in weights.values()):,}" in page


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(graph=graphs())
def test_every_layer_of_every_graph_can_be_explained(graph):
    analysis = analyze_graph(graph)
    for number in range(1, len(graph.nodes) + 1):
        for format in ("table", "json", "csv", "markdown"):
            assert explained(analysis, graph.nodes[number - 1].name, format)


# Which layer ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("conv1", "conv1"),
        ("layer1.0.conv2", "layer1.0.conv2"),
        ("4.2.conv3", "layer4.2.conv3"),
        ("avg", "avgpool"),
        ("Linear#1", "fc"),
        ("conv2d#2", "layer1.0.conv1"),
        ("2", "bn1"),
    ],
)
def test_a_layer_is_found_by(wanted, found):
    graph = zoo("resnet50").graph
    assert graph.nodes[find_layer(graph, wanted)].name == found


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("conv7", r"has no layer conv7; did you mean"),
        ("1.conv1", r"has no layer 1.conv1 of just that name; it fits layer1.1.conv1, layer2.1.conv1"),
        ("999", r"has \d+ layers, so no layer 999"),
        ("0", r"so no layer 0"),
        ("Linear#2", r"has 1 Linear"),
        ("LSTM#1", r"has no LSTM, only AdaptiveAvgPool2d, Add"),
        ("\x1b[31m", r"has no layer \\x1b\[31m; it has conv1"),
        ("", r"LAYER is empty; name one"),
    ],
)
def test_a_layer_that_is_not_there(wanted, message):
    with pytest.raises(CnnstatError, match=message) as error:
        find_layer(zoo("resnet50").graph, wanted)
    assert "\x1b" not in str(error.value)


def test_each_element_of_a_flattened_map_has_its_field():
    text = explained(zoo("vgg16"), "flatten")
    assert "receptive field  size 212, stride 32, start −90" in text
    assert "views have given its positions other names" in " ".join(text.split())
