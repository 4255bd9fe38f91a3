"""Ops that take a part of a tensor: slices, splits and crops. All of them are views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cnnstat.errors import OpError
from cnnstat.ir.declaration import Formula, argument, axes, integer, optional, per_axis
from cnnstat.ir.op import Example, Shape, Shapes, register, shape_text
from cnnstat.ir.window import IDENTITY, NOTHING, Reads, reads_along, sliding
from cnnstat.ops.shape import AXIS, View, axis_index
from cnnstat.ops.spatial import AXIS_NAMES, AXIS_SYMBOLS


@register
@dataclass(frozen=True, repr=False)
class Slice(View):
    """Takes a range of one axis, as Python's start:end:step."""

    torch = "torch.Tensor.__getitem__"
    dim: int = argument(AXIS, "the axis that is cut")
    start: int = argument(integer(), "first index taken; negative numbers count from the end", 0)
    end: int | None = argument(optional(integer()), "index behind the last; null for the end of the axis", None)
    step: int = argument(integer(1), "distance between the indices taken", 1)

    def _range(self, shape: Shape) -> tuple[int, range]:
        axis = axis_index(self.dim, len(shape))
        taken = range(*slice(self.start, self.end, self.step).indices(shape[axis]))
        if not taken:
            length = shape[axis]
            raise OpError(
                f"start={self.start} and end={self.end} leave nothing of the {length} entries of axis {axis}; "
                f"use a start below the end, both within {-length} to {length}"
            )
        return axis, taken

    def output(self, inputs: Shapes) -> Shapes:
        """Return ⌈(end − start) / step⌉ along the axis."""
        (shape,) = inputs
        axis, taken = self._range(shape)
        return ((*shape[:axis], len(taken), *shape[axis + 1 :]),)

    def window(self, inputs: Shapes, outputs: Shapes, index: int = 0) -> tuple[Reads, ...]:
        """Return that output o reads input start + o·step."""
        axis, taken = self._range(inputs[0])
        return (reads_along(axis, sliding(1, self.step, -taken.start), len(inputs[0])),)

    def torch_arguments(self, inputs: Shapes) -> dict[str, Any]:
        axis = axis_index(self.dim, len(inputs[0]))
        return {"index": (slice(None),) * axis + (slice(self.start, self.end, self.step),)}

    def torch_code(self, callee: str, operands: Sequence[str], arguments: Mapping[str, Any]) -> str:
        start, stop = self.start or "", "" if self.end is None else self.end
        step = f":{self.step}" if self.step != 1 else ""
        return f"{operands[0]}[{', '.join((*[':'] * (len(arguments['index']) - 1), f'{start}:{stop}{step}'))}]"

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        axis, taken = self._range(inputs[0])
        numbers = f"⌈({taken.stop} − {taken.start}) / {taken.step}⌉"
        return (Formula(f"output axis {axis}", "⌈(end − start) / step⌉", numbers, len(taken)),)

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return (
            Example(cls(1, 0, 3), ((2, 6, 5, 4),)),
            Example(cls(2, 1, -1), ((2, 6, 5, 4),)),
            Example(cls(-2, 1, step=2), ((1, 3, 8, 4),)),
            Example(cls(1, -4, 100), ((2, 6, 5, 4),)),
            Example(cls(1, 0, 1), ((2, 17, 8),)),
        )


class _Pieces(View):
    """What ops share that cut one axis into pieces, each an output of its own."""

    dim: int

    def sizes(self, length: int) -> tuple[int, ...]:
        """Return the sizes of the pieces of an axis."""
        raise AssertionError(f"{self.kind} states no sizes")

    def output(self, inputs: Shapes) -> Shapes:
        (shape,) = inputs
        axis = axis_index(self.dim, len(shape))
        return tuple((*shape[:axis], size, *shape[axis + 1 :]) for size in self.sizes(shape[axis]))

    def torch_results(self, count: int) -> str:
        return super().torch_results(count) + "," * (count == 1)

    def window(self, inputs: Shapes, outputs: Shapes, index: int = 0) -> tuple[Reads, ...]:
        axis = axis_index(self.dim, len(inputs[0]))
        start = sum(shape[axis] for shape in outputs[:index])
        return (reads_along(axis, sliding(1, padding=-start), len(inputs[0])),)

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        axis = axis_index(self.dim, len(inputs[0]))
        pieces = " + ".join(str(shape[axis]) for shape in outputs[:8]) + " + …" * (len(outputs) > 8)
        return (Formula(f"axis {axis} of the pieces", "Σ size", pieces, inputs[0][axis]),)


MAX_PIECES = 4096
"""Most pieces that a tensor may be cut into; more are a slip, or meant to exhaust memory."""


@register
@dataclass(frozen=True, repr=False)
class Split(_Pieces):
    """Cuts one axis into pieces of given sizes; each is an output of its own."""

    torch = "torch.split"
    sections: int | tuple[int, ...] = argument(per_axis(1), "size of every piece (the last may be smaller), or of each")
    dim: int = argument(AXIS, "the axis that is cut", 1)

    def sizes(self, length: int) -> tuple[int, ...]:
        if isinstance(self.sections, int):
            return _equal_pieces(length, self.sections, f"sections={self.sections}")
        if sum(self.sections) != length:
            raise OpError(
                f"sections={list(self.sections)} add up to {sum(self.sections)}; axis {self.dim} has {length} entries"
            )
        return self.sections

    def torch_arguments(self, inputs: Shapes) -> dict[str, Any]:
        return {"split_size_or_sections": self.sections, "dim": self.dim}

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return (
            Example(cls(3), ((2, 6, 5, 4),)),
            Example(cls(4, dim=-1), ((1, 6, 10),)),
            Example(cls((1, 2, 3)), ((2, 6, 5, 4),)),
        )


@register
@dataclass(frozen=True, repr=False)
class Chunk(_Pieces):
    """Cuts one axis into so many pieces of equal size; each is an output of its own."""

    torch = "torch.chunk"
    calls = {"chunk": "input, chunks, dim=0"}
    chunks: int = argument(integer(1), "number of pieces; PyTorch makes fewer where the axis does not divide")
    dim: int = argument(AXIS, "the axis that is cut", 1)

    def sizes(self, length: int) -> tuple[int, ...]:
        """Return pieces of ⌈length / chunks⌉ entries and the rest."""
        return _equal_pieces(length, -(-length // self.chunks), f"chunks={self.chunks}")

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return (Example(cls(2), ((2, 6, 5, 4),)), Example(cls(5, dim=2), ((1, 3, 8, 4),)))


def _equal_pieces(length: int, size: int, argument: str) -> tuple[int, ...]:
    """Return as many pieces of `size` as fit into `length`, and the rest."""
    full, rest = divmod(length, size)
    if full + bool(rest) > MAX_PIECES:
        raise OpError(f"{argument} makes {full + bool(rest)} pieces of {length} entries; make at most {MAX_PIECES}")
    return (size,) * full + (rest,) * (rest > 0)


def _space(shape: Shape, kind: str) -> Shape:
    if len(shape) - 2 not in AXIS_NAMES:
        raise OpError(f"{kind} takes batch×channels×space, not {shape_text(shape)}; reshape the input first")
    return shape[2:]


class _Cropping(View):
    """What crops share: they take a box out of the spatial axes."""

    def box(self, inputs: Shapes) -> Sequence[range]:
        """Return the indices taken from each spatial axis, which may lie outside."""
        raise AssertionError(f"{self.kind} states no box")

    def output(self, inputs: Shapes) -> Shapes:
        space = _space(inputs[0], self.kind)
        taken = self.box(inputs)
        for name, length, indices in zip(AXIS_NAMES[len(space)], space, taken):
            if indices.start < 0 or indices.stop > length:
                wanted = f"{len(indices)} pixels" + f" from {indices.start} on" * (indices.start > 0)
                raise OpError(f"cannot crop {wanted} out of a {name} of {length}; use a smaller size, or pad the input")
        return ((*inputs[0][:2], *map(len, taken)),)

    def window(self, inputs: Shapes, outputs: Shapes, index: int = 0) -> tuple[Reads, ...]:
        """Return that output o reads input offset + o."""
        rules = (sliding(1, padding=-taken.start) for taken in self.box(inputs))
        own: Reads = ((0, IDENTITY), (1, IDENTITY), *((axis, rule) for axis, rule in enumerate(rules, start=2)))
        unread: Reads = tuple((axis, NOTHING) for axis in range(len(own)))
        return (own, *(unread for _ in inputs[1:]))

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        names = AXIS_NAMES[len(inputs[0]) - 2]
        symbols = AXIS_SYMBOLS[len(names)]
        return tuple(
            Formula(
                f"output {name}", f"{symbol}: last − first + 1", f"{taken.stop - 1} − {taken.start} + 1", len(taken)
            )
            for name, symbol, taken in zip(names, symbols, self.box(inputs))
        )


@register
@dataclass(frozen=True, repr=False)
class Crop(_Cropping):
    """Takes a box of given size out of the spatial axes, from a given corner on."""

    torch = ""
    size: int | tuple[int, ...] = argument(per_axis(1), "size of the box, one number or one for each spatial axis")
    offset: int | tuple[int, ...] = argument(per_axis(0), "first index taken, one number or one for each axis", 0)

    def box(self, inputs: Shapes) -> Sequence[range]:
        count = len(inputs[0]) - 2
        corners = zip(axes(self.offset, count, "offset"), axes(self.size, count, "size"))
        return [range(first, first + size) for first, size in corners]

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return (
            Example(cls(3), ((2, 6, 5, 4),)),
            Example(cls((2, 3), (3, 1)), ((1, 2, 5, 4),)),
            Example(cls(4, offset=2), ((1, 2, 9),)),
        )


def _centred(length: int, size: int) -> range:
    """Return `size` indices from the middle of `length`; the odd one is left out at the end."""
    first = (length - size) // 2
    return range(first, first + size)


@register
@dataclass(frozen=True, repr=False)
class CenterCrop(_Cropping):
    """Takes a box of given size out of the middle; of an odd border the larger half is cut off at the end."""

    torch = ""
    size: int | tuple[int, ...] = argument(per_axis(1), "size of the box, one number or one for each spatial axis")

    def box(self, inputs: Shapes) -> Sequence[range]:
        space = inputs[0][2:]
        return [_centred(length, size) for length, size in zip(space, axes(self.size, len(space), "size"))]

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return (Example(cls(3), ((2, 6, 5, 4),)), Example(cls((2, 5, 1)), ((1, 2, 6, 5, 4),)))


@register
class CropLike(_Cropping):
    """Takes out of the middle of its first input as much space as the second has (U-Net's skip connections)."""

    torch = ""
    input_count = (2, 2)

    def box(self, inputs: Shapes) -> Sequence[range]:
        shape, like = inputs
        if len(shape) != len(like):
            raise OpError(f"the inputs {shape_text(shape)} and {shape_text(like)} must have equally many spatial axes")
        return [_centred(length, size) for length, size in zip(shape[2:], like[2:])]

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return (
            Example(cls(), ((2, 6, 9, 8), (2, 3, 4, 4))),
            Example(cls(), ((1, 2, 7), (1, 5, 7))),
        )
