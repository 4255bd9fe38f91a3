"""How the results of calls that no op covers read their operands, axis by axis."""

from __future__ import annotations

from cnnstat.choices import words
from cnnstat.ir.op import Shape, Shapes
from cnnstat.ir.window import (
    IDENTITY,
    NOTHING,
    STATISTIC,
    UNFOLLOWED,
    WHOLE,
    Reads,
    aligned_reads,
)
from cnnstat.pytorch.aten_flops import Dispatched
from cnnstat.pytorch.calls import Call
from cnnstat.pytorch.special_windows import SPECIAL

_AXIS_PLACES = {
    **dict.fromkeys(
        words(
            """
            var std var_mean std_mean max min amin any all argmax argmin prod nansum nanmean nanmedian logsumexp median
            mode count_nonzero gather softmin aminmax
            """
        ),
        1,
    ),
    **dict.fromkeys(
        words(
            """
            normalize norm linalg_norm linalg_vector_norm topk kthvalue cosine_similarity take_along_dim quantile
            nanquantile
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
    **dict.fromkeys(words("topk kthvalue sort argsort fft_fft fft_ifft fft_rfft fft_irfft"), -1),
    **dict.fromkeys(words("fft_fft2 fft_ifft2 fft_rfft2 fft_irfft2"), (-2, -1)),
}
"""The axes of a call that names none; one that is not here works on all axes."""


def reads_of(call: Call, shapes: Shapes, outputs: Shapes) -> tuple[Reads, ...] | None:
    """Return how a call reads each of its operands; None where nothing is known."""
    name = call.name.removeprefix("aten.").removeprefix("F.").strip("_")
    special = SPECIAL.get(name)
    if special is not None:
        return None if shapes[:1] == ((),) else special(call, shapes, outputs)  # a single number has no axes
    axes = _axes(name, call, len(shapes[0])) if shapes else None
    if axes is None:
        return None
    first = mixed_reads(shapes[0], outputs[0], axes)
    if first is None:
        return None
    if name in _PICKING:
        first = tuple(entry and (entry[0], UNFOLLOWED if entry[0] in axes else entry[1]) for entry in first)
    elif name == "normalize":
        first = tuple(entry and (entry[0], STATISTIC if entry[0] in axes else entry[1]) for entry in first)
    is_reduced = len(outputs[0]) < len(shapes[0])
    others = (first if is_reduced and shape == shapes[0] else aligned_reads(shape, outputs[0]) for shape in shapes[1:])
    return first, *others


_PICKING = words("gather take_along_dim")
"""Calls that read positions by a tensor of indices: fewer than all of an axis, so that WHOLE would claim too much."""

_OVERWRITING = words("copy_ fill_ zero_ normal_ uniform_ random_ bernoulli_ exponential_")
"""Changes in place that do not read what was there before."""

_IN_PLACE = _OVERWRITING | words("masked_fill_ dropout_ alpha_dropout_ feature_dropout_ rrelu_ fill_diagonal_")
"""Those and others that change each element by itself."""


def known_reads(shapes: Shapes, outputs: Shapes, dispatched: Dispatched, call: Call) -> tuple[Reads, ...] | None:
    """Return how a call reads its operands, where that is known: element by element, into its place, by axes."""
    is_changed = call.overwritten is not None and shapes[:1] == outputs[:1] and call.name in _IN_PLACE
    if any(len(result) != len(outputs[0]) for result in outputs):
        return None
    if not dispatched.is_pointwise and not is_changed:
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
