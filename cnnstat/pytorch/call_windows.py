"""How the results of calls that no op covers read their operands: axis by axis, and where a part is overwritten."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from typing import Any

import torch

from cnnstat.ir.op import Shape, Shapes
from cnnstat.ir.window import (
    IDENTITY,
    MAX_PERIOD,
    NOTHING,
    UNFOLLOWED,
    WHOLE,
    AxisRule,
    Index,
    Reads,
    Window,
    aligned_reads,
    nearest,
    reads_along,
    sliding,
    transposed,
    up_to_itself,
)
from cnnstat.pytorch.aten_flops import Work
from cnnstat.pytorch.calls import Call, words

_AXIS_PLACES = {
    **dict.fromkeys(
        words(
            """
            var std var_mean std_mean max min amin any all argmax argmin prod nansum nanmean nanmedian logsumexp median
            mode count_nonzero index_select gather index_add
            index_copy index_fill softmin tensor_split aminmax
            """
        ),
        1,
    ),
    **dict.fromkeys(
        words(
            """
            normalize norm linalg_norm linalg_vector_norm topk kthvalue cosine_similarity take_along_dim
            fft_fft fft_ifft fft_rfft fft_irfft fft_fft2 fft_ifft2 fft_rfft2 fft_irfft2 fft_fftn fft_ifftn
            """
        ),
        2,
    ),
    "sort": 1,
    "argsort": 1,
}
"""The place of the axes among a call's arguments."""

_DEFAULT_AXES = {
    "normalize": 1,
    "cosine_similarity": 1,
    "tensor_split": 0,
    **dict.fromkeys(words("topk kthvalue sort argsort fft_fft fft_ifft fft_rfft fft_irfft"), -1),
    **dict.fromkeys(words("fft_fft2 fft_ifft2 fft_rfft2 fft_irfft2"), (-2, -1)),
}
"""The axes of a call that names none; one that is not here works on all axes."""


def reads_of(call: Call, shapes: Shapes, outputs: Shapes) -> tuple[Reads, ...] | None:
    """Return how a call reads each of its operands; None where nothing is known."""
    name = call.name.removeprefix("aten.").removeprefix("F.").strip("_")
    special = _SPECIAL.get(name)
    if special is not None:
        return special(call, shapes, outputs)
    axes = _axes(name, call, len(shapes[0])) if shapes else None
    if axes is None:
        return None
    first = mixed_reads(shapes[0], outputs[0], axes)
    if first is None:
        return None
    if name in _PICKING:
        first = tuple(entry and (entry[0], UNFOLLOWED if entry[0] in axes else entry[1]) for entry in first)
    return first, *(aligned_reads(shape, outputs[0]) for shape in shapes[1:])


_PICKING = words("index_select gather take_along_dim")
"""Calls that read positions by a tensor of indices: fewer than all of an axis, so that WHOLE would claim too much."""

_OVERWRITING = words("copy_ fill_ zero_ normal_ uniform_ random_ bernoulli_ exponential_")
"""Changes in place that do not read what was there before."""


def known_reads(shapes: Shapes, outputs: Shapes, work: Work, call: Call) -> tuple[Reads, ...] | None:
    """Return how a call reads its operands, where that is known: element by element, into its place, by axes."""
    is_changed = call.overwritten is not None and shapes[:1] == outputs[:1]
    if any(len(result) != len(outputs[0]) for result in outputs):
        return None
    if not work.is_pointwise and not is_changed:
        try:
            return reads_of(call, shapes, outputs)
        except (TypeError, ValueError, AttributeError, IndexError):
            return None
    reads = tuple(aligned_reads(shape, outputs[0]) for shape in shapes)
    if call.name in _OVERWRITING and is_changed:
        return tuple((axis, NOTHING) for axis in range(len(outputs[0]))), *reads[1:]
    return reads


def mixed_reads(shape: Shape, output: Shape, axes: frozenset[int]) -> Reads | None:
    """Return the identity on all axes but some, which are read as a whole; those may be gone from the output."""
    if len(output) == len(shape):
        places = list(range(len(shape)))
    elif len(output) == len(shape) - len(axes):
        places = [axis for axis in range(len(shape)) if axis not in axes]
    else:
        return None
    if any(shape[axis] != size for axis, size in zip(places, output) if axis not in axes):
        return None
    return tuple((axis, WHOLE if axis in axes else IDENTITY) for axis in places)


def _axes(name: str, call: Call, rank: int) -> frozenset[int] | None:
    """Return the axes that a call mixes, all where it names none; None where that is not known."""
    place = _AXIS_PLACES.get(name)
    if place is None:
        return None
    keyword = next((word for word in ("dim", "dims", "axis") if word in call.keywords), "dim")
    values = call.get(place, keyword)
    if values is None or isinstance(values, bool):
        values = _DEFAULT_AXES.get(name, tuple(range(rank)))
    numbers = values if isinstance(values, (list, tuple)) else (values,)
    if not numbers or not all(type(number) is int for number in numbers):
        return None
    return frozenset(number % rank for number in numbers) if rank else None


def _padded(call: Call, shapes: Shapes, outputs: Shapes) -> tuple[Reads, ...] | None:
    """Padding of any axes: every axis is moved on by what is put before it."""
    amounts = call.get(1, "pad")
    last = [int(amount) for amount in amounts[::2]]
    before = (*(0,) * (len(shapes[0]) - len(last)), *reversed(last))
    return (tuple((axis, sliding(1, 1, amount)) for axis, amount in enumerate(before)),)


def _einsum(call: Call, shapes: Shapes, outputs: Shapes) -> tuple[Reads, ...] | None:
    """Sums of products: an axis of the result goes along with the axes that have its letter."""
    equation = call.arguments[0]
    if not isinstance(equation, str) or "->" not in equation:
        return None
    left, result = equation.replace(" ", "").split("->")
    terms = left.split(",")
    if len(terms) != len(shapes):
        return None
    output = _letters(result, len(outputs[0]))
    return tuple(_term_reads(_letters(term, len(shape)), output) for term, shape in zip(terms, shapes))


def _letters(term: str, rank: int) -> list[str]:
    """Return a name for each axis of a term; those of an ellipsis are numbered from the back."""
    if "..." not in term:
        return list(term)
    before, after = term.split("...")
    hidden = rank - len(before) - len(after)
    return [*before, *(str(number) for number in range(hidden, 0, -1)), *after]


def _term_reads(term: list[str], result: list[str]) -> Reads:
    return tuple((term.index(letter), IDENTITY) if letter in term else None for letter in result)


def _rolled(call: Call, shapes: Shapes, outputs: Shapes) -> tuple[Reads, ...] | None:
    """Positions moved on along some axes; the ends that come in again on the other side count as borders."""
    dims = call.get(2, "dims")
    if dims is None or dims == ():
        return None
    rank = len(shapes[0])
    shifts = _each(call.get(1, "shifts"), 1)
    moved = {dim % rank: shift for dim, shift in zip(_each(dims, 1), shifts)}
    return (tuple((axis, sliding(1, 1, moved.get(axis, 0))) for axis in range(rank)),)


def _flipped(call: Call, shapes: Shapes, outputs: Shapes) -> tuple[Reads, ...] | None:
    """Positions counted from the other end along some axes."""
    (shape,) = shapes
    dims = call.get(1, "dims")
    turned = {dim % len(shape) for dim in ((dims,) if isinstance(dims, int) else dims)}
    rules = (_backwards(size) if axis in turned else IDENTITY for axis, size in enumerate(shape))
    return (tuple(enumerate(rules)),)


def _turned(call: Call, shapes: Shapes, outputs: Shapes) -> tuple[Reads, ...] | None:
    """Quarter turns: of two axes that change places, one is counted from its other end; half a turn turns both."""
    (shape,) = shapes
    turns, dims = call.get(1, "k", 1) % 4, call.get(2, "dims", (0, 1))
    first, second = (dim % len(shape) for dim in dims)
    reads: list[tuple[int, AxisRule] | None] = [(axis, IDENTITY) for axis in range(len(shape))]
    if turns:
        one, other = (second, first) if turns % 2 else (first, second)
        reads[first] = (one, _backwards(shape[one]) if turns < 3 else IDENTITY)
        reads[second] = (other, _backwards(shape[other]) if turns > 1 else IDENTITY)
    return (tuple(reads),)


def _backwards(size: int) -> Window:
    return Window((range(size - 1, size),), -1)


def _tiled(call: Call, shapes: Shapes, outputs: Shapes) -> tuple[Reads, ...] | None:
    """Copies of a tensor one behind another along some axes: positions are counted from 0 again in each."""
    (shape,), (output, *_) = shapes, outputs
    missing = len(output) - len(shape)
    if any(1 < size < made and size > MAX_PERIOD for size, made in zip(shape, output[missing:])):
        return None
    reads: list[tuple[int, AxisRule] | None] = list(aligned_reads(shape, output))
    for axis, (size, made) in enumerate(zip(shape, output[missing:])):
        if 1 < size < made:
            reads[missing + axis] = (axis, Window(tuple(range(place, place + 1) for place in range(size)), 0))
    return (tuple(reads),)


def _differences(call: Call, shapes: Shapes, outputs: Shapes) -> tuple[Reads, ...] | None:
    """Differences of neighbours along one axis, taken `n` times: a window of n + 1 positions."""
    times, dim = call.get(1, "n", 1), call.get(2, "dim", -1)
    if len(shapes) != 1 or outputs[0][dim] != shapes[0][dim] - times:
        return None  # something is put before or behind it
    rank = len(shapes[0])
    return (tuple((axis, sliding(times + 1) if axis == dim % rank else IDENTITY) for axis in range(rank)),)


def _unpooled(call: Call, shapes: Shapes, outputs: Shapes) -> tuple[Reads, ...] | None:
    """Unpooling: a value goes to some place of the window it was the largest of."""
    spatial = int(call.name[-2])
    sizes = [_each(call.get(place, name), spatial) for place, name in ((2, "kernel_size"), (3, "stride"))]
    kernel, stride, padding = sizes[0], sizes[1] or sizes[0], _each(call.get(4, "padding", 0), spatial)
    rules = zip(kernel, stride, padding)
    plain = len(shapes[0]) - spatial
    reads = (
        *((axis, IDENTITY) for axis in range(plain)),
        *((plain + number, transposed(k, s, p, 1)) for number, (k, s, p) in enumerate(rules)),
    )
    return (reads,) * len(shapes)


def _accumulated(call: Call, shapes: Shapes, outputs: Shapes) -> tuple[Reads, ...] | None:
    """Running sums and the like: a position reads itself and all before it, as many as the last one has."""
    rank = len(shapes[0])
    axis = call.get(1, "dim") % rank
    return (reads_along(axis, up_to_itself(shapes[0][axis]), rank),)


def _selected(call: Call, shapes: Shapes, outputs: Shapes) -> tuple[Reads, ...] | None:
    """One position along an axis, which is gone: select, and unbind, whose first result is position 0."""
    (shape,) = shapes
    axis = call.get(1, "dim", 0) % len(shape)
    position = call.get(2, "index", 0) % shape[axis]
    kept = tuple((place, IDENTITY) for place in range(len(shape)) if place != axis)
    return ((*kept, (axis, Index(position))),)


def _each(value: Any, count: int) -> tuple[int, ...]:
    return () if value is None or value == [] else (value,) * count if isinstance(value, int) else tuple(value)


def _repeated(call: Call, shapes: Shapes, outputs: Shapes) -> tuple[Reads, ...] | None:
    """Every element some times over, along one axis."""
    times, dim = call.get(1, "repeats"), call.get(2, "dim")
    if isinstance(times, torch.Tensor) or not times or dim is None or len(shapes) != 1:
        return None
    axis = dim % len(shapes[0])
    rule = nearest(Fraction(1, times))
    return (tuple((number, rule if number == axis else IDENTITY) for number in range(len(shapes[0]))),)


_SPECIAL: dict[str, Callable[[Call, Shapes, Shapes], tuple[Reads, ...] | None]] = {
    "pad": _padded,
    "einsum": _einsum,
    "roll": _rolled,
    "flip": _flipped,
    "rot90": _turned,
    **dict.fromkeys(("repeat", "tile"), _tiled),
    "diff": _differences,
    **{f"max_unpool{spatial}d": _unpooled for spatial in (1, 2, 3)},
    "repeat_interleave": _repeated,
    **dict.fromkeys(words("cumsum cumprod cummax cummin logcumsumexp"), _accumulated),
    "select": _selected,
    "unbind": _selected,
}
"""Calls with rules of their own."""


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
        before[axis] = (axis, _unwritten(region[axis], shape[axis]))
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
