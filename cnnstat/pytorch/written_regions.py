"""Written regions: which positions of a tensor a view of it shows, and what is read where these are overwritten."""

from __future__ import annotations

from functools import lru_cache

import torch

from cnnstat.ir.op import Shape
from cnnstat.ir.window import IDENTITY, MAX_PERIOD, NOTHING, InPart, Piece, Reads, Window, transposed

Region = tuple[range, ...]
"""The positions that a write changes, along each axis."""


def region_of(view: torch.Tensor, base: torch.Tensor) -> Region | None:
    """Return the part of a tensor that a view of it with as many axes shows; None for any other view."""
    if view.dim() != base.dim() or 0 in view.shape or view.dtype != base.dtype:
        return None
    # The offset of a view is a sum of starts × strides: taken apart from the largest stride down.
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
    # Where a write covers an axis completely, nothing is left along it of what was there before.
    cut = [axis for axis, part in enumerate(region) if len(part) < shape[axis]]
    # Along a single axis, what is written over is read nowhere; along several, some rows and columns keep it.
    exact = not over_constant and len(cut) == 1 and shape[cut[0]] <= MAX_PERIOD
    before: list[tuple[int, Window | Piece] | None] = [
        (axis, NOTHING if not cut else IDENTITY) for axis in range(len(shape))
    ]
    after: list[tuple[int, Window | Piece] | None] = [None] * len(shape)
    for axis, place in zip(reversed(axes), range(len(value) - 1, -1, -1)):
        part = region[axis]
        if value[place] == len(part):
            window = _placed(part, shape[axis]) if not exact or axis not in cut else _listed(part, shape[axis])
            if window is None:
                return None
            after[axis] = (place, window)
    if exact:
        (axis,) = cut
        before[axis] = (axis, _unwritten(region[axis], shape[axis]))
    is_numbered = any(axis not in axes for axis in cut if axis > 0)
    return tuple(before), InPart(after) if is_numbered else tuple(after)


@lru_cache(maxsize=4096)
def _placed(part: range, size: int) -> Window | Piece | None:
    """Return the rule of values that are put to some positions; before and behind them, they count as going on."""
    if len(part) == size:
        return IDENTITY
    if part.step == 1 or len(part) == 1:
        return Piece(part.start)
    window = transposed(1, part.step, -part.start, 1)
    return window if isinstance(window, Window) else None


def _listed(part: range, size: int) -> Window:
    """Return the same, position by position: others than these read nothing."""
    periods = -(-size // part.step)
    # Behind the end, it goes on with the stride of the write.
    taps = [range(0)] * (periods * part.step)
    taps[part.start : part.stop : part.step] = _positions(size)[: len(part)]
    return Window(tuple(taps), periods)


def _unwritten(part: range, size: int) -> Window:
    """Return the window of what was there before: positions read themselves where nothing is written."""
    taps = list(_positions(size))
    taps[part.start : part.stop : part.step] = [range(0)] * len(part)
    return Window(tuple(taps), size)


@lru_cache(maxsize=8)  # a map that is filled tile by tile is written to hundreds of times
def _positions(size: int) -> tuple[range, ...]:
    """Return for each position that it is read."""
    return tuple(range(place, place + 1) for place in range(size))
