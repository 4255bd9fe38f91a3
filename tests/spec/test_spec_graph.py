"""Whole specs: inputs, outputs, variables, blocks, extends, and what a caller may change."""

from __future__ import annotations

from pathlib import Path

import pytest

from cnnstat.analysis.analysis import analyze_graph
from cnnstat.analysis.shapes import infer_shapes
from cnnstat.errors import CnnstatError, RequestError, SpecError
from cnnstat.ir.graph import Graph
from cnnstat.sources import zoo
from cnnstat.sources.request import InputShape, Request
from cnnstat.spec.spec_graph import parse_spec, read_spec

BLOCKS = """
input: [3, 32, 32]
let: {width: 8}
blocks:
  unit(channels, kernel=3, activation=ReLU):
    - Conv2d(channels, kernel, padding=kernel // 2)
    - activation
  stage(channels, depth=1 + 1):
    - repeat: depth
      as: i
      layers:
        - unit{i}: unit(channels)
    - MaxPool2d(2)
"""


def ops(graph: Graph) -> list[str]:
    return [str(node.op) for node in graph.nodes]


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def read(path: Path, request: Request | None = None) -> Graph:
    return read_spec(path, request or Request(), zoo.find)


# Inputs and outputs --------------------------------------------------------------------------------------------------


def test_input_gets_a_batch_of_one() -> None:
    graph = parse_spec("input: [3, 32, 32]\nlayers: [ReLU]\n")
    assert [(i.name, i.shape, i.dtype) for i in graph.inputs] == [("input", (1, 3, 32, 32), "float32")]
    assert graph.outputs == ((1, 0),)


@pytest.mark.parametrize(
    ("written", "shape", "dtype"),
    [
        ("[3, 2 * size, size]", (1, 3, 16, 8), "float16"),
        ("size", (1, 8), "float16"),
        ("{shape: [128], dtype: int64}", (1, 128), "int64"),
        ("{shape: size}", (1, 8), "float16"),
    ],
)
def test_input_sizes_are_expressions(written: str, shape: tuple[int, ...], dtype: str) -> None:
    graph = parse_spec(f"input: {written}\nlet: {{size: 8}}\ndtype: float16\nlayers: [Identity]\n")
    assert (graph.inputs[0].shape, graph.inputs[0].dtype, graph.dtype) == (shape, dtype, "float16")


def test_several_inputs_and_outputs() -> None:
    graph = parse_spec("""
inputs: {left: [3, 8, 8], right: {shape: [3, 8, 8], dtype: float64}}
layers:
  - a: {Conv2d: [4, 3], from: left}
  - b: {Conv2d: [4, 3], from: right, share: a}
  - joined: {Concat: , from: [a, b]}
  - halves: Chunk(2)
outputs: [joined, 'halves[1]', left]
""")
    assert [i.name for i in graph.inputs] == ["left", "right"]
    assert [node.inputs for node in graph.nodes] == [((0, 0),), ((1, 0),), ((2, 0), (3, 0)), ((4, 0),)]
    assert graph.outputs == ((4, 0), (5, 1), (0, 0))


def test_one_output_by_name() -> None:
    assert parse_spec("input: [3]\nlayers:\n  - a: ReLU\n  - GELU\noutput: a\n").outputs == ((1, 0),)


def test_a_shared_layer_works_twice_and_weighs_once() -> None:
    alone = "input: [4, 8, 8]\nlayers:\n  - a: Conv2d(4, 3, padding=1)\n"
    both = alone + "  - {Conv2d: [4, 3, 1, 1], share: a}\n"
    one, two = (analyze_graph(parse_spec(text)).totals for text in (alone, both))
    assert (two.params, two.macs) == (one.params, 2 * one.macs)


def test_frozen_weights_are_counted_and_not_trained() -> None:
    totals = analyze_graph(parse_spec("input: [4]\nlayers:\n  - {Linear: 8, frozen: true}\n  - Linear(2)\n")).totals
    assert (totals.params, totals.trainable_params) == (40 + 18, 18)


# Variables -----------------------------------------------------------------------------------------------------------


def test_variables_use_each_other_in_any_order() -> None:
    graph = parse_spec("input: [3]\nlet: {c: a + b, a: 2, b: 2 * a}\nlayers: [Linear(c)]\n")
    assert ops(graph) == ["Linear(6)"]


def test_variables_hold_numbers_words_lists_and_layers() -> None:
    graph = parse_spec("""
input: [3, 8, 8]
let:
  sizes: [4, 2 * 4]
  nested: [[1, 3], [5, 7]]
  mode: same
  also: "valid"
  quoted: "2 + 2"
  biased: false
  activation: LeakyReLU(0.2)
  other: ReLU
layers:
  - Conv2d(sizes[1], nested[0][1], padding=mode, bias=biased)
  - Conv2d(quoted, 1, padding=also)
  - activation
  - other
  - other(inplace=true)
""")
    assert ops(graph) == [
        "Conv2d(8, 3, padding=same, bias=false)",
        "Conv2d(4, 1, padding=valid)",
        "LeakyReLU(negative_slope=0.2)",
        "ReLU",
        "ReLU(inplace=true)",
    ]


def test_layers_held_by_variables_use_variables() -> None:
    graph = parse_spec("input: [3]\nlet: {slope: 0.3, act: LeakyReLU(slope)}\nlayers: [act]\n")
    assert ops(graph) == ["LeakyReLU(negative_slope=0.3)"]


def test_a_layer_with_arguments_takes_no_more() -> None:
    with pytest.raises(SpecError, match="act stands for LeakyReLU"):
        parse_spec("input: [3]\nlet: {act: LeakyReLU(0.2)}\nlayers:\n  - act(0.3)\n")


@pytest.mark.parametrize("value", ["4", "2 * 2", 4, "base + 1"])
def test_set_replaces_a_variable_before_others_use_it(value: object) -> None:
    text = "input: [3]\nlet: {base: 3, n: 1, twice: 2 * n}\nlayers: [Linear(twice)]\n"
    assert ops(parse_spec(text, Request(variables={"n": value}))) == ["Linear(8)"]


def test_set_takes_lists_and_layers() -> None:
    text = "input: [3]\nlet: {sizes: [1], act: ReLU}\nlayers: ['Linear(sizes[1])', act]\n"
    for sizes in ("[5, 6]", [5, 6], (5, 6)):
        assert ops(parse_spec(text, Request(variables={"sizes": sizes, "act": "GELU"}))) == ["Linear(6)", "GELU"]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("m", 1, "there is no variable called m to set; known: n"),
        ("n", "1 +", "--variable n:1:1: cannot read ‘1 \\+’"),
        ("n", "2 ** 99", "--variable n:1:1: ‘2 \\*\\* 99’ is too large"),
        ("n", 2**99, "n: the number is too large"),
        ("n", [[1] * 9000, [1] * 9000], "n: a list of more than"),
    ],
)
def test_set_that_cannot_be(name: str, value: object, message: str) -> None:
    with pytest.raises(CnnstatError, match=message):
        parse_spec("input: [3]\nlet: {n: 1}\nlayers: [Linear(n)]\n", Request(variables={name: value}))


# Blocks --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("unit(4)", ["Conv2d(4, 3, padding=1)", "ReLU"]),
        ("unit(4, 5)", ["Conv2d(4, 5, padding=2)", "ReLU"]),
        ("unit(kernel=1, channels=4)", ["Conv2d(4, 1)", "ReLU"]),
        ("unit(width * 2, activation=GELU)", ["Conv2d(16, 3, padding=1)", "GELU"]),
        ("unit(4, activation=LeakyReLU(0.2))", ["Conv2d(4, 3, padding=1)", "LeakyReLU(negative_slope=0.2)"]),
        ("unit: {channels: 4, activation: ELU}", ["Conv2d(4, 3, padding=1)", "ELU"]),
        ("unit: [4, 1, SiLU]", ["Conv2d(4, 1)", "SiLU"]),
        ("unit: 4", ["Conv2d(4, 3, padding=1)", "ReLU"]),
        ("stage(4, 1)", ["Conv2d(4, 3, padding=1)", "ReLU", "MaxPool2d(2)"]),
    ],
)
def test_block_calls(call: str, expected: list[str]) -> None:
    assert ops(parse_spec(f"{BLOCKS}layers:\n  - {call}\n")) == expected


def test_blocks_name_their_layers() -> None:
    graph = parse_spec(f"{BLOCKS}layers:\n  - stage(4)\n  - stem: stage(8, depth=1)\n  - stage(4, 1)\n")
    assert [node.name for node in graph.nodes] == [
        "stage1.unit0.conv1", "stage1.unit0.relu1", "stage1.unit1.conv1", "stage1.unit1.relu1", "stage1.pool1",
        "stem.unit0.conv1", "stem.unit0.relu1", "stem.pool1",
        "stage2.unit0.conv1", "stage2.unit0.relu1", "stage2.pool1",
    ]  # fmt: skip
    assert dict(graph.blocks) == {
        "stage1": "stage", "stage1.unit0": "unit", "stage1.unit1": "unit",
        "stem": "stage", "stem.unit0": "unit", "stage2": "stage", "stage2.unit0": "unit",
    }  # fmt: skip


def test_defaults_use_earlier_parameters_and_variables() -> None:
    body = "blocks:\n  b(n, m=n * k, o=m + 1): [Linear(n), Linear(m), Linear(o)]\n"
    text = f"input: [3]\nlet: {{k: 2}}\n{body}layers: [b(3)]\n"
    assert ops(parse_spec(text)) == ["Linear(3)", "Linear(6)", "Linear(7)"]


def test_parameters_hide_variables_and_arguments_see_those_of_the_caller() -> None:
    text = """
input: [3]
let: {n: 1}
blocks:
  inner(n): [Linear(n)]
  outer(n): [inner(n + 1), Linear(n)]
layers: [outer(10), Linear(n)]
"""
    assert ops(parse_spec(text)) == ["Linear(11)", "Linear(10)", "Linear(1)"]


def test_blocks_do_not_see_the_counters_of_their_caller() -> None:
    text = "input: [3]\nblocks:\n  b(): [Linear(i + 1)]\nlayers:\n  - repeat: 2\n    as: i\n    layers: [b()]\n"
    with pytest.raises(SpecError, match="there is no variable called i"):
        parse_spec(text)


def test_blocks_are_passed_on_as_variables() -> None:
    text = """
input: [3]
let: {unit: small}
blocks:
  small(n): [Linear(n)]
  large(n): [Linear(10 * n)]
  twice(which, n): [which(n), which(n)]
layers: [unit(1), twice(large, 2), "twice(unit, 3)"]
"""
    assert ops(parse_spec(text)) == ["Linear(1)", "Linear(20)", "Linear(20)", "Linear(3)", "Linear(3)"]


def test_blocks_read_what_came_before_their_call() -> None:
    head = "input: [3]\nblocks:\n  b(k): [{Add: , from: ['skip{k}', input]}]\n"
    assert parse_spec(f"{head}layers:\n  - skip1: ReLU\n  - GELU\n  - b(1)\n").nodes[2].inputs == ((1, 0), (0, 0))


def test_blocks_without_layers_pass_their_input_on() -> None:
    assert ops(parse_spec("input: [3]\nblocks: {nothing: , none(n): []}\nlayers: [ReLU, nothing, none(3)]\n")) == [
        "ReLU"
    ]


def test_equal_calls_make_equal_ops_and_unequal_ones_do_not() -> None:
    text = """
input: [4, 8, 8]
blocks:
  b(k, flag=1): [Conv2d(4, k, bias=flag == 1)]
layers:
  - repeat: [1, 1.0, true]
    as: k
    layers:
      - Conv2d(4, 1 if k else 3)
  - b(1)
  - b(1, 2)
  - b(3)
  - repeat: [[1, 1], [1, 3], [1, 1]]
    as: kernel
    layers: ["Conv2d(4, kernel)"]
"""
    assert ops(parse_spec(text))[3:] == [
        "Conv2d(4, 1)", "Conv2d(4, 1, bias=false)", "Conv2d(4, 3)",
        "Conv2d(4, [1, 1])", "Conv2d(4, [1, 3])", "Conv2d(4, [1, 1])",
    ]  # fmt: skip


def test_kinds_of_equal_values_are_told_apart() -> None:
    with pytest.raises(SpecError, match="out_channels=true must be an integer"):
        parse_spec("input: [4, 8, 8]\nlayers:\n  - repeat: [1, true]\n    as: n\n    layers: ['Conv2d(n, 1)']\n")


# Extends -------------------------------------------------------------------------------------------------------------

BASE = """
title: The base
cite: Nobody 2000
notes: old
input: [3]
dtype: float16
let: {n: 4, twice: 2 * n}
blocks:
  unit(k): [Linear(k)]
layers: [unit(n), unit(twice)]
published:
  - {figure: params, value: "1", source: nowhere}
"""


def extended(tmp_path: Path, text: str, request: Request | None = None) -> Graph:
    write(tmp_path, "base.yaml", BASE)
    return read(write(tmp_path, "own.yaml", f"extends: base.yaml\n{text}"), request)


def test_extends_keeps_everything_but_what_is_published(tmp_path: Path) -> None:
    graph = extended(tmp_path, "")
    assert ops(graph) == ["Linear(4)", "Linear(8)"]
    assert (graph.name, graph.dtype, graph.about["title"]) == ("own", "float16", "The base")
    assert graph.about["published"] == ()


def test_extends_with_other_variables(tmp_path: Path) -> None:
    assert ops(extended(tmp_path, "let: {n: extra + 1, extra: 5}")) == ["Linear(6)", "Linear(12)"]
    assert ops(extended(tmp_path, "let: {n: 6}", Request(variables={"n": 7}))) == ["Linear(7)", "Linear(14)"]


def test_extends_with_other_blocks(tmp_path: Path) -> None:
    assert ops(extended(tmp_path, "blocks:\n  unit(k): [Linear(k), ReLU]")) == [
        "Linear(4)",
        "ReLU",
        "Linear(8)",
        "ReLU",
    ]


def test_extends_with_other_layers_input_dtype_and_title(tmp_path: Path) -> None:
    graph = extended(tmp_path, "title: Mine\ninput: [5]\ndtype: float32\nlayers: [unit(1)]\n")
    assert (ops(graph), graph.inputs[0].shape, graph.dtype) == (["Linear(1)"], (1, 5), "float32")
    assert graph.about["title"] == "Mine" and graph.about["cite"] == "Nobody 2000"


def test_extends_the_zoo_and_another_extension(tmp_path: Path) -> None:
    write(tmp_path, "small.yaml", "extends: vgg11\nlet: {classes: 10}\n")
    graph = read(write(tmp_path, "smaller.yaml", "extends: ./small.yaml\ninput: [3, 64, 64]\n"))
    assert infer_shapes(graph).outputs[-1] == ((1, 10),)
    assert graph.inputs[0].shape == (1, 3, 64, 64)


def test_faults_of_the_base_are_told_where_they_are(tmp_path: Path) -> None:
    write(tmp_path, "base.yaml", "input: [3]\nlayerz: 1\nlayers: [ReLUU]\n")
    with pytest.raises(SpecError) as caught:
        read(write(tmp_path, "own.yaml", "extends: base.yaml\ntitel: x\n"))
    assert [str(problem).removeprefix(f"{tmp_path}/") for problem in caught.value.problems] == [
        "base.yaml:2:1: unknown key layerz; did you mean layers?",
        "base.yaml:3:10: there is no layer called ReLUU; did you mean ReLU?",
        "own.yaml:2:1: unknown key titel; did you mean title?",
    ]


# About and requests --------------------------------------------------------------------------------------------------


def test_about() -> None:
    graph = parse_spec(
        "name: my  net\ntitle: A\n  title\ncite: me\nnotes: |\n  one\n  two\ninput: [3]\nlayers: [ReLU]\n"
        "published:\n  - {figure: params, value: 0, source: me, cause: 'none   at all'}\n"
    )
    assert graph.name == "my net"
    assert {**graph.about, "published": ()} == {
        "title": "A title",
        "cite": "me",
        "notes": "one\ntwo\n",
        "published": (),
    }
    (figure,) = graph.about["published"]
    assert {**figure, "location": str(figure["location"])} == {
        "figure": "params", "value": "0", "source": "me", "cause": "none at all", "location": "<text>:11:5",
    }  # fmt: skip


def test_the_name_is_the_file_name_unless_written(tmp_path: Path) -> None:
    assert read(write(tmp_path, "net.yaml", "input: [3]\nlayers: [ReLU]\n")).name == "net"
    assert read(write(tmp_path, "net.yaml", "name: other\ninput: [3]\nlayers: [ReLU]\n")).name == "other"


def test_requests_change_input_batch_and_dtype() -> None:
    text = "input: [3, 8, 8]\nlayers: [ReLU]\n"
    request = Request(inputs={"": InputShape((3, 9, 9))}, batch=4, dtype="float64")
    graph = parse_spec(text, request)
    assert (graph.inputs[0].shape, graph.inputs[0].dtype, graph.dtype) == ((4, 3, 9, 9), "float64", "float64")
    with pytest.raises(RequestError, match="3×8×8"):
        parse_spec(text, Request(inputs={"": InputShape((3, 9))}))


def test_nodes_know_where_they_are_written() -> None:
    graph = parse_spec("input: [3]\nblocks:\n  b(): [ReLU]\nlayers:\n  - b\n  - n: {Linear: 3}\n", file="net.yaml")
    assert [str(node.location) for node in graph.nodes] == ["net.yaml:3:9", "net.yaml:6:9"]


def test_the_garbage_collector_is_left_as_it_was() -> None:
    import gc

    assert gc.isenabled()
    parse_spec("input: [3]\nlayers: [ReLU]\n")
    assert gc.isenabled()
    gc.disable()
    try:
        parse_spec("input: [3]\nlayers: [ReLU]\n")
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_an_output_that_a_layer_does_not_have_is_one_line() -> None:
    with pytest.raises(SpecError, match=r"asks for \[5\] of relu1, which has 1; the first is \[0\]"):
        analyze_graph(parse_spec('input: [3, 8, 8]\nlayers: [ReLU]\noutput: "relu1[5]"'))
