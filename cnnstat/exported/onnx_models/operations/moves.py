"""Operations of ONNX files that move data and compute nothing: views, slices, joins, padding, look-ups, resizing."""

from __future__ import annotations

import math
from typing import Any

import numpy

from cnnstat.choices import words
from cnnstat.exported.layer_builder import Match
from cnnstat.exported.onnx_models.call import Call, Handler, library_op, one_or_all
from cnnstat.exported.pytorch_calls import one_call
from cnnstat.ir.op import Family, Shapes, Storage, numel
from cnnstat.ir.recorded_call import RecordedCalls, SliceOf, TorchName
from cnnstat.ir.window import IDENTITY, UNFOLLOWED, Reads, aligned_reads, sliding
from cnnstat.ir.work import Work
from cnnstat.ops import join, reorder, resize, shape, slicing
from cnnstat.ops.embedding import Embedding
from cnnstat.ops.shape import regrouped
from cnnstat.ops.traced import Recorded


def moved(
    call: Call,
    reads: Reads | tuple[Reads, ...] | None,
    place: Storage = Storage.VIEW,
    places: tuple[int, ...] = (0,),
    calls: RecordedCalls | None = None,
) -> Match:
    """Return a call that computes nothing; reads: how the first result reads the first operand."""
    known = None if reads is None else (reads,)
    used = tuple(place for place in places if call.has(place))
    if len(used) > 1 or (used and call.input(used[0]).edge is None):
        known = None
    return Match(call.recorded(Family.LAYOUT, place=place, reads=known), call.reads(*used), calls=calls)


def _outputs(call: Call) -> Shapes:
    return call.output_shapes


def _reshape(call: Call) -> Match:
    """Reshape and Flatten: as Flatten or Reshape where the batch stays, else as a plain view."""
    before, after = call.shape(), call.output
    if len(before) > 2 and len(after) == 2 and after[0] == before[0]:
        return call.match(shape.Flatten(), 0)
    if len(before) > 1 and len(after) > 1 and after[0] == before[0] and 0 not in after:
        return call.match(shape.Reshape(after[1:]), 0)
    return moved(call, regrouped(before, after), calls=one_call("Tensor.reshape", *after))


def _transpose(call: Call) -> Match:
    rank = len(call.shape())
    return call.match(reorder.Permute(tuple(call.attributes.get("perm") or range(rank - 1, -1, -1))), 0)


def _squeeze(call: Call) -> Match:
    axes = call.integers(1, "axes")
    if axes is None:
        axes = tuple(axis for axis, size in enumerate(call.shape()) if size == 1)
    if not axes:
        return moved(call, _identity(len(call.shape())), calls=one_call("Tensor.reshape", *call.output))
    return call.match(reorder.Squeeze(axes[0] if len(axes) == 1 else axes), 0)


def _unsqueeze(call: Call) -> Match:
    axes = call.integers(1, "axes") or ()
    if len(axes) == 1:
        return call.match(reorder.Unsqueeze(axes[0]), 0)
    rank = len(call.output)
    new = {axis % rank for axis in axes}
    old = iter(range(len(call.shape())))
    reads = tuple(None if axis in new else (next(old), IDENTITY) for axis in range(rank))
    return moved(call, reads, calls=one_call("Tensor.reshape", *call.output))


def _identity(rank: int) -> Reads:
    return tuple((axis, IDENTITY) for axis in range(rank))


def _copy(call: Call) -> Match:
    """Cast: every element to fresh memory."""
    to = one_call("Tensor.to", TorchName(call.outputs[0].dtype)) if "Cast" in call.op_type else None
    return moved(call, _identity(len(call.shape())), Storage.FRESH, calls=to)


def _slice(call: Call) -> Match:
    x = call.shape()
    try:
        starts, ends = call.integers(1, "starts") or (), call.integers(2, "ends") or ()
        axes = call.integers(3, "axes") or tuple(range(len(starts)))
        steps = call.integers(4, "steps") or (1,) * len(starts)
    except LookupError:
        # Where it cuts is computed; along an axis that is left as it was, positions stay.
        reads = tuple((axis, IDENTITY if x[axis] == size else UNFOLLOWED) for axis, size in enumerate(call.output))
        return moved(call, reads)
    windows: list[Any] = [(axis, IDENTITY) for axis in range(len(x))]
    cut = []
    for start, end, axis, step in zip(starts, ends, axes, steps):
        axis %= len(x)
        if step < 1:
            return moved(call, tuple((a, UNFOLLOWED if a == axis else IDENTITY) for a in range(len(x))))
        begin, stop, _ = slice(start, end, step).indices(x[axis])
        if (begin, stop, step) != (0, x[axis], 1):
            cut.append((axis, begin, None if stop >= x[axis] else stop, step))
            windows[axis] = (axis, sliding(1, step, -begin))
    if len(cut) == 1 and 0 not in call.output:
        return call.match(slicing.Slice(*cut[0]), 0)
    index = [slice(None)] * len(x)
    for axis, begin, last, step in cut:
        index[axis] = slice(begin, last, step)
    parts = tuple(SliceOf(part.start, part.stop, part.step) for part in index)
    return moved(call, tuple(windows), calls=one_call("Tensor.__getitem__", parts))


def _split(call: Call) -> Match | None:
    outputs = _outputs(call)
    x = call.shape()
    axis = call.attributes.get("axis", 0) % len(x)
    sizes = tuple(each[axis] for each in outputs)
    if len(outputs) != len(call.outputs) or 0 in sizes or sum(sizes) != x[axis]:
        return None
    is_even = len(set(sizes)) == 1
    return call.match(slicing.Split(sizes[0] if is_even else sizes, axis), 0)


def _concat(call: Call) -> Match:
    """Concat: empty operands add nothing."""
    places = [place for place in range(len(call.inputs)) if call.has(place) and call.input(place).size]
    return call.match(join.Concat(call.attributes.get("axis", 1)), *(places or range(len(call.inputs))))


def _quantized_concat(call: Call) -> Match:
    return call.match(join.Concat(call.attributes["axis"]), *range(2, len(call.inputs), 3))


def _expand(call: Call) -> Match:
    calls = one_call("Tensor.expand", *call.output)
    return moved(call, aligned_reads(call.shape(), call.output), calls=calls)


def _tile(call: Call) -> Match:
    x, result = call.shape(), call.output
    reads = tuple(
        None if size != own and own == 1 else (axis, IDENTITY if size == own else UNFOLLOWED)
        for axis, (own, size) in enumerate(zip(x, result))
    )
    return moved(call, reads, Storage.FRESH)


def _pad(call: Call) -> Match:
    x = call.shape()
    amounts = call.integers(1, "pads") or call.attributes.get("paddings") or ()
    axes = call.integers(3) if call.has(3) else tuple(range(len(x)))
    assert axes is not None
    sides = [(0, 0)] * len(x)
    for place, axis in enumerate(axes):
        sides[axis % len(x)] = amounts[place], amounts[place + len(axes)]
    mode = call.attributes.get("mode", b"constant")
    mode = mode.decode("ascii", "replace") if isinstance(mode, bytes) else mode
    value = call.input(2).number if call.has(2) else call.attributes.get("value", 0.0)
    count = len(x) - 2
    if 1 <= count <= 3 and not any(map(any, sides[:2])) and (mode != "constant" or value is not None):
        flat = one_or_all([amount for pair in reversed(sides[2:]) for amount in pair])
        if mode == "constant":
            op = library_op(f"ZeroPad{count}d", flat) if not value else library_op(f"ConstantPad{count}d", flat, value)
        else:
            names = {"reflect": "ReflectionPad", "edge": "ReplicationPad", "wrap": "CircularPad"}
            op = library_op(f"{names[mode]}{count}d", flat)
        return call.match(op, 0)
    return moved(
        call, tuple((axis, sliding(1, padding=before)) for axis, (before, _) in enumerate(sides)), Storage.FRESH
    )


def _gather(call: Call) -> Match | None:
    table, indices = call.input(0), call.input(1)
    if table.shape is None or indices.shape is None:
        return None
    axis = call.attributes.get("axis", 0) % max(1, len(table.shape))
    if table.edge is None and indices.edge is not None and len(table.shape) == 2 and axis == 0:
        return call.match(Embedding(*table.shape), 1, weight=0)
    if indices.edge is not None or table.edge is None:
        return _by_indices(call)
    before = [(a, IDENTITY) for a in range(axis)]
    behind = [(a, IDENTITY) for a in range(axis + 1, len(table.shape))]
    numbers = indices.numbers
    if not indices.shape and numbers is not None:
        position = int(numbers) % max(1, table.shape[axis])
        return moved(call, (*before, *behind), calls=one_call("Tensor.select", axis, position))
    if len(indices.shape) == 1:
        return moved(call, (*before, (axis, _picked(numbers, table.shape[axis])), *behind), Storage.FRESH)
    return moved(call, (*before, *(None,) * len(indices.shape), *behind), Storage.FRESH)


def _picked(numbers: Any, length: int) -> Any:
    """Return the rule of positions that are listed: a slice where they are evenly spaced."""
    if numbers is None or not len(numbers):
        return UNFOLLOWED
    places = [int(number) % max(1, length) for number in numpy.ravel(numbers)]
    steps = {after - before for before, after in zip(places, places[1:])} or {1}
    step = steps.pop()
    if steps or step < 1:
        return UNFOLLOWED
    return sliding(1, step, -places[0])


def _by_indices(call: Call) -> Match:
    """Gather and its relatives with computed indices."""
    return moved(call, None, Storage.FRESH, tuple(range(len(call.inputs))))


def _depth_to_space(call: Call) -> Match:
    block = call.attributes["blocksize"]
    op = reorder.PixelShuffle(block)
    if call.attributes.get("mode", b"DCR") in (b"CRD", "CRD"):
        return call.match(op, 0)
    return moved(call, op.window((call.shape(),), (call.output,))[0], Storage.FRESH)


def _space_to_depth(call: Call) -> Match:
    op = reorder.PixelUnshuffle(call.attributes["blocksize"])
    return moved(call, op.window((call.shape(),), (call.output,))[0], Storage.FRESH)


def _resize(call: Call) -> Match:
    """Resize and Upsample: as Upsample where a way of PyTorch reads the same pixels."""
    x, result = call.shape(), call.output
    mode, aligned = _resize_mode(call, len(x) - 2)
    if not 3 <= len(x) <= 5 or x[:2] != result[:2] or not mode or 0 in result:
        return call.match(_resampled(call), 0)
    scale = _scales(call)
    sizes: dict[str, Any] = {"size": one_or_all(result[2:])}
    if scale is not None and all(
        math.floor(length * s) == size for length, s, size in zip(x[2:], scale[2:], result[2:])
    ):
        sizes = {"scale_factor": float(scale[2]) if len(set(scale[2:])) == 1 else tuple(map(float, scale[2:]))}
    return call.match(resize.Upsample(**sizes, mode=mode, align_corners=aligned), 0)


def _scales(call: Call) -> tuple[float, ...] | None:
    for place in (1, 2):
        value = call.input(place) if call.has(place) else None
        if value is not None and value.is_float and value.size == len(call.shape()) and value.numbers is not None:
            return tuple(map(float, value.numbers))
    scales = call.attributes.get("scales")
    return None if scales is None else tuple(scales)


def _resize_mode(call: Call, spatial: int) -> tuple[str, bool | None]:
    """Return PyTorch's mode and align_corners; an empty mode where it has none that reads the same pixels."""
    words = {
        name: value.decode("ascii", "replace") for name, value in call.attributes.items() if isinstance(value, bytes)
    }
    mode = words.get("mode", "nearest")
    default = "half_pixel" if call.op_type == "Resize" and call.opset >= 11 else "asymmetric"
    coordinates = words.get("coordinate_transformation_mode", default)
    if mode == "nearest":
        rounding = words.get(
            "nearest_mode", "round_prefer_floor" if call.op_type == "Resize" and call.opset >= 11 else "floor"
        )
        if coordinates == "asymmetric" and rounding == "floor":
            return "nearest", None
        return ("nearest-exact", None) if coordinates == "half_pixel" and "round" in rounding else ("", None)
    names = {"linear": resize.LINEAR_MODES.get(spatial, ""), "cubic": "bicubic" if spatial == 2 else ""}
    found = names.get(mode, "")
    if (
        not found
        or call.attributes.get("antialias")
        or coordinates not in ("half_pixel", "pytorch_half_pixel", "align_corners")
    ):
        return "", None
    return found, coordinates == "align_corners"


def _resampled(call: Call) -> Recorded:
    mode = call.attributes.get("mode", b"nearest")
    spatial = sum(before != after for before, after in zip(call.shape(), call.output))
    each = {b"linear": 3 * (2**spatial - 1), b"cubic": 35}.get(mode, 0)
    known = tuple(
        (axis, IDENTITY if before == after else UNFOLLOWED)
        for axis, (before, after) in enumerate(zip(call.shape(), call.output))
    )
    reads = (known,) if len(known) == len(call.output) else None
    return call.recorded(Family.RESAMPLING, Work.other("resampling", each * numel(call.output)), reads=reads)


def _all_operands(call: Call) -> Match:
    return moved(call, None, Storage.FRESH, tuple(range(len(call.inputs))))


HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(("Reshape", "Flatten"), _reshape),
    "Transpose": _transpose,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    **dict.fromkeys(("Cast", "CastLike", "ReorderInput", "ReorderOutput"), _copy),
    "Slice": _slice,
    "Split": _split,
    "Concat": _concat,
    "QLinearConcat": _quantized_concat,
    "Expand": _expand,
    "Tile": _tile,
    "Pad": _pad,
    "Gather": _gather,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
    **dict.fromkeys(("Resize", "Upsample"), _resize),
    **dict.fromkeys(
        words("""
        GatherElements GatherND ScatterElements ScatterND Scatter NonZero NonMaxSuppression TopK Compress Unique ArgMax
        ArgMin Trilu ReverseSequence OneHot Range Shape Size ConstantOfShape EyeLike RandomNormal RandomNormalLike
        RandomUniform RandomUniformLike Bernoulli Multinomial CenterCropPad MaxUnpool TensorScatter GatherBlockQuantized
        """),
        _all_operands,
    ),
}


def selected(x: tuple[int, ...], axis: int, position: int) -> Recorded:
    """Return the op that takes one position of an axis."""
    reads: Reads = tuple((a, IDENTITY) for a in range(len(x)) if a != axis)
    shape = (*x[:axis], *x[axis + 1 :])
    return Recorded(function="select", outputs=(shape,), family=Family.LAYOUT, place=Storage.VIEW, reads=(reads,))
