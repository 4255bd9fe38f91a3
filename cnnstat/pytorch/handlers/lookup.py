"""Lookups in tables."""

from __future__ import annotations

from cnnstat.ops.embedding import Embedding
from cnnstat.pytorch.calls import Call, Handler, Match


def _embedding(call: Call) -> Match:
    """F.embedding(input, weight, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse)."""
    weight = call.get(1, "weight")
    op = Embedding(
        int(weight.shape[0]),
        int(weight.shape[1]),
        padding_idx=call.get(2, "padding_idx"),
        max_norm=call.get(3, "max_norm"),
        norm_type=call.get(4, "norm_type", 2.0),
        scale_grad_by_freq=call.get(5, "scale_grad_by_freq", False),
        sparse=call.get(6, "sparse", False),
    )
    return Match(op, (call.get(0, "input"),), {"weight": weight})


HANDLERS: dict[str, Handler] = {"F.embedding": _embedding}
