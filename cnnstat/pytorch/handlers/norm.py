"""Normalizations."""

from __future__ import annotations

from typing import Any

from cnnstat.ops import layer_norm, norm
from cnnstat.ops.layer_norm import LocalResponseNorm
from cnnstat.pytorch.calls import Call, Handler, Match
from cnnstat.pytorch.handlers.values import short

_BATCH: dict[int, Any] = {2: norm.BatchNorm1d, 3: norm.BatchNorm1d, 4: norm.BatchNorm2d, 5: norm.BatchNorm3d}
_INSTANCE: dict[int, Any] = {3: norm.InstanceNorm1d, 4: norm.InstanceNorm2d, 5: norm.InstanceNorm3d}


def _by_channel(
    classes: dict[int, Any], call: Call, mean: Any, variance: Any, weight: Any, bias: Any, eps: float
) -> Match | None:
    """Return a batch or instance norm; None where only one of scale and shift is not an op of the library."""
    x = call.get(0, "input")
    if x.dim() not in classes or (weight is None and bias is not None):
        return None
    tracks = mean is not None and variance is not None
    op = classes[x.dim()](
        eps=eps,
        momentum=getattr(call.where.module, "momentum", 0.1),
        affine=weight is not None,
        track_running_stats=tracks,
        bias=bias is not None or weight is None,
    )
    return Match(op, (x,), {"weight": weight, "bias": bias, "running_mean": mean, "running_var": variance})


def _f_tensors(call: Call) -> tuple[Any, Any, Any, Any]:
    """Return running mean and variance, weight and bias in the order of torch.nn.functional."""
    return call.get(1, "running_mean"), call.get(2, "running_var"), call.get(3, "weight"), call.get(4, "bias")


def _f_batch_norm(call: Call) -> Match | None:
    """F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)."""
    return _by_channel(_BATCH, call, *_f_tensors(call), call.get(7, "eps", 1e-5))


def _batch_norm(call: Call) -> Match | None:
    """torch.batch_norm(input, weight, bias, running_mean, running_var, training, momentum, eps, cudnn_enabled)."""
    weight, bias, mean, variance = (
        call.get(i, n) for i, n in enumerate(("weight", "bias", "running_mean", "running_var"), start=1)
    )
    return _by_channel(_BATCH, call, mean, variance, weight, bias, call.get(7, "eps", 1e-5))


def _f_instance_norm(call: Call) -> Match | None:
    """F.instance_norm(input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps)."""
    return _by_channel(_INSTANCE, call, *_f_tensors(call), call.get(7, "eps", 1e-5))


def _layer_norm(call: Call) -> Match | None:
    """layer_norm(input, normalized_shape, weight, bias, eps)."""
    weight, bias = call.get(2, "weight"), call.get(3, "bias")
    if weight is None and bias is not None:
        return None
    sizes = tuple(map(int, call.get(1, "normalized_shape")))
    op = layer_norm.LayerNorm(
        sizes[0] if len(sizes) == 1 else sizes,
        eps=call.get(4, "eps", 1e-5),
        elementwise_affine=weight is not None,
        bias=bias is not None or weight is None,
    )
    return Match(op, (call.get(0, "input"),), {"weight": weight, "bias": bias})


def _rms_norm(call: Call) -> Match:
    """rms_norm(input, normalized_shape, weight, eps)."""
    weight = call.get(2, "weight")
    sizes = tuple(map(int, call.get(1, "normalized_shape")))
    shape = sizes[0] if len(sizes) == 1 else sizes
    op = layer_norm.RMSNorm(shape, eps=call.get(3, "eps"), elementwise_affine=weight is not None)
    return Match(op, (call.get(0, "input"),), {"weight": weight})


def _group_norm(call: Call) -> Match | None:
    """group_norm(input, num_groups, weight, bias, eps)."""
    weight, bias = call.get(2, "weight"), call.get(3, "bias")
    if weight is None and bias is not None:
        return None
    op = layer_norm.GroupNorm(
        call.get(1, "num_groups"),
        eps=call.get(4, "eps", 1e-5),
        affine=weight is not None,
        bias=bias is not None or weight is None,
    )
    return Match(op, (call.get(0, "input"),), {"weight": weight, "bias": bias})


def _local_response_norm(call: Call) -> Match:
    """F.local_response_norm(input, size, alpha, beta, k)."""
    op = LocalResponseNorm(
        short(call.get(1, "size")), call.get(2, "alpha", 1e-4), call.get(3, "beta", 0.75), call.get(4, "k", 1.0)
    )
    return Match(op, (call.get(0, "input"),))


HANDLERS: dict[str, Handler] = {
    "F.batch_norm": _f_batch_norm,
    "batch_norm": _batch_norm,
    "F.instance_norm": _f_instance_norm,
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "group_norm": _group_norm,
    "F.local_response_norm": _local_response_norm,
}
