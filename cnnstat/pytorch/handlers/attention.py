"""Attention: the two products alone, and with its projections."""

from __future__ import annotations

from typing import Any

import torch

from cnnstat.ops.attention import ScaledDotProductAttention
from cnnstat.ops.multihead_attention import MultiheadAttention
from cnnstat.pytorch.calls import Call, Handler, Match
from cnnstat.pytorch.tensors import shape_of


def _scaled_dot_product_attention(call: Call) -> Match:
    """scaled_dot_product_attention(query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa)."""
    reads = [call.get(i, name) for i, name in enumerate(("query", "key", "value", "attn_mask"))]
    op = ScaledDotProductAttention(
        call.get(4, "dropout_p", 0.0),
        call.get(5, "is_causal", False),
        call.get(6, "scale"),
        call.get(7, "enable_gqa", False),
    )
    return Match(op, tuple(read for read in reads if read is not None))


_PLACES = (
    "query", "key", "value", "embed_dim_to_check", "num_heads", "in_proj_weight", "in_proj_bias", "bias_k", "bias_v",
    "add_zero_attn", "dropout_p", "out_proj_weight", "out_proj_bias", "training", "key_padding_mask", "need_weights",
    "attn_mask", "use_separate_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight", "static_k", "static_v",
    "average_attn_weights", "is_causal",
)  # fmt: skip


def _multi_head_attention(call: Call) -> Match | None:
    """F.multi_head_attention_forward; None for what the op does not cover: fixed keys."""
    given: dict[str, Any] = {name: call.get(place, name) for place, name in enumerate(_PLACES)}
    if given["static_k"] is not None or given["static_v"] is not None:
        return None
    query, key, value = given["query"], given["key"], given["value"]
    reads = (query,) if key is query and value is query else (query, key) if value is key else (query, key, value)
    is_separate = bool(given["use_separate_proj_weight"])
    op = MultiheadAttention(
        given["num_heads"],
        dropout=given["dropout_p"],
        bias=given["in_proj_bias"] is not None,
        add_bias_kv=given["bias_k"] is not None,
        add_zero_attn=bool(given["add_zero_attn"]),
        kdim=int(key.shape[-1]) if is_separate else None,
        vdim=int(value.shape[-1]) if is_separate else None,
        batch_first=False,
        need_weights=len(call.results) == 2,
    )
    projections = ("q_proj_weight", "k_proj_weight", "v_proj_weight") if is_separate else ("in_proj_weight",)
    weights = {name: given[name] for name in (*projections, "in_proj_bias", "bias_k", "bias_v")}
    out = {"out_proj.weight": given["out_proj_weight"], "out_proj.bias": given["out_proj_bias"]}
    masks = _masks(given)
    sizes = op.sizes(tuple(map(shape_of, reads)))
    # A mask is one addition a score; two masks are added to each other first.
    flops = len(masks) * sizes.batch * op.num_heads * sizes.queries * sizes.scored
    return Match(op, reads, {**weights, **out}, also=masks, flops=flops)


def _masks(given: dict[str, Any]) -> tuple[torch.Tensor, ...]:
    """Return the masks that scores are added to; a causal one that the fused product makes itself is none."""
    padding, mask = given["key_padding_mask"], given["attn_mask"]
    if given["is_causal"] and padding is None and not given["need_weights"]:
        return ()
    return tuple(each for each in (mask, padding) if each is not None)


HANDLERS: dict[str, Handler] = {
    "scaled_dot_product_attention": _scaled_dot_product_attention,
    "F.multi_head_attention_forward": _multi_head_attention,
}
