"""Quantized and runtime-optimized ONNX files: the same multiply-accumulates, a byte for each int8 weight."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from onnx_files import (
    INT8,
    UINT8,
    analyzed,
    declared,
    macs,
    model,
    node,
    number,
    numbers,
    numpy,
    output_shapes,
    tensor,
)

MICROSOFT = [("com.microsoft", 1)]


def scale(name: str) -> Any:
    return number(name, 0.02)


def zero(name: str, dtype: Any = numpy.uint8) -> Any:
    return number(name, 0, dtype)


def test_a_convolution_between_quantize_and_dequantize(tmp_path: Path) -> None:
    nodes = [
        node("QuantizeLinear", ["x", "xs", "xz"], ["xq"]),
        node("DequantizeLinear", ["xq", "xs", "xz"], ["xd"]),
        node("DequantizeLinear", ["w", "ws", "wz"], ["wd"]),
        node("DequantizeLinear", ["b", "bs", "bz"], ["bd"]),
        node("Conv", ["xd", "wd", "bd"], ["y"], pads=[1, 1, 1, 1]),
    ]
    stored = [
        tensor("w", (8, 3, 3, 3), numpy.int8), tensor("b", (8,), numpy.int32), scale("xs"), zero("xz"), scale("ws"),
        zero("wz", numpy.int8), scale("bs"), zero("bz", numpy.int32),
    ]  # fmt: skip
    analysis = analyzed(tmp_path, model(nodes, [declared("x", [1, 3, 8, 8])], ["y"], stored))
    assert [layer.op.kind for layer in analysis.layers] == ["QuantizeLinear", "DequantizeLinear", "Conv2d"]
    assert (analysis.totals.macs, analysis.totals.params, analysis.totals.buffers) == (8 * 64 * 27, 8 * 27 + 8, 6)
    assert analysis.totals.memory.params_bytes == 8 * 27 + 4 * 8
    assert analysis.layers[0].output_bytes == 3 * 64 and analysis.layers[1].output_bytes == 4 * 3 * 64


def residual(*, is_quantized: bool) -> Any:
    """A convolution, its ReLU, a second one added to it, and a linear layer; every tensor between Q and DQ, or none."""
    nodes, stored = [], [scale("s"), zero("z"), zero("z8", numpy.int8), zero("z32", numpy.int32)]

    def through(x: str) -> str:
        if not is_quantized:
            return x
        nodes.append(node("QuantizeLinear", [x, "s", "z"], [f"{x}_q"]))
        nodes.append(node("DequantizeLinear", [f"{x}_q", "s", "z"], [f"{x}_dq"]))
        return f"{x}_dq"

    def layer(op: str, x: str, name: str, shape: tuple[int, ...], **attributes: Any) -> str:
        names = [f"{name}_w", f"{name}_b"]
        stored.append(tensor(names[0], shape, numpy.int8 if is_quantized else numpy.float32))
        stored.append(tensor(names[1], shape[:1], numpy.int32 if is_quantized else numpy.float32))
        if is_quantized:
            nodes.append(node("DequantizeLinear", [names[0], "s", "z8"], [f"{name}_wd"]))
            nodes.append(node("DequantizeLinear", [names[1], "s", "z32"], [f"{name}_bd"]))
            names = [f"{name}_wd", f"{name}_bd"]
        nodes.append(node(op, [x, *names], [name], **attributes))
        return name

    first = layer("Conv", through("x"), "c1", (8, 3, 3, 3), pads=[1, 1, 1, 1])
    nodes.append(node("Relu", [first], ["r"]))
    skip = through("r")
    nodes.append(node("Add", [skip, through(layer("Conv", skip, "c2", (8, 8, 3, 3), pads=[1, 1, 1, 1]))], ["a"]))
    nodes.append(node("GlobalAveragePool", [through("a")], ["p"]))
    nodes.append(node("Flatten", [through("p")], ["f"]))
    result = through(layer("Gemm", through("f"), "fc", (5, 8), transB=1))
    return model(nodes, [declared("x", [1, 3, 16, 16])], [result], stored)


def test_a_quantized_file_is_deployed_in_int8_as_the_float_file_is(tmp_path: Path) -> None:
    written, quantized = (residual(is_quantized=each) for each in (False, True))
    found = [analyzed(tmp_path, each, deploy="int8") for each in (written, quantized)]
    kinds = [[str(layer.op.kind) for layer in each.layers] for each in found]
    assert kinds[0] == kinds[1] and "QuantizeLinear" not in kinds[1]
    for figure in ("params_bytes", "flash_bytes", "peak_inference_bytes", "arena_bytes"):
        assert getattr(found[0].memory, figure) == getattr(found[1].memory, figure)
    assert found[1].totals.macs_by_precision == {"int8×int8": found[1].totals.macs}
    assert found[1].graph.deployment is not None and "quantize_linear" in found[1].graph.deployment.removed


def test_operations_on_whole_numbers(tmp_path: Path) -> None:
    nodes = [
        node("QLinearConv", ["x", "s", "z", "w", "s", "z8", "s", "z", "b"], ["c"], strides=[2, 2]),
        node("QLinearConcat", ["s", "z", "c", "s", "z", "c", "s", "z"], ["k"], domain="com.microsoft", axis=1),
        node("QLinearGlobalAveragePool", ["k", "s", "z", "s", "z"], ["p"], domain="com.microsoft"),
        node("Flatten", ["p"], ["f"]),
        node("QGemm", ["f", "s", "z", "m", "s", "z8", "mb", "s", "z"], ["y"], domain="com.microsoft", transB=1),
    ]
    stored = [
        tensor("w", (4, 3, 3, 3), numpy.int8), tensor("b", (4,), numpy.int32), tensor("m", (5, 8), numpy.int8),
        tensor("mb", (5,), numpy.int32), scale("s"), zero("z"), zero("z8", numpy.int8),
    ]  # fmt: skip
    analysis = analyzed(tmp_path, model(nodes, [declared("x", [1, 3, 9, 9], UINT8)], ["y"], stored, domains=MICROSOFT))
    assert macs(analysis) == [4 * 16 * 27, 5 * 8]
    assert analysis.totals.params == 4 * 27 + 4 + 40 + 5 and output_shapes(analysis) == [(1, 5)]
    assert not analysis.uncounted and analysis.values.dtypes[1] == ("uint8",)


def test_quantized_operands_of_sums_are_parameters_and_single_numbers_are_not(tmp_path: Path) -> None:
    nodes = [
        node("DequantizeLinear", ["bias", "s", "z"], ["b"]), node("Add", ["x", "b"], ["a"]),
        node("DequantizeLinear", ["factor", "s", "z"], ["f"]), node("Mul", ["a", "f"], ["y"]),
    ]  # fmt: skip
    stored = [
        tensor("bias", (5,), numpy.int8), number("factor", 3, numpy.int8), number("s", 0.1), number("z", 0, numpy.int8),
    ]  # fmt: skip
    assert analyzed(tmp_path, model(nodes, [declared("x", [2, 5])], ["y"], stored)).totals.params == 5


def test_dynamically_quantized_products(tmp_path: Path) -> None:
    nodes = [
        node("DynamicQuantizeLinear", ["x"], ["q", "qs", "qz"]),
        node("MatMulInteger", ["q", "w", "qz", "z8"], ["i"]),
        node("Cast", ["i"], ["f"], to=1),
        node("Mul", ["qs", "s"], ["both"]),
        node("Mul", ["f", "both"], ["y"]),
    ]
    stored = [tensor("w", (6, 4), numpy.int8), zero("z8", numpy.int8), scale("s")]
    analysis = analyzed(tmp_path, model(nodes, [declared("x", [3, 6])], ["y"], stored))
    assert (analysis.totals.macs, analysis.totals.params) == (3 * 6 * 4, 24)


def test_weights_that_are_cast_and_scaled(tmp_path: Path) -> None:
    nodes = [
        node("Cast", ["w"], ["wf"], to=1), node("Mul", ["wf", "scales"], ["wd"]), node("MatMul", ["x", "wd"], ["y"]),
    ]  # fmt: skip
    stored = [tensor("w", (6, 4), numpy.int8), tensor("scales", (1, 4))]
    totals = analyzed(tmp_path, model(nodes, [declared("x", [3, 6])], ["y"], stored)).totals
    assert (totals.macs, totals.params, totals.buffers) == (72, 24, 4)


def test_a_dynamically_quantized_lstm(tmp_path: Path) -> None:
    names = ["x", "w", "r", "b", "", "", "", "", "ws", "wz", "rs", "rz"]
    nodes = [node("DynamicQuantizeLSTM", names, ["y"], domain="com.microsoft", hidden_size=6)]
    stored = [
        tensor("w", (1, 5, 24), numpy.int8), tensor("r", (1, 6, 24), numpy.int8), tensor("b", (1, 48)), scale("ws"),
        zero("wz", numpy.int8), scale("rs"), zero("rz", numpy.int8),
    ]  # fmt: skip
    analysis = analyzed(tmp_path, model(nodes, [declared("x", [7, 2, 5])], ["y"], stored, domains=MICROSOFT))
    assert analysis.totals.macs == 7 * 2 * 24 * 11 and analysis.totals.params == 24 * 11 + 48
    assert output_shapes(analysis) == [(7, 1, 2, 6)]


def test_fused_operations_of_a_runtime(tmp_path: Path) -> None:
    nodes = [
        node("FusedConv", ["x", "w", "b"], ["c"], domain="com.microsoft", activation="Relu", pads=[1, 1, 1, 1]),
        node("Reshape", ["c", "shape"], ["t"]),
        node("FusedMatMul", ["t", "t"], ["m"], domain="com.microsoft", transB=1, alpha=0.5),
        node("BiasGelu", ["m", "mb"], ["g"], domain="com.microsoft"),
        node("SkipLayerNormalization", ["g", "g", "gamma", "beta"], ["y"], domain="com.microsoft"),
    ]
    stored = [
        tensor("w", (4, 3, 3, 3)), tensor("b", (4,)), numbers("shape", 1, 4, 36), tensor("mb", (4,)),
        tensor("gamma", (4,)), tensor("beta", (4,)),
    ]  # fmt: skip
    analysis = analyzed(tmp_path, model(nodes, [declared("x", [1, 3, 6, 6])], ["y"], stored, domains=MICROSOFT))
    assert macs(analysis) == [4 * 36 * 27, 4 * 4 * 36] and not analysis.uncounted
    kinds = [layer.op.kind for layer in analysis.layers]
    assert kinds == ["Conv2d", "ReLU", "Reshape", "FusedMatMul", "Add", "GELU", "Add", "LayerNorm"]
    assert analysis.totals.params == 4 * 27 + 4 + 12


def test_attention_that_projects_by_itself(tmp_path: Path) -> None:
    nodes = [node("Attention", ["x", "w", "b"], ["y"], domain="com.microsoft", num_heads=2)]
    built = model(
        nodes, [declared("x", [2, 5, 8])], ["y"], [tensor("w", (8, 24)), tensor("b", (24,))], domains=MICROSOFT
    )
    analysis = analyzed(tmp_path, built)
    assert analysis.totals.macs == 2 * 5 * 8 * 24 + 2 * (2 * 5 * 5 * 8) and output_shapes(analysis) == [(2, 5, 8)]
    assert analysis.totals.params == 8 * 24 + 24


def test_what_a_runtime_has_and_nobody_knows_is_named(tmp_path: Path) -> None:
    built = model(
        [node("QMoE", ["x"], ["h"], domain="com.microsoft"), node("Relu", ["x"], ["y"])],
        [declared("x", [1, 4], INT8)], ["y", "h"], domains=MICROSOFT,
    )  # fmt: skip
    assert analyzed(tmp_path, built).uncounted == ("q_mo_e",)
