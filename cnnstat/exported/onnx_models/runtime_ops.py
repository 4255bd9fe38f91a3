"""Results of the operations that ONNX Runtime adds to files that it optimized or quantized (com.microsoft, nchwc).

Their rules are those of https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md; ONNX does not
know them. What is not here has no known shape, and is named as not counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy
import onnx

from cnnstat.choices import words
from cnnstat.exported.onnx_models import runtime_shapes as shapes
from cnnstat.exported.onnx_models.call import Call
from cnnstat.exported.onnx_models.values import Value
from cnnstat.ir.op import Shape

PlainShape = Callable[[Any, Sequence[Value | None]], Shape | None]
"""Returns the shape that a node of ONNX's own makes of its operands."""

_Rule = Callable[[Call], Shape]

NHWC = "com.ms.internal.nhwc"
DOMAINS = ("com.microsoft", "com.microsoft.nchwc", NHWC)

COPIES = words("GatherND GridSample Pad Range Trilu Unique")
"""Operations of com.microsoft that became ONNX's own."""

_SLIDING = words("auto_pad dilations group kernel_shape pads strides ceil_mode count_include_pad storage_order")

_AS_PLAIN: Mapping[str, tuple[str, tuple[int, ...]]] = {
    **dict.fromkeys(("FusedConv", "Conv", "NhwcConv", "NhwcFusedConv"), ("Conv", (0, 1))),
    "ConvTranspose": ("ConvTranspose", (0, 1)),
    "QLinearConv": ("Conv", (0, 3)),
    "QLinearConvTranspose": ("ConvTranspose", (0, 3)),
    **dict.fromkeys(("MaxPool", "NhwcMaxPool"), ("MaxPool", (0,))),
    "AveragePool": ("AveragePool", (0,)),
    "GlobalAveragePool": ("GlobalAveragePool", (0,)),
    "GlobalMaxPool": ("GlobalMaxPool", (0,)),
    "QLinearGlobalAveragePool": ("GlobalAveragePool", (0,)),
    "QLinearAveragePool": ("AveragePool", (0,)),
    "QLinearAdd": ("Add", (0, 3)),
    "QLinearMul": ("Mul", (0, 3)),
    "QLinearWhere": ("Mul", (1, 4)),
    "QGemm": ("Gemm", (0, 3)),
    "FusedGemm": ("Gemm", (0, 1)),
    "QLinearReduceMean": ("ReduceMean", (0,)),
    "GemmFastGelu": ("MatMul", (0, 1)),
    "MatMulInteger16": ("MatMul", (0, 1)),
}
"""Operations that make what one of ONNX makes of the operands with these numbers."""

_OTHER_TYPES = {
    "QuantizeLinear": 2, "QGemm": 8, "QLinearConcat": 1, "QLinearWhere": 1, "QAttention": 2, "GatherBlockQuantized": 2,
    "EmbedLayerNormalization": 2,
}  # fmt: skip
"""The input whose element type the result has, where it is not that of input 0."""

_LIKE_FIRST = words("""
    ReorderInput Gelu FastGelu QuickGelu BiasGelu BiasSoftmax BiasAdd QLinearSigmoid QLinearLeakyRelu QLinearSoftmax
    QuantizeLinear SkipLayerNormalization SkipSimplifiedLayerNormalization GroupNorm SkipGroupNorm
    SimplifiedLayerNormalization RotaryEmbedding BiasDropout NGramRepeatBlock Inverse ScaledSiLU MoE QMoE
    DecoderMaskedMultiHeadAttention
    """)

_WHOLE_RESULTS = {"MatMulInteger16": 6, "QGemm": 1}
"""The element type of results that have that of none of their operands."""


def is_channels_last(call: Call) -> bool:
    """Whether the first operand and the result have their channels behind the spatial axes; weights never have."""
    is_marked = call.attributes.get("channels_last") or call.op_type.startswith("Nhwc") or call.domain == NHWC
    return call.op_type in _AS_PLAIN and bool(is_marked)


def channels_first(shape: Shape) -> Shape:
    """Return sizes with those of the last axis behind the batch."""
    return (shape[0], shape[-1], *shape[1:-1])


def runtime_results(call: Call, plain_shape: PlainShape) -> list[Value] | None:
    """Return what an operation of ONNX Runtime makes; None for one of ONNX, or one that is not known."""
    if call.domain not in DOMAINS and call.op_type != "SimplifiedLayerNormalization":
        return None
    if any(value is not None and value.shape is None for value in call.inputs[:2]) or not call.has(0):
        return None
    further = _FURTHER.get(call.op_type)
    count = len(call.node.output)
    try:
        first = _first_result(call, plain_shape)
        rest = further(call) if further and count > 1 else []
    except (LookupError, AssertionError, TypeError, ValueError, ZeroDivisionError):
        return None  # its arguments or shapes are not those that it should have
    if first is None or not all(map(_is_sizes, (first.shape, *(each.shape for each in rest)))):
        return None
    unknown = [Value(first.element_type, None) for _ in range(count)]
    return [first, *rest, *unknown][: max(1, count)]


def _is_sizes(shape: Shape | None) -> bool:
    """Whether sizes that attributes have a part in are sizes: an attribute may be anything."""
    return shape is not None and all(isinstance(size, int) and size >= 0 for size in shape)


def _first_result(call: Call, plain_shape: PlainShape) -> Value | None:
    op = call.op_type
    own_type = call.element_type(_OTHER_TYPES.get(op, 0), call.element_type())
    if op == "DequantizeLinear":
        return Value(call.element_type(1), call.shape())
    if op in _LIKE_FIRST:
        turns = op == "ReorderInput" and call.attributes.get("channels_last")
        return Value(own_type, channels_first(call.shape()) if turns else call.shape())
    if op in _AS_PLAIN:
        shape = _plain_shape(call, plain_shape)
        is_whole = op in _WHOLE_RESULTS and (op != "QGemm" or len(call.inputs) < 9)
        return None if shape is None else Value(_WHOLE_RESULTS[op] if is_whole else own_type, shape)
    rule = _SHAPES.get(op)
    return None if rule is None else Value(1 if op in _FLOAT else own_type, rule(call))


def _plain_shape(call: Call, plain_shape: PlainShape) -> Shape | None:
    """Return the shape that the plain operation makes of some of the inputs."""
    op_type, numbers = _AS_PLAIN[call.op_type]
    kept = _SLIDING | ({"transA", "transB"} if op_type == "Gemm" else {"axes", "keepdims"})
    plain = onnx.helper.make_node(op_type, [f"x{number}" for number in numbers], ["y"])
    plain.attribute.extend(each for each in call.node.attribute if each.name in kept)
    operands = [call.shape(number) for number in numbers]
    is_last = is_channels_last(call)
    if is_last:
        operands[0] = channels_first(operands[0])
    shape = plain_shape(plain, [Value(1, each) for each in operands])
    return (shape[0], *shape[2:], shape[1]) if is_last and shape is not None else shape


def _concat(call: Call) -> Shape:
    parts = [call.shape(place) for place in range(2, len(call.inputs), 3)]
    axis = call.attributes["axis"] % len(parts[0])
    return (*parts[0][:axis], sum(shape[axis] for shape in parts), *parts[0][axis + 1 :])


def _reordered(call: Call) -> Shape:
    batch, channels, *space = call.shape()
    channels = call.attributes.get("channels") or channels
    return (batch, *space, channels) if call.attributes.get("channels_last") else (batch, channels, *space)


def _scaled(call: Call) -> Shape:
    return tuple(int(size * scale) for size, scale in zip(call.shape(), call.attributes["scales"]))


def _halved(call: Call) -> Shape:
    shape = call.shape()
    return (*shape[:-1], shape[-1] // 2)


def _with_axis(call: Call) -> Shape:
    shape, axes = call.shape(), call.inputs[1]
    if axes is None or axes.numbers is None:
        raise LookupError("axis")
    place = int(numpy.ravel(axes.numbers)[0]) % (len(shape) + 1)
    return (*shape[:place], 1, *shape[place:])


_SHAPES: Mapping[str, _Rule] = {
    **dict.fromkeys(
        words("FusedMatMul TransposeMatMul FusedMatMulActivation DynamicQuantizeMatMul MatMulIntegerToFloat"),
        shapes.product,
    ),
    **dict.fromkeys(("MatMulNBits", "MatMulBnb4"), shapes.few_bits),
    "DynamicQuantizeLSTM": shapes.recurrent,
    "QLinearConcat": _concat,
    "ReorderOutput": _reordered,
    "Upsample": _scaled,
    **dict.fromkeys(("BiasSplitGelu", "SwiGLU"), _halved),
    "ExpandDims": _with_axis,
    **dict.fromkeys(("Attention", "QAttention"), shapes.projected_attention),
    "MultiHeadAttention": shapes.heads_attention,
    "GroupQueryAttention": shapes.grouped_attention,
    **dict.fromkeys(("EmbedLayerNormalization", "QEmbedLayerNormalization"), shapes.embedded),
    "GatherBlockQuantized": shapes.looked_up,
}

_FURTHER: Mapping[str, Callable[[Call], list[Value]]] = {
    "DynamicQuantizeLSTM": shapes.recurrent_states,
    "Attention": partial(shapes.projected_states, past=4),
    "QAttention": partial(shapes.projected_states, past=8),
    "MultiHeadAttention": partial(shapes.heads_states, past=6),
    "DecoderMaskedMultiHeadAttention": partial(shapes.heads_states, past=5),
    "GroupQueryAttention": shapes.grouped_states,
    **dict.fromkeys(("SkipLayerNormalization", "SkipSimplifiedLayerNormalization"), shapes.normalized_sum),
    **dict.fromkeys(("EmbedLayerNormalization", "QEmbedLayerNormalization"), shapes.embedded_further),
}

_FLOAT = words("DynamicQuantizeMatMul MatMulIntegerToFloat DynamicQuantizeLSTM QEmbedLayerNormalization")
"""Operations on whole numbers whose results are floating-point."""
