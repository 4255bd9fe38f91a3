"""Reductions of ONNX files, and other operations that read whole axes."""

from __future__ import annotations

import math
from typing import Any

from cnnstat.exported.layer_builder import Match
from cnnstat.exported.onnx_models.call import Call, Handler
from cnnstat.ir.op import Family, numel
from cnnstat.ir.window import IDENTITY, WHOLE, Reads
from cnnstat.ir.work import Work
from cnnstat.ops import reduction


def _axes(call: Call) -> tuple[int, ...]:
    """Return the axes that are reduced; all where none are named."""
    rank = len(call.shape())
    axes = call.integers(1, "axes")
    if not axes:
        return () if call.attributes.get("noop_with_empty_axes") else tuple(range(rank))
    return tuple(axis % rank for axis in axes)


def _reduction(op: Any = None, steps: int = 1) -> Handler:
    """Return the handler of a reduction; steps: operations of one element that is read."""

    def handle(call: Call) -> Match | None:
        axes, keeps = _axes(call), bool(call.attributes.get("keepdims", 1))
        if op is not None and axes and call.shape():
            return call.match(op(axes[0] if len(axes) == 1 else axes, keepdim=keeps), 0)
        return _recorded(call, axes, steps, keeps)

    return handle


def _recorded(call: Call, axes: tuple[int, ...], steps: int, keeps: bool = True) -> Match:
    x = call.shape()
    kept = [axis for axis in range(len(x)) if keeps or axis not in axes]
    reads: Reads = tuple((axis, WHOLE if axis in axes and x[axis] > 1 else IDENTITY) for axis in kept)
    known = (reads,) if len(reads) == len(call.output) else None
    return call.match(call.recorded(Family.POOLING, Work.other("pooling", steps * math.prod(x)), reads=known), 0)


def _along_axis(steps: int, attribute: str = "axis", usual: int = -1) -> Handler:
    """Return the handler of an operation along one axis that keeps the shape."""

    def handle(call: Call) -> Match:
        rank = len(call.shape())
        axis = call.attributes.get(attribute, usual)
        if call.op_type == "CumSum":
            axis = (call.integers(1) or (0,))[0]
        return _recorded(call, (axis % rank,), steps)

    return handle


def _mean_variance(call: Call) -> Match:
    axes = tuple(axis % len(call.shape()) for axis in call.attributes.get("axes", (0, 2, 3)))
    return _recorded(call, axes, 6)


def _sampled(call: Call) -> Match:
    """GridSample and RoiAlign: values between pixels, at computed places."""
    ratio = call.attributes.get("sampling_ratio", 1) if call.op_type == "RoiAlign" else 1
    each = 10 * max(1, ratio) ** 2 if call.op_type == "RoiAlign" else 9
    work = Work.other("resampling", each * numel(call.output))
    return Match(call.recorded(Family.RESAMPLING, work), call.all_reads)


def _transform(call: Call) -> Match:
    """DFT and STFT: 5 n log2 n steps for n points (Cooley & Tukey 1965)."""
    x = call.shape()
    points = call.output[-2] if call.op_type == "STFT" else max(x[1:], default=1)
    steps = math.ceil(5 * numel(call.output) * math.log2(max(points, 2)) / 2)
    return Match(call.recorded(Family.OTHER, Work.other("transform", steps)), call.reads(0))


HANDLERS: dict[str, Handler] = {
    "ReduceMean": _reduction(reduction.Mean),
    "ReduceSum": _reduction(reduction.Sum),
    "ReduceMax": _reduction(reduction.Max),
    **dict.fromkeys(("ReduceMin", "ReduceProd", "ReduceL1", "ReduceLogSum", "QLinearReduceMean"), _reduction()),
    **dict.fromkeys(("ReduceL2", "ReduceSumSquare", "ReduceLogSumExp"), _reduction(steps=2)),
    "CumSum": _along_axis(1),
    "Hardmax": _along_axis(1),
    "LpNormalization": _along_axis(3),
    "MeanVarianceNormalization": _mean_variance,
    **dict.fromkeys(("GridSample", "RoiAlign", "MaxRoiPool"), _sampled),
    **dict.fromkeys(("DFT", "STFT"), _transform),
}
