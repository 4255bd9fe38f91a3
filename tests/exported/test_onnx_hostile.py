"""ONNX files that are no models, or are made to exhaust a machine: one clear line, at once."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx_files import (
    INT64,
    analyzed,
    convolution,
    declared,
    helper,
    model,
    node,
    number,
    numbers,
    numpy,
    onnx,
    saved,
    tensor,
)

import cnnstat
from cnnstat.errors import CnnstatError, SourceError

CONVOLUTION = convolution(pads=[1, 1, 1, 1]).SerializeToString()


def message(folder: Path, content: Any, input: Any = None) -> str:
    with pytest.raises(CnnstatError) as error:
        analyzed(folder, content, input)
    text = str(error.value)
    assert "\n" not in text and len(text) < 500 and text.startswith(str(folder))
    return text.removeprefix(f"{folder}/model.onnx: ")


def test_a_file_that_is_cut_off(tmp_path: Path) -> None:
    for length in range(1, len(CONVOLUTION) - 1, 7):
        assert message(tmp_path, CONVOLUTION[:length])


def test_files_that_are_no_model(tmp_path: Path) -> None:
    assert "is empty" in message(tmp_path, b"")
    assert "damaged" in message(tmp_path, bytes(range(255, 0, -1)))
    assert "has no graph" in message(tmp_path, onnx.ModelProto(ir_version=8).SerializeToString())
    with pytest.raises(SourceError, match="there is no such file"):
        cnnstat.analyze(str(tmp_path / "absent.onnx"))
    with pytest.raises(SourceError, match="cannot be read"):
        (tmp_path / "folder.onnx").mkdir()
        cnnstat.analyze(str(tmp_path / "folder.onnx"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    with pytest.raises(SourceError, match="cannot be read"):
        cnnstat.analyze(str(tmp_path / "pipe.onnx"))


def test_a_file_of_more_than_2_gib_is_refused_by_its_size(tmp_path: Path) -> None:
    with (tmp_path / "model.onnx").open("wb") as file:
        file.truncate(3 * 2**30)  # no byte of it is stored
    with pytest.raises(SourceError, match=r"has 3\.0 GiB"):
        cnnstat.analyze(str(tmp_path / "model.onnx"))


def test_versions_of_the_future_are_named(tmp_path: Path) -> None:
    built = convolution()
    built.opset_import[0].version = 999
    assert "opset 999 is newer than" in message(tmp_path, built)
    built = convolution()
    built.ir_version = 99
    assert "IR version 99 is newer than" in message(tmp_path, built)


def test_graphs_that_are_none(tmp_path: Path) -> None:
    x = [declared("x", [1, 4])]
    cycle = [node("Add", ["x", "b"], ["a"], name="first"), node("Relu", ["a"], ["b"])]
    assert "form a cycle" in message(tmp_path, model(cycle, x, ["b"]))
    assert "reads z, which nothing makes" in message(tmp_path, model([node("Relu", ["z"], ["y"])], x, ["y"]))
    assert "returns z, which nothing makes" in message(tmp_path, model([node("Relu", ["x"], ["y"])], x, ["z"]))
    twice = [node("Relu", ["x"], ["y"]), node("Abs", ["x"], ["y"])]
    assert "two nodes make the tensor y" in message(tmp_path, model(twice, x, ["y"]))


def test_unsorted_nodes_are_sorted(tmp_path: Path) -> None:
    nodes = [node("Relu", ["h"], ["y"], name="last"), node("Abs", ["x"], ["h"], name="first")]
    analysis = analyzed(tmp_path, model(nodes, [declared("x", [1, 4])], ["y"]))
    assert [layer.name for layer in analysis.layers] == ["first", "last"]


def test_names_that_are_no_text(tmp_path: Path) -> None:
    content = CONVOLUTION.replace(b"\n\x01x", b"\n\x01\xff")
    assert content != CONVOLUTION
    assert "is not UTF-8" in message(tmp_path, content)


def test_names_cannot_steer_a_terminal(tmp_path: Path) -> None:
    built = model([node("Relu", ["x"], ["y"], name="a\x1b[31m\nb")], [declared("x", [1, 4])], ["y"])
    (layer,) = analyzed(tmp_path, built).layers
    assert layer.name.isprintable()


def test_channels_that_do_not_fit_the_weight(tmp_path: Path) -> None:
    assert "has 5 channels, but the weight takes 3" in message(tmp_path, convolution(), (1, 5, 16, 16))
    assert "kernel" in message(tmp_path, convolution(), (1, 3, 2, 2))


def test_a_size_that_the_file_has_fixed(tmp_path: Path) -> None:
    nodes = [node("Reshape", ["x", "shape"], ["h"], name="flatten"), node("MatMul", ["h", "w"], ["y"])]
    built = model(nodes, [declared("x", [1, 3, 4, 4])], ["y"], [numbers("shape", 1, 48), tensor("w", (48, 2))])
    assert analyzed(tmp_path, built).totals.macs == 96
    assert "flatten (Reshape): makes 1×48 of 1×3×8×8" in message(tmp_path, built, (1, 3, 8, 8))


def test_opsets_before_7_name_what_they_do_not_count(tmp_path: Path) -> None:
    built = model(
        [node("Pad", ["x"], ["h"], paddings=[0, 0, 1, 1, 0, 0, 1, 1]), node("Relu", ["h"], ["y"])],
        [declared("x", [1, 3, 4, 4])], ["y"], opset=1,
    )  # fmt: skip
    analysis = analyzed(tmp_path, built)
    assert analysis.uncounted or analysis.layers[0].output_shape == (1, 3, 6, 6)


BOMBS = {
    "range": [node("Range", ["zero", "huge", "one"], ["r"]), node("Cast", ["r"], ["f"], to=1)],
    "fill": [node("ConstantOfShape", ["sizes"], ["f"])],
    "tile": [node("Tile", ["few", "sizes"], ["f"])],
    "expand": [node("Expand", ["few", "sizes"], ["f"])],
    "one hot": [node("OneHot", ["few_numbers", "huge", "on_off"], ["f"])],
}


@pytest.mark.parametrize("kind", BOMBS)
def test_sizes_are_seen_before_anything_is_computed(kind: str, tmp_path: Path) -> None:
    stored = [
        number("zero", 0, numpy.int64), number("one", 1, numpy.int64), number("huge", 2**33, numpy.int64),
        numbers("sizes", 2**16, 2**17), tensor("few", (1, 1)), numbers("few_numbers", 1, 2),
        numbers("on_off", 0, 1, dtype=numpy.float32),
    ]  # fmt: skip
    built = model([*BOMBS[kind], node("Add", ["x", "f"], ["y"])], [declared("x", [1])], ["y"], stored)
    analysis = analyzed(tmp_path, built)
    assert max(analysis.values.outputs[-1][0]) >= 2**17


def test_many_small_constants_do_not_make_a_large_one(tmp_path: Path) -> None:
    shapes = [[2 if place == axis else 1 for place in range(40)] for axis in range(40)]
    stored = [tensor(f"c{axis}", shape) for axis, shape in enumerate(shapes)]
    nodes = [
        node("Max", [each.name for each in stored], ["m"]),
        node("ReduceMax", ["m"], ["r"], keepdims=0),
        node("Add", ["x", "r"], ["y"]),
    ]
    tracemalloc.start()
    analyzed(tmp_path, model(nodes, [declared("x", [1, 3])], ["y"], stored))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50 * 2**20


def test_a_size_that_no_machine_has(tmp_path: Path) -> None:
    built = model(
        [node("ConstantOfShape", ["n"], ["f"]), node("Add", ["x", "f"], ["y"])], [declared("x", [1])], ["y"],
        [numbers("n", 2**61, 2**61)],
    )  # fmt: skip
    with pytest.raises(CnnstatError):
        analyzed(tmp_path, built)


@pytest.mark.parametrize("levels", [17, 30])
def test_functions_that_double_each_other(levels: int, tmp_path: Path) -> None:
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    functions = [helper.make_function("own", "F0", ["a"], ["b"], [node("Relu", ["a"], ["b"])], opsets)]
    for level in range(1, 31):
        body = [
            node(f"F{level - 1}", ["a"], ["h"], domain="own"),
            node(f"F{level - 1}", ["h"], ["b"], domain="own"),
        ]
        functions.append(helper.make_function("own", f"F{level}", ["a"], ["b"], body, opsets))
    built = model(
        [node(f"F{levels}", ["x"], ["y"], domain="own")], [declared("x", [1, 4])], ["y"], functions=functions,
        domains=[("own", 1)],
    )  # fmt: skip
    assert "nodes, those of functions and loops each time" in message(tmp_path, built)


def test_a_function_that_calls_itself(tmp_path: Path) -> None:
    opsets = [helper.make_opsetid("own", 1)]
    function = helper.make_function("own", "F", ["a"], ["b"], [node("F", ["a"], ["b"], domain="own")], opsets)
    built = model(
        [node("F", ["x"], ["y"], domain="own")], [declared("x", [1, 4])], ["y"], functions=[function],
        domains=[("own", 1)],
    )  # fmt: skip
    assert "deep" in message(tmp_path, built)


def test_loops_within_loops(tmp_path: Path) -> None:
    body = [node("MatMul", ["v0", "w"], ["n0"]), node("Identity", ["g0"], ["o0"])]
    for level in range(6):
        inputs = [declared(f"i{level}", [], INT64), declared(f"g{level}", [], 9), declared(f"v{level}", None)]
        results = [helper.make_empty_tensor_value_info(name) for name in (f"o{level}", f"n{level}")]
        graph = helper.make_graph(body, f"level{level}", inputs, results)
        above = level + 1
        body = [
            node("Loop", ["n", "", f"v{above}" if level < 5 else "x"], [f"n{above}"], body=graph),
            node("Identity", [f"g{above}" if level < 5 else "yes"], [f"o{above}"]),
        ]
    stored = [number("n", 1000, numpy.int64), tensor("w", (4, 4)), number("yes", True, numpy.bool_)]
    built = model(body, [declared("x", [1, 4])], ["n6"], stored)
    try:
        assert analyzed(tmp_path, built).totals.macs == 16 * 1000**6
    except CnnstatError as error:
        assert "nodes" in str(error)


def nested(depth: int) -> Any:
    """Return Ifs within each other, as bytes: the package refuses to write what it refuses to read."""
    graph = helper.make_graph([node("Relu", ["x"], ["y"])], "g", [], [helper.make_empty_tensor_value_info("y")])
    content = graph.SerializeToString()
    for _ in range(depth):
        content = field(
            1, field(4, b"If") + field(1, b"c") + field(2, b"y") + field(5, branch(b"then_branch", content))
        )
    return field(7, content)


def field(number: int, content: bytes) -> bytes:
    length, size = bytearray(), len(content)
    while size > 127:
        length.append(size & 127 | 128)
        size >>= 7
    return bytes([number << 3 | 2]) + bytes((*length, size)) + content


def branch(name: bytes, graph: bytes) -> bytes:
    return field(1, name) + field(6, graph) + b"\xa0\x01\x05"


def test_nesting_beyond_reason(tmp_path: Path) -> None:
    for depth in (20, 200, 3000):
        assert message(tmp_path, nested(depth))


@pytest.mark.parametrize("kind", ["nodes", "initializers", "inputs of one node", "attributes"])
def test_millions_of_parts(kind: str, tmp_path: Path) -> None:
    many = {
        "nodes": field(7, field(1, b"") * 2_000_000),
        "initializers": field(7, field(1, field(4, b"Relu")) + field(5, b"") * 4_000_000),
        "inputs of one node": field(7, field(1, field(1, b"") * 4_000_000)),
        "attributes": field(7, field(1, field(5, b"") * 4_000_000)),
    }[kind]
    limit = "resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))"
    program = f"import resource, cnnstat.cli; {limit}; cnnstat.cli.main()"
    path = saved(tmp_path, many)
    result = subprocess.run([sys.executable, "-c", program, "analyze", path], capture_output=True, text=True)
    assert result.returncode == 2 and len(result.stderr.splitlines()) == 1, result.stderr[-500:]


SMALL = [
    CONVOLUTION,
    model(
        [
            node("Shape", ["x"], ["s"]), node("Gather", ["s", "i"], ["n"]), node("Concat", ["n", "m"], ["t"], axis=0),
            node("Reshape", ["x", "t"], ["h"]), node("Gemm", ["h", "w", "b"], ["y"], transB=1),
        ],
        [declared("x", [2, 3, 4])], ["y"],
        [numbers("i", 0), numbers("m", 12), tensor("w", (5, 12)), tensor("b", (5,))],
    ).SerializeToString(),
]  # fmt: skip


@settings(max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(SMALL),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=6),
    st.integers(0, 3),
)
def test_changed_bytes_give_a_result_or_one_line(tmp_path: Path, content: bytes, changes: Any, cut: int) -> None:
    changed = bytearray(content)
    for place, value in changes:
        changed[place % len(changed)] = value
    if cut:
        del changed[changes[0][0] % len(changed) :][: cut * 3]
    path = saved(tmp_path, bytes(changed))
    try:
        assert cnnstat.analyze(path).totals.macs >= 0
    except CnnstatError as error:
        assert len(str(error).splitlines()) == 1
