"""Writes into parts of tensors: which places of the result hold what was there before, and which the new values."""

from __future__ import annotations

from typing import Any

import torch

from cnnstat.ir.op import Family, Shape, Storage
from cnnstat.ir.window import IDENTITY, MAX_PERIOD, NOTHING, Reads, Window, sliding, transposed
from cnnstat.ops.traced import Recorded
from cnnstat.pytorch.calls import Call, Match
from cnnstat.pytorch.handlers.layout import expanded
from cnnstat.pytorch.tensors import shape_of

Region = tuple[range, ...]
"""The positions that a write changes, along each axis."""


def assigned(call: Call, *, over_constant: bool) -> Match | None:
    """Return x[…] = value by numbers, slices and …; None for other indices, which scatter.

    over_constant: whether what is written over is no result of the model, but zeros, say.
    """
    x, index, value = call.arguments
    parts = index if isinstance(index, tuple) else (index,)
    if any(isinstance(part, bool) or not isinstance(part, (int, slice, type(...))) for part in parts):
        return None
    taken, shape = expanded(parts, x.dim()), shape_of(x)
    region = tuple(_positions(part, size) for part, size in zip(taken, shape))
    axes = [axis for axis, part in enumerate(taken) if isinstance(part, slice)]
    reads = write_reads(shape, region, axes, shape_of(value) if isinstance(value, torch.Tensor) else (), over_constant)
    if reads is None:
        return None
    op = Recorded(function="setitem", outputs=(shape,), family=Family.LAYOUT, place=Storage.IN_PLACE, reads=reads)
    return Match(op, (x, value))


def _positions(part: Any, size: int) -> range:
    """Return the positions that a slice or a number means."""
    if isinstance(part, slice):
        return range(*part.indices(size))
    place = part + size if part < 0 else part
    return range(place, place + 1)


def region_of(view: torch.Tensor, base: torch.Tensor) -> Region | None:
    """Return the part of a tensor that a view of it with as many axes shows; None for any other view."""
    if view.dim() != base.dim() or 0 in view.shape or view.dtype != base.dtype:
        return None
    rest = int(view.storage_offset() - base.storage_offset())
    starts, steps = [0] * base.dim(), [1] * base.dim()
    strides = [int(stride) for stride in base.stride()]
    for axis in sorted(range(base.dim()), key=lambda axis: -strides[axis]):
        if base.shape[axis] == 1:
            continue
        if strides[axis] < 1 or rest < 0:
            return None
        starts[axis], rest = divmod(rest, strides[axis])
        if view.shape[axis] > 1:
            steps[axis], left = divmod(int(view.stride(axis)), strides[axis])
            if left or steps[axis] < 1:
                return None
    ends = [start + step * (size - 1) for start, step, size in zip(starts, steps, view.shape)]
    if rest or any(end >= size for end, size in zip(ends, base.shape)):
        return None
    return tuple(range(start, end + 1, step) for start, end, step in zip(starts, ends, steps))


def write_reads(
    shape: Shape, region: Region, axes: list[int], value: Shape, over_constant: bool
) -> tuple[Reads, Reads] | None:
    """Return how the result of a write reads what was there before, and the value written; None where it is not known.

    axes: the axes of the region that the value may have, in order; it is repeated along those it has not.
    """
    if not all(region) or any(part.step < 1 for part in region):
        return None
    cut = [axis for axis, part in enumerate(region) if len(part) < shape[axis]]
    # Along a single axis, what is written over is read nowhere; along several, some rows and columns keep it.
    exact = not over_constant and len(cut) == 1 and shape[cut[0]] <= MAX_PERIOD
    before: list[tuple[int, Window] | None] = [(axis, NOTHING if not cut else IDENTITY) for axis in range(len(shape))]
    after: list[tuple[int, Window] | None] = [None] * len(shape)
    for axis, place in zip(reversed(axes), range(len(value) - 1, -1, -1)):
        part = region[axis]
        if value[place] == len(part):
            window = _placed(part, shape[axis]) if not exact or axis not in cut else _listed(part, shape[axis])
            if window is None:
                return None
            after[axis] = (place, window)
    if exact:
        (axis,) = cut
        before[axis] = (axis, _kept(region[axis], shape[axis]))
    return tuple(before), tuple(after)


def _placed(part: range, size: int) -> Window | None:
    """Return the window of values that are put to some positions; before and behind them, they count as going on."""
    if len(part) == size:
        return IDENTITY
    if part.step == 1 or len(part) == 1:
        return sliding(1, 1, part.start)
    window = transposed(1, part.step, -part.start, 1)
    return window if isinstance(window, Window) else None


def _listed(part: range, size: int) -> Window:
    """Return the same, position by position: others than these read nothing."""
    periods = -(-size // part.step)
    places = range(periods * part.step)
    # Behind the end, it goes on with the stride of the write.
    return Window(tuple(_only(part.index(place)) if place in part else range(0) for place in places), periods)


def _kept(part: range, size: int) -> Window:
    """Return the window of what was there before: positions read themselves where nothing is written."""
    return Window(tuple(range(0) if place in part else _only(place) for place in range(size)), size)


def _only(place: int) -> range:
    """Return one position."""
    return range(place, place + 1)
