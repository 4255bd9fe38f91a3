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
from cnnstat.exported.onnx_models.runtime_shapes import shape_at
from cnnstat.exported.onnx_models.values import Value
from cnnstat.ir.op import Shape

PlainShape = Callable[[Any, Sequence[Value | None]], Shape | None]
"""Returns the shape that a node of ONNX's own makes of its operands."""

_Rule = Callable[[Mapping[str, Any], Sequence[Value | None]], Shape]

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


def is_channels_last(op_type: str, domain: str, attributes: Mapping[str, Any]) -> bool:
    """Whether the first operand and the result have their channels behind the spatial axes; weights never have."""
    return op_type in _AS_PLAIN and bool(
        attributes.get("channels_last") or op_type.startswith("Nhwc") or domain == NHWC
    )


def channels_first(shape: Shape) -> Shape:
    """Return sizes with those of the last axis behind the batch."""
    return (shape[0], shape[-1], *shape[1:-1])


def runtime_results(
    node: Any, domain: str, attributes: Mapping[str, Any], inputs: Sequence[Value | None], plain_shape: PlainShape
) -> list[Value] | None:
    """Return what an operation of ONNX Runtime makes; None for one of ONNX, or one that is not known."""
    if domain not in DOMAINS and node.op_type != "SimplifiedLayerNormalization":
        return None
    if any(value is not None and value.shape is None for value in inputs[:2]) or not inputs or inputs[0] is None:
        return None
    further = _FURTHER.get(node.op_type)
    try:
        first = _first_result(node, domain, attributes, inputs, plain_shape)
        rest = further(attributes, inputs) if further and len(node.output) > 1 else []
    except (LookupError, AssertionError, TypeError, ValueError, ZeroDivisionError):
        return None  # its arguments or shapes are not those that it should have
    if first is None or not all(map(_is_sizes, (first.shape, *(each.shape for each in rest)))):
        return None
    unknown = [Value(first.element_type, None) for _ in node.output]
    return [first, *rest, *unknown][: max(1, len(node.output))]


def _is_sizes(shape: Shape | None) -> bool:
    """Whether sizes that attributes have a part in are sizes: an attribute may be anything."""
    return shape is not None and all(isinstance(size, int) and size >= 0 for size in shape)


def _first_result(
    node: Any, domain: str, attributes: Mapping[str, Any], inputs: Sequence[Value | None], plain_shape: PlainShape
) -> Value | None:
    op = node.op_type
    x = inputs[0]
    assert x is not None
    place = _OTHER_TYPES.get(op, 0)
    like = inputs[place] if place < len(inputs) and inputs[place] is not None else x
    assert like is not None
    if op == "DequantizeLinear":
        return Value(_type_of(inputs, 1, 1), x.shape)
    if op in _LIKE_FIRST:
        turns = op == "ReorderInput" and attributes.get("channels_last")
        return Value(like.element_type, channels_first(shape_at(inputs, 0)) if turns else x.shape)
    if op in _AS_PLAIN:
        is_last = is_channels_last(op, domain, attributes)
        shape = _plain_shape(node, *_AS_PLAIN[op], inputs, plain_shape, is_last)
        is_whole = op in _WHOLE_RESULTS and (op != "QGemm" or len(inputs) < 9)
        return None if shape is None else Value(_WHOLE_RESULTS[op] if is_whole else like.element_type, shape)
    rule = _SHAPES.get(op)
    return None if rule is None else Value(1 if op in _FLOAT else like.element_type, rule(attributes, inputs))


def _plain_shape(
    node: Any,
    op_type: str,
    numbers: tuple[int, ...],
    inputs: Sequence[Value | None],
    plain_shape: PlainShape,
    is_last: bool,
) -> Shape | None:
    """Return the shape that the plain operation makes of some of the inputs."""
    kept = _SLIDING | ({"transA", "transB"} if op_type == "Gemm" else {"axes", "keepdims"})
    names = [f"x{number}" for number in numbers]
    plain = onnx.helper.make_node(op_type, names, ["y"])
    plain.attribute.extend(each for each in node.attribute if each.name in kept)
    operands = [shape_at(inputs, number) for number in numbers]
    if is_last:
        operands[0] = channels_first(operands[0])
    shape = plain_shape(plain, [Value(1, each) for each in operands])
    return (shape[0], *shape[2:], shape[1]) if is_last and shape is not None else shape


def _type_of(inputs: Sequence[Value | None], place: int, default: int) -> int:
    value = inputs[place] if place < len(inputs) else None
    return default if value is None else value.element_type


def _concat(attributes: Mapping[str, Any], inputs: Sequence[Value | None]) -> Shape:
    parts = [shape_at(inputs, place) for place in range(2, len(inputs), 3)]
    axis = attributes["axis"] % len(parts[0])
    return (*parts[0][:axis], sum(shape[axis] for shape in parts), *parts[0][axis + 1 :])


def _reordered(attributes: Mapping[str, Any], inputs: Sequence[Value | None]) -> Shape:
    batch, channels, *space = shape_at(inputs, 0)
    channels = attributes.get("channels") or channels
    return (batch, *space, channels) if attributes.get("channels_last") else (batch, channels, *space)


def _scaled(attributes: Mapping[str, Any], inputs: Sequence[Value | None]) -> Shape:
    return tuple(int(size * scale) for size, scale in zip(shape_at(inputs, 0), attributes["scales"]))


def _halved(attributes: Mapping[str, Any], inputs: Sequence[Value | None]) -> Shape:
    shape = shape_at(inputs, 0)
    return (*shape[:-1], shape[-1] // 2)


def _with_axis(attributes: Mapping[str, Any], inputs: Sequence[Value | None]) -> Shape:
    shape, axes = shape_at(inputs, 0), inputs[1]
    if axes is None or axes.numbers is None:
        raise LookupError("axis")
    place = int(numpy.ravel(axes.numbers)[0]) % (len(shape) + 1)
    return (*shape[:place], 1, *shape[place:])


_SHAPES: Mapping[str, _Rule] = {
    **dict.fromkeys(("FusedMatMul", "TransposeMatMul", "FusedMatMulActivation"), shapes.product),
    **dict.fromkeys(("DynamicQuantizeMatMul", "MatMulIntegerToFloat"), lambda _, inputs: shapes.product({}, inputs)),
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

_FURTHER: Mapping[str, Callable[[Mapping[str, Any], Sequence[Value | None]], list[Value]]] = {
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
