"""Specs written from graphs: the same figures for every network, in the form a person would choose."""

import json
from textwrap import dedent

import pytest
from graph_strategy import graphs
from hypothesis import HealthCheck, Phase, given, settings
from same_figures import figures, rows

import cnnstat
from cnnstat.analysis.analysis import analyze_graph
from cnnstat.errors import CnnstatError
from cnnstat.export.spec_data import document_of
from cnnstat.export.spec_text import yaml_text
from cnnstat.ir.graph import Edge, Graph, Input, Node
from cnnstat.ops import lookup
from cnnstat.sources import zoo
from cnnstat.spec.spec_graph import parse_spec


def exported(graph, to="yaml"):
    return analyze_graph(parse_spec(cnnstat.export(graph, to=to)))


def layers_of(text):
    """What an exported spec says from its layers or blocks on."""
    lines = cnnstat.export(parse_spec(dedent(text))).splitlines(keepends=True)
    start = next(number for number, line in enumerate(lines) if line in ("blocks:\n", "layers:\n"))
    return "".join(lines[start:])


# The same figures ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("to", ["yaml", "json"])
@pytest.mark.parametrize("name", zoo.names())
def test_the_zoo_keeps_all_its_figures(name, to):
    analysis = cnnstat.analyze(name)
    again = exported(analysis.graph, to)
    assert rows(again) == rows(analysis)
    assert figures(again) == figures(analysis)
    shown, there = analysis.to_dict(), again.to_dict()
    assert {**there, "model": {**there["model"], "source": name}} == shown


@settings(
    max_examples=60,
    derandomize=True,
    phases=(Phase.generate, Phase.shrink),
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(graphs(longest=14))
def test_random_graphs_keep_all_their_figures(graph):
    analysis = analyze_graph(graph)
    for with_blocks in (True, False):
        again = analyze_graph(parse_spec(yaml_text(document_of(graph, with_blocks=with_blocks))))
        assert rows(again) == rows(analysis)
        assert figures(again) == figures(analysis)


@pytest.mark.parametrize("batch", [1, 8])
def test_the_batch_stays(batch):
    analysis = cnnstat.analyze("m5", batch=batch)
    assert figures(exported(analysis.graph)) == figures(analysis)


def test_a_dtype_stays():
    analysis = cnnstat.analyze("lenet5", dtype="float16")
    assert figures(exported(analysis.graph)) == figures(analysis)


def test_published_figures_and_texts_stay():
    graph = cnnstat.load("alexnet_2012")
    again = parse_spec(cnnstat.export(graph))
    published = [{k: v for k, v in figure.items() if k != "location"} for figure in graph.about["published"]]
    assert [{k: v for k, v in figure.items() if k != "location"} for figure in again.about["published"]] == published
    assert {k: again.about[k] for k in ("title", "cite", "notes")} == {
        k: graph.about[k] for k in ("title", "cite", "notes")
    }


# How it reads --------------------------------------------------------------------------------------------------------


def test_layers_in_a_row_need_no_names():
    layers = "layers:\n  - Conv2d(8, 3)\n  - ReLU\n  - Conv2d(8, 3)\n  - Flatten\n  - Linear(10)\n"
    assert layers_of("input: [3, 16, 16]\n" + layers) == layers


def test_what_is_read_elsewhere_is_named():
    layers = """\
        layers:
          - first: Conv2d(8, 3)
          - second: ReLU
          - {layer: Subtract, name: difference, from: [first, second]}
        """
    assert layers_of("input: [3, 16, 16]\n" + dedent(layers)) == dedent(
        """\
        layers:
          - first: Conv2d(8, 3)
          - second: ReLU
          - {difference: Subtract, from: [first, second]}
        """
    )


def test_branches_are_found_again():
    layers = """\
        layers:
          - add:
              - - Conv2d(3, 3, padding=1)
                - ReLU
              - []
          - concat:
              - Conv2d(4, 1)
              - - MaxPool2d(3, stride=1, padding=1)
                - Conv2d(4, 1)
        """
    assert layers_of("input: [3, 16, 16]\n" + dedent(layers)) == dedent(layers)


def test_groups_of_one_structure_become_a_block():
    written = layers_of(
        """\
        input: [3, 32, 32]
        layers:
          - a: [Conv2d(8, 3, padding=1), BatchNorm2d, ReLU]
          - b: [Conv2d(16, 3, stride=2, padding=1), BatchNorm2d, ReLU]
          - c: [Conv2d(32, 3, stride=2, padding=1), BatchNorm2d, ReLU]
        """
    )
    assert written == dedent(
        """\
        blocks:
          A(channels, stride=1):
            - Conv2d(channels, 3, stride=stride, padding=1)
            - BatchNorm2d
            - ReLU
        layers:
          - a: A(8)
          - b: A(16, stride=2)
          - c: A(32, stride=2)
        """
    )


def test_multiples_and_repetitions_are_seen():
    written = layers_of(
        """\
        input: [3, 32, 32]
        blocks:
          unit(width): [Conv2d(width, 1), Conv2d(width, 3, padding=1), Conv2d(4 * width, 1)]
        layers:
          - "0": unit(8)
          - repeat: 4
            as: i
            layers: [{"{i + 1}": unit(16)}]
        """
    )
    assert written == dedent(
        """\
        blocks:
          unit(channels):
            - Conv2d(channels, 1)
            - Conv2d(channels, 3, padding=1)
            - Conv2d(4 * channels, 1)
        layers:
          - "0": unit(8)
          - repeat: 4
            as: i
            layers:
              - "{i + 1}": unit(16)
        """
    )


def test_resnet50_reads_as_the_paper_draws_it():
    text = cnnstat.export("resnet50")
    assert "  bottleneck(channels):\n" in text
    assert '          - "{i + 1}": bottleneck(256)\n' in text
    assert len(text.splitlines()) < 80


def test_weights_that_are_shared_or_frozen_stay_so():
    text = """\
        inputs: {left: [1, 8, 8], right: [1, 8, 8]}
        layers:
          - {layer: Conv2d(4, 3), from: left, name: a, frozen: true}
          - {layer: Conv2d(4, 3), from: right, name: b, share: a}
          - {layer: Subtract, from: [a, b]}
          - body: [Flatten, Linear(6), Linear(5)]
            frozen: true
        """
    analysis = analyze_graph(parse_spec(dedent(text)))
    again = exported(analysis.graph)
    assert rows(again) == rows(analysis)
    assert figures(again) == figures(analysis)
    assert cnnstat.export(analysis.graph).count("frozen: true") == 2


# Names ---------------------------------------------------------------------------------------------------------------


def chain(*names, inputs=("input",)):
    """A graph of convolutions, each on the one before."""
    nodes = [Node(name, lookup("Conv2d")(3, 1), (Edge(number),)) for number, name in enumerate(names)]
    given = tuple(Input(name, (1, 3, 4, 4), "float32") for name in inputs)
    return Graph(name="net", inputs=given, nodes=tuple(nodes), outputs=(Edge(len(names)),))


@pytest.mark.parametrize(
    "names",
    [
        ("add", "concat", "multiply", "layer", "from", "name", "if"),
        ("Conv2d", "ReLU.conv", "Conv2d_1.Linear"),
        ("0", "1", "2"),
        ("a", "a.b", "a.b.c"),
        ("a.x", "b.x", "a.y", "b.y"),
        ("true", "null", "1e5", "-", "_", "opaque", "operands"),
        ("Stage", "Stage2.conv", "Stage2.relu"),
        ("a.a", "a.b.a", "a.b.c"),
        ("conv1", "conv3", "conv2"),
    ],
)
def test_names_that_mean_something_else_are_kept(names):
    again = parse_spec(cnnstat.export(chain(*names)))
    assert tuple(node.name for node in again.nodes) == names


@pytest.mark.parametrize("name", ["a b", "ü/ö", "x" * 120, "a..b", "{i}", "a: b", "- x", "#", '"', "\x1b[0m"])
def test_names_that_no_spec_can_have_are_changed_and_told(name):
    text = cnnstat.export(chain(name))
    assert "# layer " in text
    assert len(parse_spec(text).nodes) == 1


def test_an_input_may_be_called_as_a_layer_is():
    text = cnnstat.export(chain("x", "x.y", inputs=("x",)))
    assert "# input x is called x_2 here" in text
    assert [node.name for node in parse_spec(text).nodes] == ["x", "x.y"]


def test_a_tensor_hidden_by_a_name_nearer_by_can_still_be_read():
    conv, add = lookup("Conv2d")(3, 1), lookup("Add")()
    nodes = (
        Node("conv", conv, (Edge(0),)),
        Node("block.conv", conv, (Edge(1),)),
        Node("block.add", add, (Edge(2), Edge(1))),
        Node("end", add, (Edge(3), Edge(1))),
    )
    graph = Graph(name="net", inputs=(Input("input", (1, 3, 4, 4), "float32"),), nodes=nodes, outputs=(Edge(4),))
    again = exported(graph)
    assert rows(again) == rows(analyze_graph(graph))


# JSON ----------------------------------------------------------------------------------------------------------------


def test_a_json_file_is_a_source(tmp_path):
    path = tmp_path / "net.json"
    path.write_text(cnnstat.export("unet", to="json"), encoding="utf-8")
    assert json.loads(path.read_text(encoding="utf-8"))["layers"][0] == {"down1": "contract(64)"}
    assert rows(cnnstat.analyze(str(path))) == rows(cnnstat.analyze("unet"))


def test_another_format_is_refused_with_the_nearest():
    with pytest.raises(CnnstatError, match="no format called ymal.*did you mean yaml"):
        cnnstat.export("vgg16", to="ymal")
