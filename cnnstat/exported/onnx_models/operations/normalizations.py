"""Normalizations of ONNX files."""

from __future__ import annotations

from cnnstat.exported.layer_builder import Match
from cnnstat.exported.onnx_models.call import PREVIOUS, Call, Handler, Steps, library_op, need
from cnnstat.ir.op import Family, Op, numel
from cnnstat.ir.work import Work
from cnnstat.ops.join import Add
from cnnstat.ops.layer_norm import GroupNorm, LayerNorm, LocalResponseNorm, RMSNorm

_EPSILON = 1e-5


def _eps(call: Call) -> float:
    return float(call.attributes.get("epsilon", _EPSILON))


def _batch_norm(call: Call) -> Match | None:
    shape = call.shape()
    if call.attributes.get("training_mode") or len(call.outputs) > 1:
        return None
    need(len(shape) > 1, "its input has no channels")
    for place in (1, 2, 3, 4):
        need(
            call.shape(place) == (shape[1],),
            f"the input has {shape[1]} channels, but it normalizes {numel(call.shape(place))}",
        )
    count = max(1, len(shape) - 2)
    if count > 3:
        return None
    op = library_op(f"BatchNorm{count}d", eps=_eps(call))
    return call.match(op, 0, weight=1, bias=2, running_mean=3, running_var=4)


def _instance_norm(call: Call) -> Match | None:
    count = len(call.shape()) - 2
    if not 1 <= count <= 3:
        return None
    return call.match(library_op(f"InstanceNorm{count}d", eps=_eps(call), affine=True), 0, weight=1, bias=2)


def _layer_norm(call: Call) -> Match | None:
    shape = call.shape()
    sizes = shape[call.attributes.get("axis", -1) % len(shape) :]
    op = LayerNorm(sizes if len(sizes) > 1 else sizes[0], eps=_eps(call), bias=call.has(2))
    return call.match(op, 0, weight=1, bias=2)


def _rms_norm(call: Call) -> Match | None:
    shape = call.shape()
    sizes = shape[call.attributes.get("axis", -1) % len(shape) :]
    return call.match(RMSNorm(sizes if len(sizes) > 1 else sizes[0], eps=_eps(call)), 0, weight=1)


def _group_norm(call: Call) -> Match | None:
    groups = call.attributes["num_groups"]
    return call.match(GroupNorm(groups, eps=_eps(call)), 0, weight=1, bias=2)


def _local_response_norm(call: Call) -> Match | None:
    values = call.attributes
    return call.match(
        LocalResponseNorm(
            values["size"],
            float(values.get("alpha", 1e-4)),
            float(values.get("beta", 0.75)),
            float(values.get("bias", 1.0)),
        ),
        0,
    )


def _skip_norm(call: Call) -> Steps | Match:
    """SkipLayerNormalization: a sum of two or three, then a norm by the sum's last axis."""
    features = call.shape()[-1]
    is_simple = "Simplified" in call.op_type
    bias = 3 if is_simple else 4
    op = RMSNorm(features, eps=_eps(call)) if is_simple else LayerNorm(features, eps=_eps(call), bias=call.has(3))
    if call.shape(1) != call.shape() or len(call.outputs) > 1:
        return _normalized_sum(call, 1 + call.has(bias), op)
    steps: Steps = (call.match(Add(), 0, 1),)
    if call.has(bias):
        steps = (*steps, Match(Add(), (PREVIOUS, call.input(bias))))
    weights = call.match(op, weight=2) if is_simple else call.match(op, weight=2, bias=3)
    return (*steps, Match(op, (PREVIOUS,), weights.weights))


def _normalized_sum(call: Call, sums: int, norm: Op) -> Match:
    """Return a norm of a sum as one layer: so many additions for each element, and the norm's own work."""
    shape = call.output
    work = Work.other("element-wise", sums * numel(shape)) + Work.of(norm, (shape,), (shape,))
    return Match(call.recorded(Family.NORMALIZATION, work), call.all_reads)


def _runtime_group_norm(call: Call) -> Match:
    """GroupNorm of com.microsoft, which may activate, and SkipGroupNorm, which adds before."""
    sums = len(call.inputs) - 3 if call.op_type == "SkipGroupNorm" else 0
    return _normalized_sum(call, sums, LayerNorm(call.output[1:]))


def _embedded(call: Call) -> Match:
    """EmbedLayerNormalization: a norm of the sum of embeddings of words, places and segments."""
    return _normalized_sum(call, 1 + call.has(4), LayerNorm(call.output[-1]))


HANDLERS: dict[str, Handler] = {
    "BatchNormalization": _batch_norm,
    "InstanceNormalization": _instance_norm,
    "LayerNormalization": _layer_norm,
    "RMSNormalization": _rms_norm,
    "SimplifiedLayerNormalization": _rms_norm,
    "GroupNormalization": _group_norm,
    **dict.fromkeys(("GroupNorm", "SkipGroupNorm"), _runtime_group_norm),
    **dict.fromkeys(("EmbedLayerNormalization", "QEmbedLayerNormalization"), _embedded),
    "LRN": _local_response_norm,
    "SkipLayerNormalization": _skip_norm,
    "SkipSimplifiedLayerNormalization": _skip_norm,
}
