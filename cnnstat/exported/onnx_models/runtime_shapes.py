"""Shapes of what ONNX Runtime's own products and attentions make, and of the states that these hand on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy

from cnnstat.exported.onnx_models.call import Call
from cnnstat.exported.onnx_models.values import Value
from cnnstat.ir.op import Shape


def turned(shape: Shape, attributes: Mapping[str, Any], side: str) -> Shape:
    """Return the shape of an operand (`A` or `B`) of FusedMatMul as the product reads it, rows and columns last."""
    if len(shape) < 2:
        return shape
    batch, rows, columns = shape[:-2], shape[-2], shape[-1]
    if attributes.get(f"transBatch{side}"):
        # The rows stand in front, and what stands between is the batch.
        batch, rows = shape[1:-1], shape[0]
    return (*batch, columns, rows) if attributes.get(f"trans{side}") else (*batch, rows, columns)


def product(call: Call) -> Shape:
    """Return the shape of a product, either operand transposed if the attributes say so."""
    left, right = turned(call.shape(), call.attributes, "A"), turned(call.shape(1), call.attributes, "B")
    if len(left) < 2 or len(right) < 2:
        return (*left[:-1], *right[1:])
    return (*numpy.broadcast_shapes(left[:-2], right[:-2]), left[-2], right[-1])


def few_bits(call: Call) -> Shape:
    """MatMulNBits, MatMulBnb4: the attributes say how many columns the packed weight has."""
    return (*call.shape()[:-1], call.attributes["N"])


def projected_attention(call: Call) -> Shape:
    """Attention and QAttention: (batch, steps, features of the values)."""
    batch, steps, _ = call.shape()
    sizes = call.attributes.get("qkv_hidden_sizes")
    return (batch, steps, sizes[2] if sizes else call.shape(1)[-1] // 3)


def projected_states(call: Call, past: int) -> list[Value]:
    """Keys and values of Attention in one tensor; past: the place of those before."""
    batch, steps, features = projected_attention(call)
    heads = call.attributes["num_heads"]
    before = call.shape(past)[3] if call.has(past) else 0
    return [Value(1, (2, batch, heads, before + steps, features // heads))]


def heads_attention(call: Call) -> Shape:
    """MultiHeadAttention: (batch, steps, features of the values)."""
    query = call.shape()
    if len(query) == 5:
        return (*query[:2], query[2] * query[4])
    if not call.has(2):
        return query
    value = call.shape(2)
    return (*query[:2], value[-1] * (value[1] if len(value) == 4 else 1))


def heads_states(call: Call, past: int) -> list[Value]:
    """Keys and values of MultiHeadAttention; past: the place of the keys before."""
    heads, states = call.attributes["num_heads"], []
    for place in (1, 2):
        shape = call.shape(place)
        before = call.shape(past + place - 1)[2] if call.has(past) else 0
        steps, length = (shape[2], shape[3]) if len(shape) == 4 else (shape[1], shape[-1] // heads)
        states.append(Value(call.element_type(), (shape[0], heads, before + steps, length)))
    return states


def grouped_attention(call: Call) -> Shape:
    """GroupQueryAttention: queries alone, or queries, keys and values in one tensor."""
    query = call.shape()
    return (*query[:2], call.attributes["num_heads"] * grouped_length(call.attributes, query, call.has(1)))


def grouped_length(attributes: Mapping[str, Any], query: Shape, is_apart: bool) -> int:
    """Return the features of a head; is_apart: whether keys and values are operands of their own."""
    heads, shared = attributes["num_heads"], attributes["kv_num_heads"]
    return query[2] // int(heads if is_apart else heads + 2 * shared)


def grouped_states(call: Call) -> list[Value]:
    """Keys and values of GroupQueryAttention."""
    query = call.shape()
    length = grouped_length(call.attributes, query, call.has(1))
    before = call.shape(3)[2] if call.has(3) else 0
    return [Value(call.element_type(), (query[0], call.attributes["kv_num_heads"], before + query[1], length))] * 2


def normalized_sum(call: Call) -> list[Value]:
    """SkipLayerNormalization: mean and inverse deviation of each row, and the sum that was normalized."""
    shape = call.shape()
    return [Value(1, (*shape[:-1], 1)), Value(1, (*shape[:-1], 1)), Value(call.element_type(), shape)]


def embedded(call: Call) -> Shape:
    """EmbedLayerNormalization: (batch, steps, features)."""
    return (*call.shape(), call.shape(2)[-1])


def embedded_further(call: Call) -> list[Value]:
    """EmbedLayerNormalization: how long each text is, and the sum that was normalized."""
    return [Value(6, call.shape()[:1]), Value(call.element_type(2), embedded(call))]


def recurrent(call: Call) -> Shape:
    """DynamicQuantizeLSTM: (steps, directions, batch, hidden)."""
    steps, batch, _ = call.shape()
    return (steps, call.shape(1)[0], batch, call.attributes["hidden_size"])


def recurrent_states(call: Call) -> list[Value]:
    """The last states of DynamicQuantizeLSTM."""
    _, directions, batch, hidden = recurrent(call)
    return [Value(1, (directions, batch, hidden))] * 2


def looked_up(call: Call) -> Shape:
    """GatherBlockQuantized: rows of a table whose bytes may hold several numbers each."""
    table, indices = call.shape(), call.shape(1)
    axis = call.attributes.get("gather_axis", 0) % len(table)
    packed = 8 // call.attributes.get("bits", 4) if call.element_type(default=0) == 2 else 1
    quantized = call.attributes.get("quantize_axis", 1) % len(table)
    sizes = tuple(size * packed if place == quantized else size for place, size in enumerate(table))
    return (*sizes[:axis], *indices, *sizes[axis + 1 :])
