"""Calls that mix some axes of a tensor and leave the others alone: how their results read what they are given."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import torch

from cnnstat.ir.op import Shape, Shapes
from cnnstat.ir.window import IDENTITY, WHOLE, Reads, nearest, sliding, transposed
from cnnstat.ops.traced import aligned_reads
from cnnstat.pytorch.calls import Call, words

_AXIS_PLACES = {
    **dict.fromkeys(
        words(
            """
            var std var_mean std_mean max min amin any all argmax argmin prod nansum nanmean nanmedian logsumexp median
            mode count_nonzero cumsum cumprod cummax cummin logcumsumexp flip index_select gather index_add
            index_copy index_fill softmin unbind tensor_split aminmax
            """
        ),
        1,
    ),
    **dict.fromkeys(
        words(
            """
            normalize norm linalg_norm linalg_vector_norm roll topk kthvalue cosine_similarity take_along_dim diff
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
    "unbind": 0,
    "tensor_split": 0,
    **dict.fromkeys(words("topk kthvalue sort argsort diff fft_fft fft_ifft fft_rfft fft_irfft"), -1),
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
    return first, *(aligned_reads(shape, outputs[0]) for shape in shapes[1:])


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
    """Return the axes that a call mixes; None where it mixes all, or is not known."""
    place = _AXIS_PLACES.get(name)
    if place is None:
        return None
    keyword = next((word for word in ("dim", "dims", "axis") if word in call.keywords), "dim")
    given = call.get(place, keyword)
    if given is None or isinstance(given, bool):
        given = _DEFAULT_AXES.get(name)
    numbers = given if isinstance(given, (list, tuple)) else (given,)
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
    made = _letters(result, len(outputs[0]))
    return tuple(_term_reads(_letters(term, len(shape)), made) for term, shape in zip(terms, shapes))


def _letters(term: str, rank: int) -> list[str]:
    """Return a name for each axis of a term; those of an ellipsis are numbered from the back."""
    if "..." not in term:
        return list(term)
    before, after = term.split("...")
    hidden = rank - len(before) - len(after)
    return [*before, *(str(number) for number in range(hidden, 0, -1)), *after]


def _term_reads(term: list[str], made: list[str]) -> Reads:
    """Return how the axes of a result read those of one factor."""
    return tuple((term.index(letter), IDENTITY) if letter in term else None for letter in made)


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


def _each(value: Any, count: int) -> tuple[int, ...]:
    """Return a number for each of some axes."""
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
    **{f"max_unpool{spatial}d": _unpooled for spatial in (1, 2, 3)},
    "repeat_interleave": _repeated,
}
"""Calls with rules of their own."""
