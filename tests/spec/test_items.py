"""Layers, groups, repeats, choices and joins: every way to write them, and the names they get."""

from __future__ import annotations

from textwrap import dedent, indent

import pytest

from cnnstat.ir.graph import Graph
from cnnstat.spec.spec_graph import parse_spec


def graph(layers: str, head: str = "input: [4, 16, 16]") -> Graph:
    return parse_spec(f"{dedent(head)}\nlayers:\n{indent(dedent(layers), '  ')}")


def ops(layers: str, head: str = "input: [4, 16, 16]") -> list[str]:
    return [str(node.op) for node in graph(layers, head).nodes]


def names(layers: str, head: str = "input: [4, 16, 16]") -> list[str]:
    return [node.name for node in graph(layers, head).nodes]


def reads(layers: str, head: str = "input: [4, 16, 16]") -> dict[str, str]:
    """Return what each layer reads, by name, second outputs as `name[1]`."""
    made = graph(layers, head)
    return {
        node.name: " ".join(
            made.value_name(edge.value) + (f"[{edge.output}]" if edge.output else "") for edge in node.inputs
        )
        for node in made.nodes
    }


@pytest.mark.parametrize(
    "written",
    [
        "- Conv2d(8, 3, padding=1)",
        "- Conv2d(8, kernel_size=3, padding=1)",
        "- Conv2d(out_channels=8, kernel_size=3, padding=1)",
        "- 'Conv2d(8, 3, padding=1)'",
        '- "Conv2d(8, 3, padding=1)"',
        "- Conv2d( 8,\n    3,  padding = 1 )",
        "- >\n  Conv2d(8, 3,\n  padding=1)",
        "- Conv2d(2 * 4, [3, 3][0], padding=3 // 2)",
        "- Conv2d: {out_channels: 8, kernel_size: 3, padding: 1}",
        "- Conv2d: {out_channels: 2 * 4, kernel_size: '3', padding: 1}",
        "- Conv2d:\n    out_channels: 8\n    kernel_size: 3\n    padding: 1",
        "- Conv2d: [8, 3, 1, 1]",
        "- layer: Conv2d(8, 3, padding=1)",
        "- - Conv2d(8, 3, padding=1)",
        "- layers: Conv2d(8, 3, padding=1)",
        "- layers: [Conv2d(8, 3, padding=1)]",
        "- repeat: 1\n  layers: [Conv2d(8, 3, padding=1)]",
        "- if: 1 < 2\n  layer: Conv2d(8, 3, padding=1)",
        "- if: 1 < 2\n  then: Conv2d(8, 3, padding=1)",
        "- if: 2 < 1\n  then: ReLU\n  else: [Conv2d(8, 3, padding=1)]",
        "- conv1: Conv2d(8, 3, padding=1)",
        "- conv1: {Conv2d: [8, 3, 1, 1]}",
        "- {name: conv1, Conv2d: [8, 3, 1, 1]}",
        "- {layer: 'Conv2d(8, 3, padding=1)', name: conv1, from: input}",
    ],
)
def test_one_convolution_in_many_ways(written: str) -> None:
    (node,) = graph(written).nodes
    assert (node.name, str(node.op)) == ("conv1", "Conv2d(8, 3, padding=1)")
    assert node.inputs == ((0, 0),)


@pytest.mark.parametrize(
    ("written", "op"),
    [
        ("ReLU", "ReLU"),
        ("ReLU()", "ReLU"),
        ("ReLU:", "ReLU"),
        ("ReLU: {inplace: true}", "ReLU(inplace=true)"),
        ("ReLU(inplace=True)", "ReLU(inplace=true)"),
        ("Dropout: 0.25", "Dropout(p=0.25)"),
        ("Conv2d(8, (3, 1), padding=same)", "Conv2d(8, [3, 1], padding=same)"),
        ("Conv2d(8, 3, padding='same')", "Conv2d(8, 3, padding=same)"),
        ("Conv2d: {out_channels: 8, kernel_size: [3, 1], padding: same}", "Conv2d(8, [3, 1], padding=same)"),
        ("Permute(0, 2, 3, 1)", "Permute([0, 2, 3, 1])"),
        ("Permute([0, 2, 3, 1])", "Permute([0, 2, 3, 1])"),
        ("Permute: [0, 2, 3, 1]", "Permute([0, 2, 3, 1])"),
    ],
)
def test_arguments(written: str, op: str) -> None:
    assert ops(f"- {written}") == [op]


def test_layers_need_no_list() -> None:
    assert [str(node.op) for node in parse_spec("input: [4]\nlayers: ReLU\n").nodes] == ["ReLU"]


def test_layers_in_brackets() -> None:
    made = parse_spec("input: [4, 8, 8]\nlayers: [Conv2d(8, 3), ReLU, Conv2d(4, 1, bias=false)]\n")
    assert [str(node.op) for node in made.nodes] == ["Conv2d(8, 3)", "ReLU", "Conv2d(4, 1, bias=false)"]


# Names ---------------------------------------------------------------------------------------------------------------


def test_names_are_numbered_by_kind() -> None:
    written = (
        "- Conv2d(4, 3)\n- ReLU\n- Conv2d(4, 3)\n- BatchNorm2d\n- MaxPool2d(2)\n- Softmax\n- ReLU6\n- GlobalAvgPool\n"
    )
    assert names(written) == ["conv1", "relu1", "conv2", "norm1", "pool1", "softmax1", "relu6_1", "pool2"]


def test_numbers_skip_names_that_are_taken() -> None:
    assert names("- conv1: Conv2d(4, 3)\n- Conv2d(4, 3)\n- Conv2d(4, 1)\n") == ["conv1", "conv2", "conv3"]


def test_names_with_expressions() -> None:
    written = "- repeat: 2\n  as: i\n  layers:\n    - 'conv{i + 1}_{\"ab\"[0:] if false else i}': Conv2d(4, 1)\n"
    assert names(written) == ["conv1_0", "conv2_1"]


def test_named_groups_are_scopes() -> None:
    made = graph("""
        - stem:
            - Conv2d(8, 3)
            - act: ReLU
        - name: head
          layers: [Conv2d(4, 1)]
        - [ReLU]
        """)
    assert [node.name for node in made.nodes] == ["stem.conv1", "stem.act", "head.conv1", "relu1"]
    assert dict(made.blocks) == {"stem": "group", "head": "group"}


def test_repeats_by_number_by_list_and_by_expression() -> None:
    assert ops("- {repeat: 3, layers: [ReLU]}") == ["ReLU"] * 3
    assert ops("- {repeat: 0, layers: [GELU]}\n- ReLU") == ["ReLU"]
    assert ops("- {repeat: 2 - 1, layers: [ReLU]}") == ["ReLU"]
    listed = "- repeat: [8, 16]\n  as: width\n  layers:\n    - Conv2d(width, 1)\n"
    assert ops(listed) == ["Conv2d(8, 1)", "Conv2d(16, 1)"]
    assert ops("- {repeat: '[1, 2] + [3]', layers: [ReLU]}") == ["ReLU"] * 3


def test_repeats_of_lists_of_lists() -> None:
    written = "- repeat: [[8, 1], [16, 3]]\n  as: row\n  layers:\n    - Conv2d(row[0], row[1])\n"
    assert ops(written) == ["Conv2d(8, 1)", "Conv2d(16, 3)"]


def test_repeats_of_layers() -> None:
    written = "- repeat: [ReLU, GELU, LeakyReLU(0.2)]\n  as: activation\n  layers:\n    - activation\n"
    assert ops(written) == ["ReLU", "GELU", "LeakyReLU(negative_slope=0.2)"]


def test_counters_start_at_zero_and_nest() -> None:
    written = """
        - repeat: 2
          as: i
          layers:
            - repeat: i + 1
              as: j
              layers:
                - conv{i}{j}: Conv2d(1 + i + j, 1)
        """
    assert names(written) == ["conv00", "conv10", "conv11"]


def test_named_repeats_are_scopes() -> None:
    made = graph("""
        - repeat: 2
          as: i
          name: layer{i + 1}
          layers:
            - Conv2d(4, 1)
            - ReLU
        """)
    assert [node.name for node in made.nodes] == ["layer1.conv1", "layer1.relu1", "layer2.conv1", "layer2.relu1"]
    assert dict(made.blocks) == {"layer1": "group", "layer2": "group"}


def test_repeats_go_on_from_each_other() -> None:
    written = "- ReLU\n- repeat: 2\n  layers: [GELU]\n- repeat: 2\n  from: relu1\n  layers: [Tanh]\n"
    assert reads(written) == {"relu1": "input", "gelu1": "relu1", "gelu2": "gelu1", "tanh1": "relu1", "tanh2": "tanh1"}


# Conditions ----------------------------------------------------------------------------------------------------------


def test_if_leaves_a_layer_out() -> None:
    assert ops("- Conv2d(4, 1)\n- ReLU:\n  if: false\n- {GELU: , if: 1 < 2}\n- {if: 0, layers: [Tanh]}") == [
        "Conv2d(4, 1)",
        "GELU",
    ]


def test_then_and_else() -> None:
    written = """
        - repeat: 3
          as: i
          layers:
            - if: i == 1
              then: [GELU, Tanh]
              else: ReLU
        - if: false
          then: [Softmax]
        """
    assert ops(written) == ["ReLU", "GELU", "Tanh", "ReLU"]


def test_choices_can_be_named_and_read_from_elsewhere() -> None:
    written = (
        "- a: ReLU\n- b: ReLU\n- {if: true, then: [GELU], name: c, from: a}\n- d:\n    if: false\n    else: [Tanh]\n"
    )
    assert reads(written) == {"a": "input", "b": "a", "c.gelu1": "a", "d.tanh1": "c.gelu1"}


def test_what_is_left_out_is_not_looked_at() -> None:
    assert ops("- {Conv2d: [1 // 0, 3], if: false}\n- ReLU") == ["ReLU"]


# Joins ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("key", "op"), [("add", "Add"), ("concat", "Concat"), ("multiply", "Multiply")])
def test_joins(key: str, op: str) -> None:
    written = f"- ReLU\n- {key}:\n    - - Conv2d(4, 1)\n      - GELU\n    - []\n    - Tanh\n- Softmax\n"
    assert reads(written) == {
        "relu1": "input",
        "conv1": "relu1",
        "gelu1": "conv1",
        "tanh1": "relu1",
        f"{key}1": "gelu1 relu1 tanh1",
        "softmax1": f"{key}1",
    }
    assert ops(written)[4] == op


def test_branches_with_names_are_scopes() -> None:
    made = graph(
        "- concat:\n    left: [Conv2d(4, 1)]\n    right: Conv2d(2, 1)\n    pass: []\n  dim: 1\n  name: joined\n"
    )
    assert [node.name for node in made.nodes] == ["left.conv1", "right.conv1", "joined"]
    assert made.nodes[2].inputs == ((1, 0), (2, 0), (0, 0))
    assert dict(made.blocks) == {"left": "group", "right": "group", "pass": "group"}


def test_joins_take_the_arguments_of_their_op() -> None:
    assert ops("- concat: [[], []]\n  dim: 2\n- add: [[], []]\n  inplace: true\n") == [
        "Concat(dim=2)",
        "Add(inplace=true)",
    ]


def test_joins_within_joins() -> None:
    written = "- add:\n    - - concat: [[Conv2d(2, 1)], [Conv2d(2, 1)]]\n      - ReLU\n    - []\n"
    assert reads(written) == {
        "conv1": "input",
        "conv2": "input",
        "concat1": "conv1 conv2",
        "relu1": "concat1",
        "add1": "relu1 input",
    }


def test_joins_by_name() -> None:
    written = """
        - a: Conv2d(4, 1)
        - b: {Conv2d: [4, 1], from: input}
        - {Add: , from: [a, b]}
        - {Concat: {dim: 1}, from: [a, b, a]}
        """
    assert reads(written) == {"a": "input", "b": "input", "add1": "a b", "concat1": "a b a"}


def test_joins_start_from_elsewhere() -> None:
    assert reads("- a: ReLU\n- GELU\n- {add: [[Tanh], []], from: a}\n")["add1"] == "tanh1 a"


# References ----------------------------------------------------------------------------------------------------------


def test_second_outputs() -> None:
    written = "- halves: Chunk(2)\n- a: {ReLU: , from: 'halves[1]'}\n- {Add: , from: ['halves[0]', a]}\n"
    assert reads(written) == {"halves": "input", "a": "halves[1]", "add1": "halves a"}


def test_names_are_looked_up_from_the_inside_out() -> None:
    written = """
        - conv: Conv2d(4, 1)
        - outer:
            - conv: Conv2d(4, 1)
            - inner:
                - a: {ReLU: , from: conv}
                - conv: Conv2d(4, 1)
                - b: {ReLU: , from: conv}
                - c: {ReLU: , from: outer.conv}
            - d: {ReLU: , from: conv}
            - e: {ReLU: , from: inner.conv}
        - f: {ReLU: , from: conv}
        - g: {ReLU: , from: outer.inner.a}
        - h: {ReLU: , from: outer}
        """
    found = reads(written)
    assert found["outer.inner.a"] == "outer.conv"
    assert found["outer.inner.b"] == "outer.inner.conv"
    assert found["outer.inner.c"] == "outer.conv"
    assert found["outer.d"] == "outer.conv"
    assert found["outer.e"] == "outer.inner.conv"
    assert found["f"] == "conv"
    assert found["g"] == "outer.inner.a"
    assert found["h"] == "outer.e"


def test_references_with_expressions() -> None:
    written = "- repeat: 2\n  as: i\n  layers:\n    - 'a{i}': ReLU\n- {Add: , from: ['a{0}', 'a{2 - 1}']}\n"
    assert reads(written)["add1"] == "a0 a1"


# Sharing and freezing ------------------------------------------------------------------------------------------------


def test_shared_weights_name_their_owner() -> None:
    made = graph("- a: Conv2d(4, 1)\n- b: {Conv2d: [4, 1], share: a}\n- c: {Conv2d: [4, 1], share: b}\n")
    assert [node.shares for node in made.nodes] == [None, 0, 0]


def test_frozen_layers_are_not_trained() -> None:
    made = graph("- Conv2d(4, 1)\n- {Conv2d: [4, 1], frozen: true}\n- {Conv2d: [4, 1], frozen: 1 > 2}\n")
    assert [node.trainable for node in made.nodes] == [True, False, True]


def test_what_is_frozen_freezes_what_is_inside() -> None:
    head = "input: [4, 16, 16]\nblocks: {unit(): [Conv2d(4, 1), {Conv2d: [4, 1], frozen: false}]}"
    written = """
        - {unit: , frozen: true}
        - {repeat: 2, layers: [Conv2d(4, 1)], frozen: true}
        - {name: stem, layers: [Conv2d(4, 1)], frozen: true}
        - {add: [[Conv2d(4, 1)], []], frozen: true}
        - {if: true, then: [Conv2d(4, 1)], frozen: true}
        - Conv2d(4, 1)
        """
    made = graph(written, head)
    trained = [node.trainable for node in made.nodes if node.op.kind == "Conv2d"]
    assert trained == [False, True, False, False, False, False, False, True]
