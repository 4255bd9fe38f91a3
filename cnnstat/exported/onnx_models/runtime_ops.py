"""Results of the operations that ONNX Runtime adds to files that it optimized or quantized (com.microsoft, nchwc).

Their rules are those of https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md; ONNX does not
know them. What is not here has no known shape, and is named as not counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import onnx

from cnnstat.exported.onnx_models.values import Value
from cnnstat.exported.word_list import words
from cnnstat.ir.op import Shape

PlainShape = Callable[[Any, Sequence[Value | None]], Shape | None]
"""Returns the shape that a node of ONNX's own makes of its operands."""

DOMAINS = ("com.microsoft", "com.microsoft.nchwc", "com.ms.internal.nhwc")

_SLIDING = words("auto_pad dilations group kernel_shape pads strides ceil_mode count_include_pad storage_order")

_AS_PLAIN: Mapping[str, tuple[str, tuple[int, ...]]] = {
    "FusedConv": ("Conv", (0, 1)),
    "Conv": ("Conv", (0, 1)),
    "QLinearConv": ("Conv", (0, 3)),
    "QLinearConvTranspose": ("ConvTranspose", (0, 3)),
    "MaxPool": ("MaxPool", (0,)),
    "AveragePool": ("AveragePool", (0,)),
    "GlobalAveragePool": ("GlobalAveragePool", (0,)),
    "GlobalMaxPool": ("GlobalMaxPool", (0,)),
    "QLinearGlobalAveragePool": ("GlobalAveragePool", (0,)),
    "QLinearAveragePool": ("AveragePool", (0,)),
    "QLinearAdd": ("Add", (0, 3)),
    "QLinearMul": ("Mul", (0, 3)),
    "QGemm": ("Gemm", (0, 3)),
    "FusedGemm": ("Gemm", (0, 1)),
    "QLinearReduceMean": ("ReduceMean", (0,)),
    "GemmFastGelu": ("MatMul", (0, 1)),
}
"""Operations that make what one of ONNX makes of the operands with these numbers."""

_OTHER_TYPES = {"QuantizeLinear": 2, "QGemm": 8, "QLinearConcat": 1}
"""The input whose element type the result has, where it is not that of input 0."""

_LIKE_FIRST = words("""
    ReorderInput Gelu FastGelu QuickGelu BiasGelu BiasSoftmax BiasAdd QLinearSigmoid QLinearLeakyRelu QLinearSoftmax
    QuantizeLinear SkipLayerNormalization SkipSimplifiedLayerNormalization GroupNorm SkipGroupNorm
    SimplifiedLayerNormalization BiasSplitGelu RotaryEmbedding BiasDropout NGramRepeatBlock Inverse Rfft Irfft
    """)


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
        first = _first_result(node, attributes, inputs, plain_shape)
        rest = further(attributes, inputs) if further else []
    except (LookupError, AssertionError, TypeError, ValueError, ZeroDivisionError):
        return None  # its arguments or shapes are not those that it should have
    if first is None:
        return None
    unknown = [Value(first.element_type, None) for _ in node.output]
    return [first, *rest, *unknown][: max(1, len(node.output))]


def _first_result(
    node: Any, attributes: Mapping[str, Any], inputs: Sequence[Value | None], plain_shape: PlainShape
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
        return Value(like.element_type, x.shape)
    if attributes.get("channels_last"):
        return None
    if op in _AS_PLAIN:
        shape = _plain_shape(node, *_AS_PLAIN[op], inputs, plain_shape)
        element_type = 1 if op == "QGemm" and len(inputs) < 9 else like.element_type
        return None if shape is None else Value(element_type, shape)
    rule = _SHAPES.get(op)
    shape = rule(attributes, inputs) if rule else None
    if shape is None:
        return None
    return Value(1 if op in _FLOAT else like.element_type, shape)


def _plain_shape(
    node: Any, op_type: str, numbers: tuple[int, ...], inputs: Sequence[Value | None], plain_shape: PlainShape
) -> Shape | None:
    """Return the shape that the plain operation makes of some of the inputs."""
    kept = _SLIDING | ({"transA", "transB"} if op_type == "Gemm" else {"axes", "keepdims"})
    names = [f"x{number}" for number in numbers]
    plain = onnx.helper.make_node(op_type, names, ["y"])
    plain.attribute.extend(each for each in node.attribute if each.name in kept)
    operands = [inputs[number] for number in numbers]
    return plain_shape(plain, [None if value is None else Value(1, value.shape) for value in operands])


def _type_of(inputs: Sequence[Value | None], place: int, default: int) -> int:
    value = inputs[place] if place < len(inputs) else None
    return default if value is None else value.element_type


def _shape(inputs: Sequence[Value | None], place: int) -> Shape:
    value = inputs[place]
    assert value is not None and value.shape is not None
    return value.shape


def _product(attributes: Mapping[str, Any], inputs: Sequence[Value | None], second: int = 1) -> Shape | None:
    """Return the shape of a product, either operand transposed if the attributes say so."""
    left, right = list(_shape(inputs, 0)), list(_shape(inputs, second))
    if len(left) < 2 or len(right) < 2:
        return (*left[:-1], *right[1:])
    if attributes.get("transA"):
        left[-2:] = left[:-3:-1]
    if attributes.get("transB"):
        right[-2:] = right[:-3:-1]
    longer = max(left[:-2], right[:-2], key=len)
    return (*longer, left[-2], right[-1])


def _quantized_product(attributes: Mapping[str, Any], inputs: Sequence[Value | None]) -> Shape | None:
    return _product({}, inputs)


def _few_bits(attributes: Mapping[str, Any], inputs: Sequence[Value | None]) -> Shape | None:
    return (*_shape(inputs, 0)[:-1], attributes["N"])


def _lstm(attributes: Mapping[str, Any], inputs: Sequence[Value | None]) -> Shape | None:
    steps, batch, _ = _shape(inputs, 0)
    return (steps, _shape(inputs, 1)[0], batch, attributes["hidden_size"])


def _lstm_states(attributes: Mapping[str, Any], inputs: Sequence[Value | None]) -> list[Value]:
    _, batch, _ = _shape(inputs, 0)
    return [Value(1, (_shape(inputs, 1)[0], batch, attributes["hidden_size"]))] * 2


def _concat(attributes: Mapping[str, Any], inputs: Sequence[Value | None]) -> Shape | None:
    shapes = [_shape(inputs, place) for place in range(2, len(inputs), 3)]
    axis = attributes["axis"] % len(shapes[0])
    return (*shapes[0][:axis], sum(shape[axis] for shape in shapes), *shapes[0][axis + 1 :])


def _reordered(attributes: Mapping[str, Any], inputs: Sequence[Value | None]) -> Shape | None:
    shape = list(_shape(inputs, 0))
    shape[1] = attributes.get("channels") or shape[1]
    return tuple(shape)


def _attention(attributes: Mapping[str, Any], inputs: Sequence[Value | None]) -> Shape | None:
    batch, steps, _ = _shape(inputs, 0)
    sizes = attributes.get("qkv_hidden_sizes")
    features = sizes[2] if sizes else _shape(inputs, 1)[-1] // 3
    return (batch, steps, features)


def _heads_attention(attributes: Mapping[str, Any], inputs: Sequence[Value | None]) -> Shape | None:
    query = _shape(inputs, 0)
    if len(query) == 5:
        return (*query[:2], query[2] * query[4])
    value = inputs[2] if len(inputs) > 2 else None
    if value is None or value.shape is None or len(value.shape) not in (3, 4):
        return query
    features = value.shape[-1] * (value.shape[1] if len(value.shape) == 4 else 1)
    return (*query[:2], features)


_SHAPES: Mapping[str, Callable[[Mapping[str, Any], Sequence[Value | None]], Shape | None]] = {
    "FusedMatMul": _product,
    "TransposeMatMul": _product,
    "DynamicQuantizeMatMul": _quantized_product,
    "MatMulIntegerToFloat": _quantized_product,
    "MatMulNBits": _few_bits,
    "DynamicQuantizeLSTM": _lstm,
    "QLinearConcat": _concat,
    "ReorderOutput": _reordered,
    "Attention": _attention,
    "MultiHeadAttention": _heads_attention,
    "GroupQueryAttention": lambda attributes, inputs: _shape(inputs, 0),
}

_FURTHER: Mapping[str, Callable[[Mapping[str, Any], Sequence[Value | None]], list[Value]]] = {
    "DynamicQuantizeLSTM": _lstm_states,
}

_FLOAT = words("DynamicQuantizeMatMul MatMulIntegerToFloat DynamicQuantizeLSTM")
"""Operations on whole numbers whose results are floating-point."""
