"""Columns: what a sliding window sees at each place, side by side (im2col), and the sums that put it back (col2im)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from cnnstat.errors import OpError
from cnnstat.ir.declaration import Formula, Terms, argument, axes, integer, per_axis, product
from cnnstat.ir.facets import NoArithmetic, NothingSaved, Weightless
from cnnstat.ir.op import Example, Family, Op, Shape, Shapes, numel, register, shape_text
from cnnstat.ir.window import IDENTITY, AxisRule, InSteps, Reads, columns, gathered, reads_along
from cnnstat.ops.shape import AXIS, View, axis_index, method_code, rearranged, regrouped
from cnnstat.ops.spatial import Slide

_TAKEN_APART, _PUT_TOGETHER = (0, 1, 3, 5, 2, 4), (0, 1, 4, 2, 5, 3)
"""Axes of batch × channels × (places × taps, both ways) as batch × channels × taps × places, and the way back."""


@dataclass(frozen=True, repr=False)
class _Columns(Weightless, NothingSaved, Op):
    """What both share: the window that slides over height and width."""

    family: ClassVar[Family] = Family.LAYOUT

    def _slides(self) -> list[Slide]:
        sizes = (axes(getattr(self, name), 2, name) for name in ("kernel_size", "stride", "padding", "dilation"))
        return [Slide(k, s, p, p, d) for k, s, p, d in zip(*sizes)]

    def _places(self, space: Shape) -> tuple[int, ...]:
        """Return how many places the window has along height and width of a map."""
        slides = self._slides()
        places = tuple(slide.size(length) for slide, length in zip(slides, space))
        if min(places) < 1:
            extents = shape_text(tuple(slide.extent for slide in slides))
            raise OpError(
                f"kernel_size: a window of {extents} does not fit into {shape_text(space)}; use a smaller one"
            )
        return places

    def _taps(self) -> int:
        return math.prod(slide.kernel for slide in self._slides())

    def _turned(self, shape: Shape, order: Sequence[int]) -> tuple[Reads, Shape]:
        return tuple((axis, IDENTITY) for axis in order), tuple(shape[axis] for axis in order)


_WINDOW = "size of the window: one number, or [height, width]"


@register
@dataclass(frozen=True, repr=False)
class Unfold(NoArithmetic, _Columns):
    """Copies what a window sees at each of its places into a column: im2col. A convolution is a product with these."""

    torch = "torch.nn.Unfold"
    calls = {"F.unfold": "input, kernel_size, dilation=1, padding=0, stride=1"}
    kernel_size: int | tuple[int, ...] = argument(per_axis(1), _WINDOW)
    dilation: int | tuple[int, ...] = argument(per_axis(1), "distance between the window's taps", 1)
    padding: int | tuple[int, ...] = argument(per_axis(0), "zeros put around the map", 0)
    stride: int | tuple[int, ...] = argument(per_axis(1), "distance between the window's places", 1)

    def output(self, inputs: Shapes) -> Shapes:
        """Return batch × C·K_H·K_W × places."""
        if len(inputs[0]) != 4:
            raise OpError(f"Unfold takes batch×channels×height×width, not {shape_text(inputs[0])}; reshape it first")
        batch, channels, *space = inputs[0]
        return ((batch, channels * self._taps(), math.prod(self._places(tuple(space)))),)

    def window(self, inputs: Shapes, outputs: Shapes, index: int = 0) -> tuple[Reads, ...]:
        (batch, channels, *space), slides = inputs[0], self._slides()
        places = self._places(tuple(space))
        rules = [columns(slide.kernel, slide.stride, slide.before, slide.dilation) for slide in slides]
        spread = (batch, channels, *(n * slide.kernel for n, slide in zip(places, slides)))
        parts = (batch, channels, *(size for n, slide in zip(places, slides) for size in (n, slide.kernel)))
        turned = self._turned(parts, _TAKEN_APART)
        steps = (
            ((*((axis, IDENTITY) for axis in (0, 1)), *enumerate(rules, start=2)), spread),
            (regrouped(spread, parts), parts),
            turned,
            (regrouped(turned[1], outputs[0]), outputs[0]),
        )
        return (InSteps.of(*steps),)

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        (_, channels, *space), (_, rows, places) = inputs[0], outputs[0]
        kernels = "·".join(str(slide.kernel) for slide in self._slides())
        return (
            Formula("rows", "C·K_H·K_W", f"{channels}·{kernels}", rows, "one column has all that one window sees"),
            Formula("columns", "places", "·".join(map(str, self._places(tuple(space)))), places),
        )

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return (
            Example(cls(3, padding=1), ((2, 3, 5, 4),)),
            Example(cls((2, 3), stride=(2, 1)), ((1, 2, 6, 5),)),
            Example(cls(2, dilation=2, stride=3), ((2, 1, 9, 8),)),
        )


@register
@dataclass(frozen=True, repr=False)
class Fold(_Columns):
    """Adds columns to the places of a map that their windows see: col2im, which puts back what Unfold took apart."""

    torch = "torch.nn.Fold"
    calls = {"F.fold": "input, output_size, kernel_size, dilation=1, padding=0, stride=1"}
    output_size: int | tuple[int, ...] = argument(per_axis(1), "height and width of the map")
    kernel_size: int | tuple[int, ...] = argument(per_axis(1), _WINDOW)
    dilation: int | tuple[int, ...] = argument(per_axis(1), "distance between the window's taps", 1)
    padding: int | tuple[int, ...] = argument(per_axis(0), "zeros around the map, which are left out again", 0)
    stride: int | tuple[int, ...] = argument(per_axis(1), "distance between the window's places", 1)

    def output(self, inputs: Shapes) -> Shapes:
        """Return batch × C × output_size."""
        if len(inputs[0]) != 3:
            raise OpError(f"Fold takes batch×rows×columns, not {shape_text(inputs[0])}; reshape it first")
        batch, rows, count = inputs[0]
        space = axes(self.output_size, 2, "output_size")
        places, taps = math.prod(self._places(space)), self._taps()
        if rows % taps:
            raise OpError(f"kernel_size has {taps} taps, which do not divide {rows} rows; give it rows in multiples")
        if count != places:
            raise OpError(
                f"output_size={shape_text(space)} has {places} places for the window, not {count}; correct it"
            )
        return ((batch, rows // taps, *space),)

    def other_flops(self, inputs: Shapes, outputs: Shapes) -> Mapping[str, int]:
        """Return one addition an element."""
        return {"element-wise": numel(inputs[0])}

    def mac_terms(self, inputs: Shapes, outputs: Shapes) -> Terms:
        """Return none: elements are added, not multiplied."""
        return ()

    def window(self, inputs: Shapes, outputs: Shapes, index: int = 0) -> tuple[Reads, ...]:
        (batch, channels, *space), slides = outputs[0], self._slides()
        places = self._places(tuple(space))
        rules: list[AxisRule] = [gathered(s.kernel, s.stride, s.before, s.dilation) for s in slides]
        parts = (batch, channels, *(slide.kernel for slide in slides), *places)
        turned = self._turned(parts, _PUT_TOGETHER)
        spread = (batch, channels, *(n * slide.kernel for n, slide in zip(places, slides)))
        steps = (
            (regrouped(inputs[0], parts), parts),
            turned,
            (regrouped(turned[1], spread), spread),
            ((*((axis, IDENTITY) for axis in (0, 1)), *enumerate(rules, start=2)), outputs[0]),
        )
        return (InSteps.of(*steps),)

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        rows, channels = inputs[0][1], outputs[0][1]
        elements = product(("elements", numel(inputs[0])))
        return (
            Formula("channels", "rows / (K_H·K_W)", f"{rows} / {self._taps()}", channels),
            Formula.of("FLOPs", elements, "each is added to its place"),
        )

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return (
            Example(cls((5, 4), 3, padding=1), ((2, 27, 20),)),
            Example(cls((6, 5), (2, 3), stride=(2, 1)), ((1, 12, 9),)),
            Example(cls((9, 8), 2, dilation=2, stride=3), ((2, 4, 6),)),
        )


@register
@dataclass(frozen=True, repr=False)
class TensorUnfold(View):
    """Shows every window of one axis as a new last axis, overlapping ones too: PyTorch's Tensor.unfold."""

    torch = "torch.Tensor.unfold"
    calls = {"unfold": "input, dimension, size, step"}
    dimension: int = argument(AXIS, "the axis that the window slides along")
    size: int = argument(integer(1), "length of the window")
    step: int = argument(integer(1), "distance between its places")

    def output(self, inputs: Shapes) -> Shapes:
        """Return the places ⌊(W − size) / step⌋ + 1 along the axis, and the window behind all axes."""
        (shape,) = inputs
        axis = axis_index(self.dimension, len(shape), "dimension")
        if self.size > shape[axis]:
            raise OpError(f"size={self.size} is longer than axis {axis}, which has {shape[axis]}; use a shorter window")
        places = (shape[axis] - self.size) // self.step + 1
        return ((*shape[:axis], places, *shape[axis + 1 :], self.size),)

    def window(self, inputs: Shapes, outputs: Shapes, index: int = 0) -> tuple[Reads, ...]:
        (shape,), rank = inputs, len(inputs[0])
        axis = axis_index(self.dimension, rank, "dimension")
        places = outputs[0][axis]
        spread = (*shape[:axis], places * self.size, *shape[axis + 1 :])
        parts = (*shape[:axis], places, self.size, *shape[axis + 1 :])
        order = (*range(axis + 1), *range(axis + 2, rank + 1), axis + 1)
        steps = (
            (reads_along(axis, columns(self.size, self.step, 0, 1), rank), spread),
            (regrouped(spread, parts), parts),
            (tuple((place, IDENTITY) for place in order), outputs[0]),
        )
        return (InSteps.of(*steps),)

    def torch_code(self, callee: str, operands: Sequence[str], arguments: Mapping[str, Any]) -> str:
        return method_code(callee.replace("Tensor.", ""), operands[0], arguments.values())

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        axis = axis_index(self.dimension, len(inputs[0]), "dimension")
        numbers = f"⌊({inputs[0][axis]} − {self.size}) / {self.step}⌋ + 1"
        line = Formula("places", "⌊(W − size) / step⌋ + 1", numbers, outputs[0][axis])
        return (line, *rearranged(f"windows of axis {axis} behind all axes", inputs, outputs))

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return (
            Example(cls(2, 2, 2), ((2, 3, 6, 4),)),
            Example(cls(-1, 3, 1), ((1, 2, 7),)),
            Example(cls(1, 4, 3), ((2, 8, 3),)),
        )
