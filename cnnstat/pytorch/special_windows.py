"""Special windows: calls of which each has a rule of its own for how its results read its operands."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import torch

from cnnstat.choices import words
from cnnstat.ir.einstein_sum import einsum_reads
from cnnstat.ir.op import Shapes
from cnnstat.ir.window import (
    IDENTITY,
    MAX_PERIOD,
    UNFOLLOWED,
    AxisRule,
    Index,
    Reads,
    Window,
    aligned_reads,
    antialiased,
    nearest,
    reads_along,
    sliding,
    transposed,
    up_to_itself,
)
from cnnstat.pytorch.calls import Call
from cnnstat.pytorch.fake import FAKE_TYPE


def _padded(call: Call, shapes: Shapes, outputs: Shapes) -> tuple[Reads, ...] | None:
    """Padding of any axes: every axis is moved on by what is put before it."""
    amounts = call.get(1, "pad")
    last = [int(amount) for amount in amounts[::2]]
    before = (*(0,) * (len(shapes[0]) - len(last)), *reversed(last))
    return (tuple((axis, sliding(1, 1, amount)) for axis, amount in enumerate(before)),)


def _einsum(call: Call, shapes: Shapes, outputs: Shapes) -> tuple[Reads, ...] | None:
    """Sums of products: an axis of the result goes along with the axes that have its letter."""
    equation = call.arguments[0]
    return einsum_reads(equation, shapes, len(outputs[0])) if isinstance(equation, str) else None


def _tensordot(call: Call, shapes: Shapes, outputs: Shapes) -> tuple[Reads, ...] | None:
    """Sums of products over some axes of both; the others follow one behind the other."""
    dims = call.get(2, "dims", 2)
    if isinstance(dims, int):
        dims = (range(len(shapes[0]) - dims, len(shapes[0])), range(dims))
    left, right = (
        [axis for axis in range(len(shape)) if axis not in {dim % len(shape) for dim in summed}]
        for shape, summed in zip(shapes, dims)
    )
    return (
        (*((axis, IDENTITY) for axis in left), *(None,) * len(right)),
        (*(None,) * len(left), *((axis, IDENTITY) for axis in right)),
    )


def _complex(call: Call, shapes: Shapes, outputs: Shapes) -> tuple[Reads, ...] | None:
    """Parts of complex numbers, or numbers of two parts, which have an axis of their own at the end."""
    return tuple(
        aligned_reads(shape, outputs[0][: len(shape)]) + (None,) * (len(outputs[0]) - len(shape)) for shape in shapes
    )


def _of_two_parts(call: Call, shapes: Shapes, outputs: Shapes) -> tuple[Reads, ...] | None:
    """Complex numbers of pairs along the last axis."""
    return (tuple((axis, IDENTITY) for axis in range(len(outputs[0]))),)


def _scattered(call: Call, shapes: Shapes, outputs: Shapes) -> tuple[Reads, ...] | None:
    """Values put to the places along one axis that a tensor of indices names, which may be any."""
    axis, rank = call.get(1, "dim") % len(shapes[0]), len(shapes[0])
    before = tuple((place, IDENTITY) for place in range(rank))
    put = tuple((place, UNFOLLOWED if place == axis else IDENTITY) for place in range(rank))
    same = [all(a == b for place, (a, b) in enumerate(zip(shape, shapes[0])) if place != axis) for shape in shapes]
    if any(len(shape) == rank and not is_same for shape, is_same in zip(shapes[1:], same[1:])):
        return None
    return (before, *(put if len(shape) == rank else (None,) * rank for shape in shapes[1:]))


def _picked(call: Call, shapes: Shapes, outputs: Shapes) -> tuple[Reads, ...] | None:
    """Positions along one axis by a list of numbers: followed where the list is a constant of the model."""
    axis = call.get(1, "dim") % len(shapes[0])
    return _along_one(axis, _by_number(call.get(2, "index"), shapes[0][axis]), shapes)


def _picked_item(call: Call, shapes: Shapes, outputs: Shapes) -> tuple[Reads, ...] | None:
    """The same written as x[:, [2, 0, 1]]."""
    parts = call.arguments[1] if isinstance(call.arguments[1], tuple) else (call.arguments[1],)
    lists = [part for part in parts if isinstance(part, (list, torch.Tensor))]
    others = [part for part in parts if not isinstance(part, (list, torch.Tensor))]
    if len(lists) != 1 or any(part != slice(None) and part is not ... for part in others):
        return None
    place = next(number for number, part in enumerate(parts) if isinstance(part, (list, torch.Tensor)))
    is_behind = any(part is ... for part in parts[:place])
    axis = len(shapes[0]) - (len(parts) - place) if is_behind else place
    if isinstance(lists[0], torch.Tensor) and (lists[0].dim() != 1 or lists[0].dtype not in (*_NUMBERS, torch.bool)):
        return None
    return _along_one(axis, _by_number(lists[0], shapes[0][axis]), shapes)


def _along_one(axis: int, rule: AxisRule, shapes: Shapes) -> tuple[Reads, ...]:
    """Return the reads along one axis of the first operand; the others are constants."""
    rank = len(shapes[0])
    return (reads_along(axis, rule, rank), *((None,) * rank for _ in shapes[1:]))


def _by_number(numbers: Any, length: int) -> AxisRule:
    """Return the window of positions in a list of constants, or of those that a constant mask lets through."""
    if isinstance(numbers, torch.Tensor):
        if isinstance(numbers, FAKE_TYPE) or numbers.dim() != 1:
            return UNFOLLOWED
        numbers = numbers.tolist() if numbers.dtype in _NUMBERS else numbers.nonzero().flatten().tolist()
    if not numbers or not all(type(number) is int for number in numbers):
        return UNFOLLOWED
    places = [number % length for number in numbers]
    step = places[1] - places[0] if len(places) > 1 else 1
    if (step > 0 or step == -1) and places == list(range(places[0], places[0] + len(places) * step, step)):
        return Window((range(places[0], places[0] + 1),), step)
    # Before the first and behind the last position, steps of the mean length count as going on, or none.
    span, count = places[-1] - places[0], len(places)
    mean = -(-abs(span) * count // (count - 1))
    advance = mean if places == sorted(places) else -mean if places == sorted(places, reverse=True) else span
    return Window(tuple(range(place, place + 1) for place in places), advance) if count <= MAX_PERIOD else UNFOLLOWED


_NUMBERS = (torch.int64, torch.int32, torch.int16, torch.int8)


def _masked_item(call: Call, shapes: Shapes, outputs: Shapes) -> tuple[Reads, ...] | None:
    """x[mask] = number: each element by itself."""
    x, mask, value = call.arguments
    if not isinstance(mask, torch.Tensor) or mask.dtype != torch.bool or mask.shape != x.shape[: mask.dim()]:
        return None
    if isinstance(value, torch.Tensor) and value.numel() > 1:
        return None
    rank = len(outputs[0])
    # The mask has the first axes, where broadcasting would give it the last.
    return tuple(tuple((a, IDENTITY) if a < len(shape) else None for a in range(rank)) for shape in shapes)


def _antialiased(call: Call, shapes: Shapes, outputs: Shapes) -> tuple[Reads, ...] | None:
    """Resizing of an image with antialiasing, by the ratio of the sizes or by a factor."""
    (shape,), (output, *_) = shapes, outputs
    half_width = {"bilinear": 1, "bicubic": 2}.get(call.get(3, "mode", "nearest"))
    if half_width is None or call.get(4, "align_corners"):
        return None
    scales = [Fraction(size, made) for size, made in zip(shape[2:], output[2:])]
    factors = call.get(2, "scale_factor")
    if factors is not None and not call.get(5, "recompute_scale_factor"):
        scales = [1 / Fraction(str(factor)) for factor in (factors if isinstance(factors, tuple) else (factors,) * 2)]
    rules = [antialiased(scale, half_width) for scale in scales]
    return (((0, IDENTITY), (1, IDENTITY), *((axis, rule) for axis, rule in enumerate(rules, start=2))),)


def _one_hot(call: Call, shapes: Shapes, outputs: Shapes) -> tuple[Reads, ...] | None:
    """A number for each class, along an axis of their own at the end."""
    return ((*aligned_reads(shapes[0], outputs[0][:-1]), None),)


def _distances(call: Call, shapes: Shapes, outputs: Shapes) -> tuple[Reads, ...] | None:
    """Distances of each vector of one tensor from each of another."""
    first, second = (aligned_reads(shape[:-2], outputs[0][:-2]) for shape in shapes)
    return (*first, (len(shapes[0]) - 2, IDENTITY), None), (*second, None, (len(shapes[1]) - 2, IDENTITY))


def _spectrogram(call: Call, shapes: Shapes, outputs: Shapes) -> tuple[Reads, ...] | None:
    """Short-time Fourier transforms: frames of a signal, one after the other, each read as a whole."""
    length = call.get(1, "n_fft")
    hop = call.get(2, "hop_length") or length // 4
    padding = length // 2 if call.get(5, "center", True) else 0
    signal = len(shapes[0]) - 1
    frames = len(outputs[0]) - 1 - (not call.results[0].is_complex())
    reads: list[tuple[int, AxisRule] | None] = [None] * len(outputs[0])
    reads[frames] = (signal, sliding(length, hop, padding))
    if signal:
        reads[0] = (0, IDENTITY)
    return (tuple(reads), *((None,) * len(reads) for _ in shapes[1:]))


def _rolled(call: Call, shapes: Shapes, outputs: Shapes) -> tuple[Reads, ...] | None:
    """Positions moved on along some axes; the ends that come in again on the other side count as borders."""
    dims = call.get(2, "dims")
    if dims is None or dims == ():
        return None
    rank = len(shapes[0])
    shifts = _each(call.get(1, "shifts"), 1)
    moved = {dim % rank: shift for dim, shift in zip(_each(dims, 1), shifts)}
    return (tuple((axis, sliding(1, 1, moved.get(axis, 0))) for axis in range(rank)),)


def _half_rolled(call: Call, shapes: Shapes, outputs: Shapes) -> tuple[Reads, ...] | None:
    """Positions moved on by half of an axis, as spectra are centred."""
    (shape,) = shapes
    dims = call.get(1, "dim")
    moved = range(len(shape)) if dims is None else [dim % len(shape) for dim in _each(dims, 1)]
    is_back = "ifft" in call.name
    shifts = {axis: -(shape[axis] // 2) if is_back else shape[axis] // 2 for axis in moved}
    return (tuple((axis, sliding(1, 1, shifts.get(axis, 0))) for axis in range(len(shape))),)


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
    if any(1 < size < tiled and size > MAX_PERIOD for size, tiled in zip(shape, output[missing:])):
        return None
    reads: list[tuple[int, AxisRule] | None] = list(aligned_reads(shape, output))
    for axis, (size, tiled) in enumerate(zip(shape, output[missing:])):
        if 1 < size < tiled:
            reads[missing + axis] = (axis, Window(tuple(range(place, place + 1) for place in range(size)), 0))
    return (tuple(reads),)


def _differences(call: Call, shapes: Shapes, outputs: Shapes) -> tuple[Reads, ...] | None:
    """Differences of neighbours along one axis, taken `n` times: a window of n + 1 positions."""
    times, dim = call.get(1, "n", 1), call.get(2, "dim", -1)
    if len(shapes) != 1 or outputs[0][dim] != shapes[0][dim] - times:
        return None  # something is put before or behind it
    rank = len(shapes[0])
    return (reads_along(dim % rank, sliding(times + 1), rank),)


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
    others = tuple((place, IDENTITY) for place in range(len(shape)) if place != axis)
    return ((*others, (axis, Index(position))),)


def _each(value: Any, count: int) -> tuple[int, ...]:
    return () if value is None or value == [] else (value,) * count if isinstance(value, int) else tuple(value)


def _repeated(call: Call, shapes: Shapes, outputs: Shapes) -> tuple[Reads, ...] | None:
    """Every element some times over, along one axis."""
    times, dim = call.get(1, "repeats"), call.get(2, "dim")
    if isinstance(times, torch.Tensor) or not times or dim is None or len(shapes) != 1:
        return None
    rank = len(shapes[0])
    return (reads_along(dim % rank, nearest(Fraction(1, times)), rank),)


SPECIAL: dict[str, Callable[[Call, Shapes, Shapes], tuple[Reads, ...] | None]] = {
    "pad": _padded,
    "einsum": _einsum,
    "tensordot": _tensordot,
    **dict.fromkeys(
        words("real imag real.get imag.get conj conj_physical resolve_conj resolve_neg complex view_as_real tril triu"),
        _complex,
    ),
    "view_as_complex": _of_two_parts,
    **dict.fromkeys(words("scatter scatter_add scatter_reduce index_add index_copy index_fill"), _scattered),
    "index_select": _picked,
    "getitem": _picked_item,
    "setitem": _masked_item,
    "interpolate": _antialiased,
    "one_hot": _one_hot,
    "cdist": _distances,
    "stft": _spectrogram,
    "roll": _rolled,
    **dict.fromkeys(("fft_fftshift", "fft_ifftshift"), _half_rolled),
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
