"""Attention of ONNX files: ONNX's own operation, and those that ONNX Runtime puts in place of a whole block."""

from __future__ import annotations

import math

from cnnstat.exported.layer_builder import Match
from cnnstat.exported.onnx_models.call import Call, Handler, need
from cnnstat.exported.onnx_models.runtime_shapes import grouped_length
from cnnstat.ir.op import Family
from cnnstat.ir.work import Work
from cnnstat.ops.attention import SOFTMAX, ScaledDotProductAttention


def _attention(call: Call) -> Match:
    """Attention of opset 23: heads as an axis, or folded into the features; past keys and values lengthen the keys."""
    query, key, value = (call.shape(place) for place in range(3))
    heads = call.attributes.get("q_num_heads", query[1] if len(query) == 4 else 1)
    shared = call.attributes.get("kv_num_heads", key[1] if len(key) == 4 else heads)
    past = call.shape(4)[-2] if call.has(4) else 0
    is_plain = len(query) == len(key) == len(value) == 4 and not past and not call.attributes.get("softcap")
    if is_plain and len([each for each in call.outputs if each.shape is not None]) == 1:
        scale = call.attributes.get("scale")
        is_causal = bool(call.attributes.get("is_causal", 0))
        op = ScaledDotProductAttention(
            is_causal=is_causal and not call.has(3),
            scale=None if scale is None else float(scale),
            enable_gqa=heads != shared,
        )
        return call.match(op, 0, 1, 2, *((3,) if call.has(3) else ()))
    batch, queries = query[0], query[-2]
    keys = key[-2] + past
    lengths = [
        shape[-1] if len(shape) == 4 else shape[-1] // count for shape, count in ((query, heads), (value, shared))
    ]
    return _recorded(call, batch * heads * queries * keys, sum(lengths))


def _recorded(call: Call, scores: int, lengths: int, projection: int = 0) -> Match:
    """Return attention of so many scores, of which each takes a dot product and a weighted sum of these lengths."""
    work = Work(scores * lengths + projection) + Work.other("attention", scores * (1 + len(SOFTMAX)))
    weights = (1,) if projection else ()
    places = [
        place
        for place in range(len(call.inputs))
        if call.has(place) and (call.input(place).is_float or place in (0, *weights))
    ]
    return Match(call.recorded(Family.ATTENTION, work), call.reads(*places))


def _projected(call: Call) -> Match:
    """Attention and QAttention of com.microsoft: one product makes queries, keys and values."""
    (batch, steps, features), weight = call.shape(), call.shape(1)
    need(features == weight[0], f"the input has {features} features, but the weight takes {weight[0]}")
    heads = call.attributes["num_heads"]
    sizes = call.attributes.get("qkv_hidden_sizes") or [weight[1] // 3] * 3
    past_place = 8 if call.op_type == "QAttention" else 4
    past = call.shape(past_place)[3] if call.has(past_place) else 0
    scores = batch * heads * steps * (steps + past)
    return _recorded(call, scores, (sizes[0] + sizes[2]) // heads, math.prod((batch, steps, features, weight[1])))


_PAST = {"MultiHeadAttention": 6, "DecoderMaskedMultiHeadAttention": 5, "GroupQueryAttention": 3}
"""The place of the keys before."""


def _of_heads(call: Call) -> Match | None:
    """MultiHeadAttention and its like, of com.microsoft: queries, keys and values are projected already."""
    heads, query = call.attributes["num_heads"], call.shape()
    shared = call.attributes.get("kv_num_heads", heads)
    place = _PAST[call.op_type]
    past = call.shape(place)[2] if call.has(place) else 0
    if len(query) == 5:
        return _recorded(call, query[0] * heads * query[1] ** 2, 2 * query[4])
    if call.op_type == "GroupQueryAttention" and not call.has(1):
        length = grouped_length(call.attributes, query, is_apart=False)
        return _recorded(call, query[0] * heads * query[1] * (query[1] + past), 2 * length)
    if not call.has(2):
        return None
    key, value = call.shape(1), call.shape(2)
    scores = query[0] * heads * query[1] * (key[-2] + past)
    return _recorded(call, scores, query[2] // heads + (value[-1] if len(value) == 4 else value[-1] // shared))


HANDLERS: dict[str, Handler] = {
    "Attention": lambda call: _projected(call) if call.domain else _attention(call),
    "QAttention": _projected,
    **dict.fromkeys(_PAST, _of_heads),
}
