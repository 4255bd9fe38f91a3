"""Multiply-accumulates, parameters and shapes of ONNX files, against sums done by hand and against ONNX's own tests."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
from onnx_files import (
    BOOL,
    INT64,
    analyzed,
    convolution,
    declared,
    helper,
    macs,
    model,
    node,
    number,
    numbers,
    numpy,
    onnx,
    output_shapes,
    saved,
    tensor,
)  # fmt: skip

import cnnstat
from cnnstat.analysis.analysis import analyze_graph
from cnnstat.errors import CnnstatError
from cnnstat.sources.load import load_source
from cnnstat.sources.request import InputShape, Request


def test_a_convolution_is_the_librarys(tmp_path: Path) -> None:
    analysis = analyzed(tmp_path, convolution(pads=[1, 1, 1, 1], strides=[2, 2]))
    (layer,) = analysis.layers
    assert str(layer.op) == "Conv2d(8, 3, stride=2, padding=1)"
    assert layer.output_shape == (1, 8, 8, 8)
    assert (layer.params, layer.macs) == (8 * 27 + 8, 8 * 64 * 27)
    assert analysis.totals.receptive_field.size == (3, 3)


@pytest.mark.parametrize("rule", ["SAME_UPPER", "SAME_LOWER"])
def test_padding_by_a_rule_is_a_layer_where_the_sides_differ(rule: str, tmp_path: Path) -> None:
    analysis = analyzed(tmp_path, convolution(auto_pad=rule, strides=[2, 2]))
    side = 0 if rule == "SAME_UPPER" else 1
    padding = [side, 1 - side] * 2
    assert [str(layer.op) for layer in analysis.layers] == [f"ZeroPad2d({padding})", "Conv2d(8, 3, stride=2)"]
    assert output_shapes(analysis) == [(1, 8, 8, 8)] and macs(analysis) == [8 * 64 * 27]


def test_transposed_convolutions_count_their_inputs(tmp_path: Path) -> None:
    built = model(
        [node("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1], group=2)],
        [declared("x", [1, 4, 5, 6])],
        ["y"],
        [tensor("w", (4, 3, 3, 3))],
    )
    analysis = analyzed(tmp_path, built)
    assert output_shapes(analysis) == [(1, 6, 10, 12)]
    assert (analysis.totals.macs, analysis.totals.params) == (4 * 30 * 3 * 9, 4 * 27)


def test_a_product_with_a_stored_matrix_is_linear_and_with_a_tensor_is_not(tmp_path: Path) -> None:
    built = model(
        [
            node("MatMul", ["x", "w"], ["h"]),
            node("Add", ["h", "b"], ["biased"]),
            node("Transpose", ["biased"], ["t"], perm=[0, 2, 1]),
            node("MatMul", ["biased", "t"], ["y"]),
        ],
        [declared("x", [2, 5, 7])],
        ["y"],
        [tensor("w", (7, 3)), tensor("b", (3,))],
    )
    analysis = analyzed(tmp_path, built)
    assert [layer.op.kind for layer in analysis.layers] == ["Linear", "Add", "Permute", "MatMul"]
    assert macs(analysis) == [2 * 5 * 7 * 3, 2 * 5 * 5 * 3]
    assert analysis.totals.params == 24


@pytest.mark.parametrize(
    ("equation", "shapes", "count"),
    [
        ("bij,bjk->bik", [(2, 3, 4), (2, 4, 5)], 2 * 3 * 4 * 5),
        ("bhid,bhjd->bhij", [(2, 4, 6, 8), (2, 4, 5, 8)], 2 * 4 * 6 * 5 * 8),
        ("...ij,jk", [(2, 3, 4), (4, 5)], 2 * 3 * 4 * 5),
        ("i,j->ij", [(3,), (4,)], 0),
    ],
)
def test_einstein_sums(equation: str, shapes: Any, count: int, tmp_path: Path) -> None:
    inputs = [declared(name, shape) for name, shape in zip("ab", shapes)]
    built = model([node("Einsum", ["a", "b"], ["y"], equation=equation)], inputs, ["y"])
    assert analyzed(tmp_path, built).totals.macs == count


def test_recurrent_layers_of_two_directions(tmp_path: Path) -> None:
    built = model(
        [node("LSTM", ["x", "w", "r", "b"], ["y", "h"], hidden_size=6, direction="bidirectional")],
        [declared("x", [7, 2, 5])],
        ["y", "h"],
        [tensor("w", (2, 24, 5)), tensor("r", (2, 24, 6)), tensor("b", (2, 48))],
    )
    analysis = analyzed(tmp_path, built)
    assert output_shapes(analysis)[0] == (7, 2, 2, 6)
    assert analysis.totals.macs == 7 * 2 * 2 * 24 * (5 + 6)
    assert analysis.totals.params == 2 * (24 * 5 + 24 * 6 + 48)


def test_past_keys_lengthen_attention(tmp_path: Path) -> None:
    names = ["q", "k", "v", "", "past_k", "past_v"]
    shapes = [(1, 4, 3, 8), (1, 4, 3, 8), (1, 4, 3, 8), None, (1, 4, 9, 8), (1, 4, 9, 8)]
    inputs = [declared(name, shape) for name, shape in zip(names, shapes) if name]
    built = model([node("Attention", names, ["y", "new_k", "new_v"])], inputs, ["y"], opset=23, ir_version=10)
    assert analyzed(tmp_path, built).totals.macs == 4 * 3 * (3 + 9) * (8 + 8)


def parameters(folder: Path, nodes: Any, stored: Any, shape: Any = (2, 4)) -> tuple[int, int]:
    totals = analyzed(folder, model(nodes, [declared("x", shape)], ["y"], stored)).totals
    return totals.params, totals.buffers


def test_what_counts_as_a_parameter(tmp_path: Path) -> None:
    matrix = tensor("w", (4, 6))
    product = node("MatMul", ["x", "w"], ["y"])
    assert parameters(tmp_path, [product], [matrix, tensor("unused", (99,))]) == (24, 0)
    # A single number is none, but as a weight or bias it is.
    assert parameters(tmp_path, [node("Mul", ["x", "s"], ["y"])], [number("s", 2.0)]) == (0, 0)
    assert parameters(tmp_path, [node("PRelu", ["x", "s"], ["y"])], [number("s", 2.0)]) == (1, 0)
    # Sizes, limits and shapes are arguments.
    reshape = [node("Reshape", ["x", "shape"], ["h"]), node("Clip", ["h", "low", "high"], ["y"])]
    assert parameters(tmp_path, reshape, [numbers("shape", 4, 2), number("low", 0.0), number("high", 6.0)]) == (0, 0)
    # Zeros that the file makes by a rule are none, unless they stand for a weight.
    fill = node("ConstantOfShape", ["shape"], ["w"])
    assert parameters(tmp_path, [fill, node("Add", ["x", "w"], ["y"])], [numbers("shape", 2, 4)]) == (0, 0)
    assert parameters(tmp_path, [fill, product], [numbers("shape", 4, 6)]) == (24, 0)


def test_running_statistics_are_buffers(tmp_path: Path) -> None:
    norm = node("BatchNormalization", ["x", "scale", "shift", "mean", "variance"], ["y"])
    stored = [tensor(name, (4,)) for name in ("scale", "shift", "mean", "variance")]
    assert parameters(tmp_path, [norm], stored, (2, 4, 3, 3)) == (8, 8)


def test_a_weight_that_two_layers_read_counts_once(tmp_path: Path) -> None:
    built = model(
        [node("MatMul", ["x", "w"], ["h"]), node("MatMul", ["h", "w"], ["y"])],
        [declared("x", [1, 4])], ["y"], [tensor("w", (4, 4))],
    )  # fmt: skip
    analysis = analyzed(tmp_path, built)
    assert (analysis.totals.params, analysis.totals.macs) == (16, 32)
    assert analysis.graph.nodes[1].shares == 0


def test_weights_that_are_inputs_are_no_parameters(tmp_path: Path) -> None:
    built = model([node("Conv", ["x", "w"], ["y"])], [declared("x", [1, 3, 8, 8]), declared("w", [4, 3, 3, 3])], ["y"])
    totals = analyzed(tmp_path, built).totals
    assert (totals.params, totals.macs) == (0, 4 * 36 * 27)


def test_old_files_list_initializers_among_the_inputs(tmp_path: Path) -> None:
    built = convolution()
    built.graph.input.extend([declared("w", [8, 3, 3, 3]), declared("b", [8])])
    built.ir_version = 3
    analysis = analyzed(tmp_path, built)
    assert [each.name for each in analysis.graph.inputs] == ["x"] and analysis.totals.params == 224


def test_stated_shapes_are_not_believed(tmp_path: Path) -> None:
    built = convolution()
    built.graph.value_info.append(declared("y", [1, 99, 99, 99]))
    del built.graph.output[:]
    built.graph.output.append(declared("y", [7, 7]))
    assert output_shapes(analyzed(tmp_path, built)) == [(1, 8, 14, 14)]


def test_half_precision_weighs_half(tmp_path: Path) -> None:
    built = model(
        [node("MatMul", ["x", "w"], ["y"])], [declared("x", [1, 4], onnx.TensorProto.FLOAT16)], ["y"],
        [tensor("w", (4, 6), numpy.float16)],
    )  # fmt: skip
    analysis = analyzed(tmp_path, built)
    assert analysis.graph.dtype == "float16" and analysis.totals.memory.params_bytes == 48


def test_external_weights_are_never_opened(tmp_path: Path) -> None:
    built = convolution()
    weight = built.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", "../../etc/passwd"), ("offset", "0"), ("length", "864")):
        weight.external_data.add(key=key, value=value)
    assert analyzed(tmp_path, built).totals.params == 224


def branches(condition: str) -> Any:
    """Return an If over convolutions of 3×3 and 5×5, each with its weight in a node."""
    bodies = []
    for name, size in (("then", 3), ("else", 5)):
        weight = node("Constant", [], [f"w_{name}"], value=tensor(f"w_{name}", (4, 3, size, size)))
        conv = node("Conv", ["x", f"w_{name}"], [f"y_{name}"], pads=[size // 2] * 4)
        result = [helper.make_empty_tensor_value_info(f"y_{name}")]
        bodies.append(helper.make_graph([weight, conv], name, [], result))
    return node("If", [condition], ["y"], then_branch=bodies[0], else_branch=bodies[1], name="choice")


def test_a_branch_that_sizes_decide_runs_alone(tmp_path: Path) -> None:
    nodes = [
        node("Shape", ["x"], ["shape"]), node("Gather", ["shape", "two"], ["height"]),
        node("Greater", ["height", "eight"], ["is_large"]), branches("is_large"),
    ]  # fmt: skip
    stored = [number("two", 2, numpy.int64), number("eight", 8, numpy.int64)]
    built = model(nodes, [declared("x", [1, 3, "h", "w"])], ["y"], stored)
    both = 4 * 3 * (9 + 25)
    large = analyzed(tmp_path, built, (1, 3, 10, 10)).totals
    small = analyzed(tmp_path, built, (1, 3, 6, 6)).totals
    assert (large.params, large.macs) == (both, 4 * 100 * 27)
    assert (small.params, small.macs) == (both, 4 * 36 * 75)


def test_a_branch_that_an_input_decides_is_counted_twice_or_chosen(tmp_path: Path) -> None:
    built = model([branches("c")], [declared("x", [1, 3, 4, 4]), declared("c", [], BOOL)], ["y"])
    analysis = analyzed(tmp_path, built)
    assert analysis.totals.macs == 4 * 16 * (27 + 75) and "at most" in analysis.warnings[0]
    assert analyzed(tmp_path, built, values={"c": False}).totals.macs == 4 * 16 * 75


def loop(count: str, inner: Any, outputs: list[str]) -> Any:
    inputs = [declared("i", [], INT64), declared("go", [], BOOL), declared("v", None)]
    results = [helper.make_empty_tensor_value_info(name) for name in outputs]
    return node("Loop", [count, "", "x"], ["y"], body=helper.make_graph(inner, "body", inputs, results), name="loop")


@pytest.mark.parametrize("turns", [0, 5, 30_000])
def test_a_loop_multiplies(turns: int, tmp_path: Path) -> None:
    inner = [node("MatMul", ["v", "w"], ["next"]), node("Identity", ["go"], ["on"])]
    nodes = [loop("n", inner, ["on", "next"])]
    built = model(nodes, [declared("x", [1, 4])], ["y"], [tensor("w", (4, 4)), number("n", turns, numpy.int64)])
    totals = analyzed(tmp_path, built).totals
    assert totals.macs == turns * 16
    assert totals.params == (16 if turns else 0)


def test_a_loop_of_unknown_length_says_so(tmp_path: Path) -> None:
    inner = [node("MatMul", ["v", "w"], ["next"]), node("Identity", ["go"], ["on"])]
    built = model(
        [loop("n", inner, ["on", "next"])],
        [declared("x", [1, 4]), declared("n", [], INT64)],
        ["y"],
        [tensor("w", (4, 4))],
    )
    analysis = analyzed(tmp_path, built)
    assert analysis.totals.macs == 16 and "its body is counted once" in analysis.warnings[0]
    assert analyzed(tmp_path, built, values={"n": 3}).totals.macs == 48


def test_a_loop_may_lengthen_what_it_carries(tmp_path: Path) -> None:
    inner = [
        node("Concat", ["v", "x"], ["next"], axis=1), node("Identity", ["go"], ["on"]),
        node("MatMul", ["next", "w"], ["seen"]),
    ]  # fmt: skip
    built = model(
        [loop("n", inner, ["on", "next"])], [declared("x", [1, 2, 4])], ["y"],
        [tensor("w", (4, 4)), number("n", 3, numpy.int64)],
    )  # fmt: skip
    analysis = analyzed(tmp_path, built)
    assert output_shapes(analysis) == [(1, 8, 4)] and analysis.totals.macs == (4 + 6 + 8) * 16


def test_loops_that_are_too_long_to_unroll_say_what_their_turns_are_counted_as(tmp_path: Path) -> None:
    lengthens = [node("Concat", ["v", "x"], ["next"], axis=1), node("Identity", ["go"], ["on"])]
    ends = [node("MatMul", ["v", "w"], ["next"]), node("ReduceSum", ["next"], ["s"], keepdims=0),
            node("Cast", ["s"], ["on"], to=9)]  # fmt: skip
    stored = [tensor("w", (4, 4)), number("n", 30_000, numpy.int64)]
    for inner, note in ((lengthens, "every turn is counted as the first"), (ends, "totals are at most these")):
        built = model([loop("n", inner, ["on", "next"])], [declared("x", [1, 2, 4])], ["y"], stored)
        assert any(note in each for each in analyzed(tmp_path, built).warnings)


@pytest.mark.parametrize("steps", [7, 30_000])
def test_what_a_scan_collects_has_an_axis_for_its_steps(steps: int, tmp_path: Path) -> None:
    step = [node("MatMul", ["s", "w"], ["next"]), node("Identity", ["next"], ["part"])]
    results = [helper.make_empty_tensor_value_info(name) for name in ("next", "part")]
    body = helper.make_graph(step, "step", [declared("s", [2, 4]), declared("p", [2, 4])], results)
    nodes = [
        node("Scan", ["x", "all"], ["last", "parts"], body=body, num_scan_inputs=1, scan_input_axes=[1],
             scan_output_axes=[1]),
        node("MatMul", ["parts", "v"], ["y"]),
    ]  # fmt: skip
    built = model(
        nodes, [declared("x", [2, 4]), declared("all", [2, steps, 4])], ["parts", "y"],
        [tensor("w", (4, 4)), tensor("v", (4, 3))],
    )  # fmt: skip
    analysis = analyzed(tmp_path, built)
    assert output_shapes(analysis) == [(2, steps, 4), (2, steps, 3)]
    assert analysis.totals.macs == steps * 2 * (16 + 12)


def test_a_function_of_the_file_counts_at_each_call(tmp_path: Path) -> None:
    body = [node("Conv", ["a", "k"], ["c"], pads=[1, 1, 1, 1]), node("Relu", ["c"], ["r"])]
    opsets = [helper.make_opsetid("", 17)]
    function = helper.make_function("own", "Block", ["a", "k"], ["r"], body, opsets)
    nodes = [
        node("Block", ["x", "w"], ["h"], domain="own", name="f1"),
        node("Block", ["h", "w"], ["y"], domain="own", name="f2"),
    ]
    built = model(
        nodes,
        [declared("x", [1, 4, 6, 6])],
        ["y"],
        [tensor("w", (4, 4, 3, 3))],
        functions=[function],
        domains=[("own", 1)],
    )
    analysis = analyzed(tmp_path, built)
    assert macs(analysis) == [4 * 36 * 36] * 2 and analysis.totals.params == 144
    assert [layer.name for layer in analysis.layers] == ["f1", "f1.relu", "f2", "f2.relu"]


def test_operations_that_nobody_knows_are_named(tmp_path: Path) -> None:
    built = model(
        [node("Mystery", ["x"], ["h"], domain="own"), node("Relu", ["x"], ["y"])], [declared("x", [1, 4])], ["y", "h"],
        domains=[("own", 1)],
    )  # fmt: skip
    analysis = analyzed(tmp_path, built)
    assert analysis.uncounted == ("mystery",)


@pytest.mark.parametrize(
    "name", sorted(path.name for path in Path(onnx.__file__).parent.glob("backend/test/data/light/*.onnx"))
)
def test_networks_that_onnx_ships(name: str) -> None:
    published = {
        "light_resnet50.onnx": (25_557_032, 4_089_184_256),
        "light_bvlc_alexnet.onnx": (60_965_224, 655_000_000),
        "light_vgg19.onnx": (143_667_240, 19_632_062_464),
        "light_squeezenet.onnx": (1_235_496, 349_000_000),
    }
    analysis = cnnstat.analyze(str(Path(onnx.__file__).parent / "backend/test/data/light" / name))
    assert not analysis.uncounted
    if name in published:
        params, work = published[name]
        assert analysis.totals.params == params
        assert analysis.totals.macs == pytest.approx(work, rel=0 if work % 1000 else 0.1)


def node_cases() -> list[Any]:
    """Return ONNX's own tests of single operations, every eighth of them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        return collect_testcases(None)[::8]


def test_shapes_of_onnx_own_tests(tmp_path: Path) -> None:
    compared, differing = 0, []
    path = tmp_path / "case.onnx"
    for case in node_cases():
        given, results = case.data_sets[0]
        are_tensors = all(each.type.HasField("tensor_type") for each in case.model.graph.input)
        if not are_tensors or not all(
            isinstance(each, numpy.ndarray) and each.dtype != object for each in (*given, *results)
        ):
            continue
        path.write_bytes(case.model.SerializeToString())
        by_name = dict(zip((each.name for each in case.model.graph.input), given))
        values = {name: each for name, each in by_name.items() if each.size < 200 and each.dtype.kind in "iub"}
        values.update((name, each) for name, each in by_name.items() if each.ndim < 2 and each.size < 9)
        shapes = {name: InputShape(tuple(each.shape)) for name, each in by_name.items()}
        try:
            analysis = analyze_graph(load_source(str(path), Request(inputs=shapes, input_values=values)))
        except CnnstatError as error:
            differing.append(f"{case.name}: {error}")
            continue
        if analysis.uncounted or analysis.notes:
            continue  # it says itself that it does not know
        compared += 1
        if output_shapes(analysis) != [tuple(each.shape) for each in results]:
            differing.append(case.name)
    assert differing == [] and compared > 100


@pytest.mark.parametrize("name", ["x", "x:0", "gpu_0/data_0", "serving_default_x:0", "a b"])
def test_inputs_may_have_any_name(name: str, tmp_path: Path) -> None:
    built = model([node("Relu", [name], ["y"])], [declared(name, ["batch", 3, "h", "w"])], ["y"])
    from cnnstat.sources.request import parse_inputs

    request = Request(inputs=parse_inputs([f"{name}=2x3x5x6"]))
    assert load_source(saved(tmp_path, built), request).inputs[0].shape == (2, 3, 5, 6)


def test_free_sizes_are_asked_for_by_name(tmp_path: Path) -> None:
    built = model([node("Relu", ["x"], ["y"])], [declared("x", ["batch", 3, "height", None])], ["y"])
    with pytest.raises(CnnstatError, match=r"height \(axis 2\) and axis 3 of the input x are free.*x=1x3x224x224"):
        analyzed(tmp_path, built)
    assert analyzed(tmp_path, built, (3, 8, 9)).graph.inputs[0].shape == (1, 3, 8, 9)
    assert analyzed(tmp_path, built, (3, 8, 9), batch=4).graph.inputs[0].shape == (4, 3, 8, 9)


def test_one_size_names_all_axes_that_share_it(tmp_path: Path) -> None:
    built = model([node("Add", ["a", "b"], ["y"])], [declared("a", ["n", "t"]), declared("b", ["n", "t"])], ["y"])
    assert output_shapes(analyzed(tmp_path, built, inputs={"a": (2, 5)})) == [(2, 5)]


def test_unknown_dimensions_of_other_exporters(tmp_path: Path) -> None:
    built = model([node("Relu", ["x"], ["y"])], [declared("x", [-1, 3, 8, 8])], ["y"])
    assert output_shapes(analyzed(tmp_path, built)) == [(1, 3, 8, 8)]


@pytest.mark.parametrize("op_type", ["Reciprocal", "Pow", "Exp", "Round", "Clip", "Sigmoid", "Sum"])
def test_sizes_may_be_computed_with_fractions(op_type: str, tmp_path: Path) -> None:
    """Detection models scale their inputs by computed numbers."""
    further = {"Pow": ["one"], "Sum": ["zero"]}.get(op_type, [])
    nodes = [
        node("Shape", ["x"], ["s"], start=2, end=3), node("Cast", ["s"], ["f"], to=1),
        node(op_type, ["f", *further], ["g"]),
        node("Min", ["g", "two"], ["m"]), node("Max", ["m", "two"], ["scale"]),
        node("Concat", ["ones", "scale", "scale"], ["scales"], axis=0),
        node("Resize", ["x", "", "scales"], ["r"]), node("Conv", ["r", "w"], ["y"]),
    ]  # fmt: skip
    stored = [
        numbers("one", 1, dtype=numpy.float32), numbers("zero", 0, dtype=numpy.float32),
        numbers("two", 2, dtype=numpy.float32), numbers("ones", 1, 1, dtype=numpy.float32), tensor("w", (4, 3, 1, 1)),
    ]  # fmt: skip
    analysis = analyzed(tmp_path, model(nodes, [declared("x", [1, 3, 8, 8])], ["y"], stored))
    assert analysis.totals.macs == 4 * 3 * 16 * 16
