"""Operations of ONNX Runtime (com.microsoft): what they make beside a run, and their multiply-accumulates by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest
from onnx_files import analyzed, declared, helper, model, node, numpy, numpy_helper, saved

import cnnstat

FLOAT, INT8, UINT8, INT32, INT64 = (numpy.dtype(each) for each in ("float32", "int8", "uint8", "int32", "int64"))
DOMAINS = (("com.microsoft", 1), ("com.microsoft.nchwc", 1))


class Given(NamedTuple):
    """An input of the model: its shape and dtype."""

    shape: tuple[int, ...]
    dtype: Any = FLOAT


def x(*shape: int, dtype: Any = FLOAT) -> Given:
    return Given(shape, dtype)


def stored(*shape: int, dtype: Any = FLOAT) -> Any:
    generator = numpy.random.default_rng(sum(shape))
    values = generator.normal(size=shape) if dtype == FLOAT else generator.integers(0, 100, shape)
    return values.astype(dtype)


SCALE, ZERO, ZERO_INT8 = numpy.array(0.1, FLOAT), numpy.array(0, UINT8), numpy.array(0, INT8)
BYTES = [SCALE, ZERO]

CASES: list[tuple[str, list[Any], int, dict[str, Any], int]] = [
    ("FusedConv", [x(1, 3, 8, 8), stored(4, 3, 3, 3), stored(4), x(1, 4, 8, 8)], 1,
     {"activation": "Relu", "pads": [1, 1, 1, 1]}, 4 * 64 * 27),
    ("FusedGemm", [x(2, 8), stored(5, 8), stored(5)], 1, {"activation": "Relu", "transB": 1}, 80),
    ("FusedMatMul", [x(2, 3, 8, 6), x(2, 3, 8, 5)], 1, {"transA": 1}, 6 * 6 * 8 * 5),
    ("FusedMatMul", [x(2, 3, 6, 8), x(1, 3, 5, 8)], 1, {"transB": 1}, 6 * 6 * 8 * 5),
    ("FusedMatMul", [x(6, 2, 3, 8), x(2, 3, 8, 5)], 1, {"transBatchA": 1}, 6 * 6 * 8 * 5),
    ("FusedMatMul", [x(8, 2, 3, 6), x(2, 3, 8, 5)], 1, {"transBatchA": 1, "transA": 1}, 6 * 6 * 8 * 5),
    ("FusedMatMul", [x(2, 3, 6, 8), x(8, 2, 3, 5)], 1, {"transBatchB": 1}, 6 * 6 * 8 * 5),
    ("Attention", [x(2, 5, 12), stored(12, 36), stored(36), None, x(2, 2, 3, 4, 4)], 2,
     {"num_heads": 3, "unidirectional": 1}, 2 * 5 * 12 * 36 + 2 * 3 * 5 * 9 * 8),
    ("QAttention", [x(2, 5, 12, dtype=UINT8), stored(12, 36, dtype=INT8), stored(36), SCALE, SCALE, None, ZERO,
                    ZERO_INT8], 1, {"num_heads": 3}, 2 * 5 * 12 * 36 + 2 * 3 * 5 * 5 * 8),
    ("MultiHeadAttention", [x(2, 5, 12), x(2, 3, 7, 4), x(2, 3, 7, 4)], 1, {"num_heads": 3}, 2 * 3 * 5 * 7 * 8),
    ("MultiHeadAttention", [x(2, 5, 12), x(2, 5, 12), x(2, 5, 12), None, None, None, x(2, 3, 4, 4), x(2, 3, 4, 4)], 3,
     {"num_heads": 3}, 2 * 3 * 5 * 9 * 8),
    ("GroupQueryAttention", [x(2, 5, 64), None, None, None, None, numpy.array([4, 4], INT32), numpy.array(5, INT32)], 3,
     {"num_heads": 4, "kv_num_heads": 2}, 2 * 4 * 5 * 5 * 16),
    ("GroupQueryAttention", [x(2, 1, 32), x(2, 1, 16), x(2, 1, 16), x(2, 2, 6, 8), x(2, 2, 6, 8),
                             numpy.array([6, 6], INT32), numpy.array(7, INT32)], 3,
     {"num_heads": 4, "kv_num_heads": 2}, 2 * 4 * 7 * 16),
    ("SkipLayerNormalization", [x(2, 5, 12), x(2, 5, 12), stored(12), stored(12), stored(12)], 4, {}, 0),
    ("SkipLayerNormalization", [x(2, 5, 12), stored(1, 5, 12), stored(12)], 1, {}, 0),
    ("SkipSimplifiedLayerNormalization", [x(2, 5, 12), x(2, 5, 12), stored(12)], 4, {}, 0),
    ("EmbedLayerNormalization", [x(2, 5, dtype=INT32), None, stored(50, 12), stored(20, 12), None, stored(12),
                                 stored(12)], 3, {}, 0),
    ("MatMulNBits", [x(2, 5, 32), stored(6, 1, 16, dtype=UINT8), stored(6)], 1,
     {"K": 32, "N": 6, "bits": 4, "block_size": 32}, 10 * 32 * 6),
    ("MatMulBnb4", [x(2, 5, 32), stored(96, dtype=UINT8), stored(12)], 1,
     {"K": 32, "N": 6, "block_size": 16, "quant_type": 1}, 10 * 32 * 6),
    ("MatMulInteger16", [x(5, 8, dtype=numpy.int16), stored(8, 5, dtype=numpy.int16)], 1, {}, 200),
    ("QLinearConv", [x(1, 8, 8, 3, dtype=UINT8), *BYTES, stored(4, 3, 3, 3, dtype=UINT8), *BYTES, *BYTES,
                     numpy.zeros(4, INT32)], 1, {"pads": [1, 1, 1, 1], "channels_last": 1, "strides": [2, 2]},
     4 * 16 * 27),
    ("QLinearGlobalAveragePool", [x(1, 8, 8, 3, dtype=UINT8), *BYTES, *BYTES], 1, {"channels_last": 1}, 0),
    ("NhwcMaxPool", [x(1, 8, 8, 3, dtype=UINT8)], 1, {"kernel_shape": [2, 2], "strides": [2, 2]}, 0),
    ("QLinearWhere", [x(2, 8, dtype=numpy.bool_), x(2, 8, dtype=UINT8), *BYTES, x(8, dtype=UINT8), *BYTES, *BYTES], 1,
     {}, 0),
    ("GatherBlockQuantized", [stored(10, 16, dtype=UINT8), x(3, dtype=INT64), stored(10, 1)], 1,
     {"block_size": 32, "quantize_axis": 1, "gather_axis": 0, "bits": 4}, 0),
    ("MoE", [x(5, 8), x(5, 4), stored(4, 16, 8), stored(4, 16), stored(4, 8, 16), stored(4, 8)], 1,
     {"k": 2, "activation_type": "relu"}, 2 * 5 * 2 * 16 * 8),
    ("GridSample", [x(1, 3, 8, 8), x(1, 5, 5, 2)], 1, {}, 0),
    ("Trilu", [x(2, 4, 4)], 1, {}, 0),
    ("ExpandDims", [x(2, 4), numpy.array(1, INT32)], 1, {}, 0),
    ("Pad", [x(1, 3, 8, 8), numpy.array([0, 0, 1, 1, 0, 0, 1, 1]), numpy.array(0, FLOAT)], 1, {}, 0),
]  # fmt: skip


def built(op_type: str, operands: list[Any], count: int, attributes: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return a model of one operation, and numbers for its inputs."""
    names = ["" if each is None else f"i{place}" for place, each in enumerate(operands)]
    given = {name: each for name, each in zip(names, operands) if isinstance(each, Given)}
    inputs = [
        declared(name, each.shape, helper.np_dtype_to_tensor_dtype(numpy.dtype(each.dtype)))
        for name, each in given.items()
    ]
    tensors = [
        numpy_helper.from_array(each, name)
        for name, each in zip(names, operands)
        if name and not isinstance(each, Given)
    ]
    outputs = [f"o{place}" for place in range(count)]
    nodes = [node(op_type, names, outputs, name="n", domain="com.microsoft", **attributes)]
    feeds = {name: numpy.zeros(each.shape, each.dtype) for name, each in given.items()}
    return model(nodes, inputs, outputs, tensors, domains=DOMAINS), feeds


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_results_are_those_of_a_run(case: Any, tmp_path: Path) -> None:
    op_type, operands, count, attributes, count_of_macs = case
    content, feeds = built(op_type, operands, count, attributes)
    analysis = analyzed(tmp_path, content)
    assert analysis.totals.macs == count_of_macs and not analysis.uncounted
    runtime = pytest.importorskip("onnxruntime", reason="needs ONNX Runtime, which says what its operations make")
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = runtime.InferenceSession(content.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no class in common
        pytest.skip(f"this ONNX Runtime has no {op_type}: {error}")
    made = [(tuple(each.shape), str(each.dtype)) for each in session.run(None, feeds)]
    places = [(analysis.values.outputs[v][o], analysis.values.dtypes[v][o]) for v, o in analysis.graph.outputs]
    assert places == made


def test_channels_behind_are_the_convolution_between_permutations(tmp_path: Path) -> None:
    case = next(each for each in CASES if each[3].get("channels_last") and each[0] == "QLinearConv")
    analysis = analyzed(tmp_path, built(*case[:4])[0])
    assert [layer.op.kind for layer in analysis.layers] == ["Permute", "Conv2d", "Permute"]
    assert analysis.totals.params == 4 * 27 + 4 and analysis.layers[-1].output_shape == (1, 4, 4, 4)
    field = analysis.layers[1].receptive_field
    assert field is not None and field.size == (3, 3)


@pytest.mark.parametrize("level", ["BASIC", "EXTENDED", "ALL"])
def test_files_that_a_runtime_optimized(level: str, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="needs ONNX Runtime, which optimizes")
    nodes = [
        node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1]),
        node("Relu", ["c"], ["r"]),
        node("Conv", ["r", "v"], ["y"]),
    ]
    weights = {"w": (20, 3, 3, 3), "b": (20,), "v": (5, 20, 1, 1)}
    tensors = [numpy_helper.from_array(stored(*shape), name) for name, shape in weights.items()]
    plain = saved(tmp_path, model(nodes, [declared("x", [1, 3, 8, 8])], ["y"], tensors))
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = getattr(runtime.GraphOptimizationLevel, f"ORT_ENABLE_{level}")
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    runtime.InferenceSession(plain, options, providers=["CPUExecutionProvider"])
    before, after = cnnstat.analyze(plain), cnnstat.analyze(options.optimized_model_filepath)
    is_blocked = any("nchwc" in note for note in after.notes)
    # Which processors lay out in blocks, and in which, is the runtime's affair.
    assert after.totals.macs >= before.totals.macs if is_blocked else after.totals.macs == before.totals.macs
    assert not after.uncounted and (is_blocked or after.totals.params == before.totals.params)
    assert level == "ALL" or not is_blocked
