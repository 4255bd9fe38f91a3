"""Shapes of what ONNX Runtime's own products and attentions make, and of the states that these hand on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy

from cnnstat.exported.onnx_models.values import Value
from cnnstat.ir.op import Shape

Attributes = Mapping[str, Any]
Inputs = Sequence[Value | None]


def shape_at(inputs: Inputs, place: int) -> Shape:
    """Return the shape of an operand; raises LookupError where there is none."""
    value = inputs[place] if place < len(inputs) else None
    if value is None or value.shape is None:
        raise LookupError(place)
    return value.shape


def is_given(inputs: Inputs, place: int) -> bool:
    """Whether there is an operand at a place."""
    return place < len(inputs) and inputs[place] is not None


def turned(shape: Shape, attributes: Attributes, side: str) -> Shape:
    """Return the shape of an operand (`A` or `B`) of FusedMatMul as the product reads it, rows and columns last."""
    if len(shape) < 2:
        return shape
    batch, rows, columns = shape[:-2], shape[-2], shape[-1]
    if attributes.get(f"transBatch{side}"):
        # The rows stand in front, and what stands between is the batch.
        batch, rows = shape[1:-1], shape[0]
    return (*batch, columns, rows) if attributes.get(f"trans{side}") else (*batch, rows, columns)


def product(attributes: Attributes, inputs: Inputs) -> Shape:
    """Return the shape of a product, either operand transposed if the attributes say so."""
    left, right = turned(shape_at(inputs, 0), attributes, "A"), turned(shape_at(inputs, 1), attributes, "B")
    if len(left) < 2 or len(right) < 2:
        return (*left[:-1], *right[1:])
    return (*numpy.broadcast_shapes(left[:-2], right[:-2]), left[-2], right[-1])


def few_bits(attributes: Attributes, inputs: Inputs) -> Shape:
    """MatMulNBits, MatMulBnb4: the attributes say how many columns the packed weight has."""
    return (*shape_at(inputs, 0)[:-1], attributes["N"])


def projected_attention(attributes: Attributes, inputs: Inputs) -> Shape:
    """Attention and QAttention: (batch, steps, features of the values)."""
    batch, steps, _ = shape_at(inputs, 0)
    sizes = attributes.get("qkv_hidden_sizes")
    return (batch, steps, sizes[2] if sizes else shape_at(inputs, 1)[-1] // 3)


def projected_states(attributes: Attributes, inputs: Inputs, past: int) -> list[Value]:
    """Keys and values of Attention in one tensor; past: the place of those before."""
    batch, steps, features = projected_attention(attributes, inputs)
    heads = attributes["num_heads"]
    before = shape_at(inputs, past)[3] if is_given(inputs, past) else 0
    return [Value(1, (2, batch, heads, before + steps, features // heads))]


def heads_attention(attributes: Attributes, inputs: Inputs) -> Shape:
    """MultiHeadAttention: (batch, steps, features of the values)."""
    query = shape_at(inputs, 0)
    if len(query) == 5:
        return (*query[:2], query[2] * query[4])
    if not is_given(inputs, 2):
        return query
    value = shape_at(inputs, 2)
    return (*query[:2], value[-1] * (value[1] if len(value) == 4 else 1))


def heads_states(attributes: Attributes, inputs: Inputs, past: int) -> list[Value]:
    """Keys and values of MultiHeadAttention; past: the place of the keys before."""
    heads, states = attributes["num_heads"], []
    for place in (1, 2):
        shape = shape_at(inputs, place)
        before = shape_at(inputs, past + place - 1)[2] if is_given(inputs, past) else 0
        steps, length = (shape[2], shape[3]) if len(shape) == 4 else (shape[1], shape[-1] // heads)
        states.append(Value(_type(inputs), (shape[0], heads, before + steps, length)))
    return states


def grouped_attention(attributes: Attributes, inputs: Inputs) -> Shape:
    """GroupQueryAttention: queries alone, or queries, keys and values in one tensor."""
    query = shape_at(inputs, 0)
    return (*query[:2], attributes["num_heads"] * grouped_length(attributes, query, is_given(inputs, 1)))


def grouped_length(attributes: Attributes, query: Shape, is_apart: bool) -> int:
    """Return the features of a head; is_apart: whether keys and values are operands of their own."""
    heads, shared = attributes["num_heads"], attributes["kv_num_heads"]
    return query[2] // int(heads if is_apart else heads + 2 * shared)


def grouped_states(attributes: Attributes, inputs: Inputs) -> list[Value]:
    """Keys and values of GroupQueryAttention."""
    query = shape_at(inputs, 0)
    length = grouped_length(attributes, query, is_given(inputs, 1))
    before = shape_at(inputs, 3)[2] if is_given(inputs, 3) else 0
    return [Value(_type(inputs), (query[0], attributes["kv_num_heads"], before + query[1], length))] * 2


def _type(inputs: Inputs) -> int:
    return 1 if inputs[0] is None else inputs[0].element_type


def normalized_sum(attributes: Attributes, inputs: Inputs) -> list[Value]:
    """SkipLayerNormalization: mean and inverse deviation of each row, and the sum that was normalized."""
    shape = shape_at(inputs, 0)
    return [Value(1, (*shape[:-1], 1)), Value(1, (*shape[:-1], 1)), Value(_type(inputs), shape)]


def embedded(attributes: Attributes, inputs: Inputs) -> Shape:
    """EmbedLayerNormalization: (batch, steps, features)."""
    return (*shape_at(inputs, 0), shape_at(inputs, 2)[-1])


def embedded_further(attributes: Attributes, inputs: Inputs) -> list[Value]:
    """EmbedLayerNormalization: how long each text is, and the sum that was normalized."""
    return [Value(6, shape_at(inputs, 0)[:1]), Value(_type(inputs[2:]), embedded(attributes, inputs))]


def recurrent(attributes: Attributes, inputs: Inputs) -> Shape:
    """DynamicQuantizeLSTM: (steps, directions, batch, hidden)."""
    steps, batch, _ = shape_at(inputs, 0)
    return (steps, shape_at(inputs, 1)[0], batch, attributes["hidden_size"])


def recurrent_states(attributes: Attributes, inputs: Inputs) -> list[Value]:
    """The last states of DynamicQuantizeLSTM."""
    _, directions, batch, hidden = recurrent(attributes, inputs)
    return [Value(1, (directions, batch, hidden))] * 2


def looked_up(attributes: Attributes, inputs: Inputs) -> Shape:
    """GatherBlockQuantized: rows of a table whose bytes may hold several numbers each."""
    table, indices = shape_at(inputs, 0), shape_at(inputs, 1)
    axis = attributes.get("gather_axis", 0) % len(table)
    packed = 8 // attributes.get("bits", 4) if inputs[0] is not None and inputs[0].element_type == 2 else 1
    quantized = attributes.get("quantize_axis", 1) % len(table)
    sizes = tuple(size * packed if place == quantized else size for place, size in enumerate(table))
    return (*sizes[:axis], *indices, *sizes[axis + 1 :])
