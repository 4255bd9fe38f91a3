"""Ops that resize the spatial axes: nearest neighbour, linear, cubic and area interpolation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

from cnnstat.errors import OpError
from cnnstat.ir.declaration import (
    FLAG,
    Formula,
    Terms,
    any_of,
    argument,
    axes,
    choice,
    list_of,
    number,
    optional,
    per_axis,
    product,
    value_of,
)
from cnnstat.ir.facets import NoMacs, Weightless
from cnnstat.ir.op import NOTHING_SAVED, Example, Family, Op, Saved, Shape, Shapes, numel, register, shape_text
from cnnstat.ir.window import IDENTITY, MAX_PERIOD, NOTHING, AxisRule, Reads, adaptive, interpolated, nearest
from cnnstat.ops.spatial import AXIS_NAMES, AXIS_SYMBOLS, spatial_reads

LINEAR_MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}
FREE_MODES = ("nearest", "nearest-exact", "area")
"""Modes that take any number of axes and know no align_corners."""

MODE = choice("nearest", "linear", "bilinear", "bicubic", "trilinear", "nearest-exact", "area")
MAX_SCALE = 2.0**20
SCALE = number(0, MAX_SCALE)


@dataclass(frozen=True, slots=True)
class Resizing:
    """How one axis is resized; `scale` is the factor asked for, None where only the sizes count."""

    length: int
    size: int
    scale: float | None

    def step(self, align_corners: bool) -> Fraction:
        """Return how many inputs one output moves on, as PyTorch computes it.

        With a scale factor that is its inverse, not input size / output size (they differ where it does not divide).
        """
        if align_corners:
            return Fraction(self.length - 1, self.size - 1) if self.size > 1 else Fraction(0)
        if self.scale is None:
            return Fraction(self.length, self.size)
        if self.scale >= 1:
            return 1 / Fraction(self.scale).limit_denominator(MAX_PERIOD)
        return Fraction(1 / self.scale).limit_denominator(MAX_PERIOD)

    def rule(self, mode: str, align_corners: bool) -> AxisRule:
        """Return which inputs an output reads."""
        if mode == "area":
            return adaptive(self.length, self.size)
        step = self.step(align_corners)
        if mode in FREE_MODES:
            return nearest(step, Fraction(mode == "nearest-exact", 2))
        if mode == "bicubic":
            return interpolated(step, 2, align_corners)
        return IDENTITY if self.length == self.size else interpolated(step, 1, align_corners)

    @property
    def bins(self) -> int:
        """Return the inputs that all bins of area interpolation hold together: Σ ⌈(o + 1)·I/O⌉ − ⌊o·I/O⌋."""
        return self.length + self.size - math.gcd(self.length, self.size)


class _Resize(Weightless, NoMacs, Op):
    """What resizing ops share; `Upsample` says what they cost."""

    family: ClassVar[Family] = Family.RESAMPLING
    mode: str
    align_corners: bool | None

    def axes(self, inputs: Shapes) -> tuple[Resizing, ...]:
        raise AssertionError(f"{self.kind} states no axes")

    def output(self, inputs: Shapes) -> Shapes:
        """Return batch × channels × the new sizes."""
        (shape, *_) = inputs
        self._check_mode(len(shape) - 2, shape)
        sizes = tuple(axis.size for axis in self.axes(inputs))
        if min(sizes) < 1:
            raise OpError(f"{shape_text(shape[2:])} would shrink to {shape_text(sizes)}; use a larger scale_factor")
        return ((*shape[:2], *sizes),)

    def _check_mode(self, spatial: int, shape: Shape) -> None:
        if spatial not in AXIS_NAMES:
            raise OpError(f"{self.kind} takes batch×channels×space, not {shape_text(shape)}; reshape the input first")
        if self.mode in FREE_MODES:
            if self.align_corners is not None:
                raise OpError(f"align_corners has no meaning with mode={self.mode}; leave it out")
            return
        fitting = {2: ("bilinear", "bicubic")}.get(spatial, (LINEAR_MODES[spatial],))
        if self.mode not in fitting:
            word = " or ".join(fitting)
            raise OpError(f"mode={self.mode} does not fit {spatial} spatial axes of {shape_text(shape)}; use {word}")

    def _flops_per_output(self, spatial: int) -> int:
        """Return the operations for one output value, see `Upsample`; not for area, whose bins differ."""
        if self.mode in FREE_MODES:
            return 0
        return 5 * 7 if self.mode == "bicubic" else 3 * (2**spatial - 1)

    def other_flops(self, inputs: Shapes, outputs: Shapes) -> Mapping[str, int]:
        """Return outputs × operations for each, see `Upsample`; none for nearest."""
        flops = value_of(self._flop_terms(inputs, outputs))
        return {"resampling": flops} if flops else {}

    def _flop_terms(self, inputs: Shapes, outputs: Shapes) -> Terms:
        if self.mode == "area":
            bins = (axis.bins for axis in self.axes(inputs))
            return product(("N·C·Π Σ bin sizes", (*outputs[0][:2], *bins)))
        symbol = "0" if self.mode in FREE_MODES else "5·7" if self.mode == "bicubic" else "3·(2^d − 1)"
        return product(("outputs", numel(outputs[0])), (symbol, self._flops_per_output(len(inputs[0]) - 2)))

    def window(self, inputs: Shapes, outputs: Shapes, index: int = 0) -> tuple[Reads, ...]:
        """Return the pixels around the place an output comes from; a second input is read for its size only."""
        rules = [axis.rule(self.mode, bool(self.align_corners)) for axis in self.axes(inputs)]
        unread: Reads = tuple((axis, NOTHING) for axis in range(len(outputs[0])))
        return (*spatial_reads(rules), *(unread for _ in inputs[1:]))

    def saved(self, inputs: Shapes, outputs: Shapes) -> Saved:
        """Return nothing, but for area the input (unless the output is one pixel, which is a mean)."""
        is_pooled = self.mode == "area" and math.prod(outputs[0][2:]) > 1
        return Saved(inputs=(0,)) if is_pooled else NOTHING_SAVED

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        spatial = len(inputs[0]) - 2
        sizes = (
            _size_formula(name, symbol, axis)
            for name, symbol, axis in zip(AXIS_NAMES[spatial], AXIS_SYMBOLS[spatial], self.axes(inputs))
        )
        return (*sizes, Formula.of("FLOPs", self._flop_terms(inputs, outputs)))


def _size_formula(name: str, symbol: str, axis: Resizing) -> Formula:
    if axis.scale is None:
        return Formula(f"output {name}", "size", f"{axis.size}", axis.size, f"from {axis.length}")
    return Formula(f"output {name}", f"⌊{symbol}·scale⌋", f"⌊{axis.length}·{axis.scale}⌋", axis.size)


@register
@dataclass(frozen=True, repr=False)
class Upsample(_Resize):
    """Resizes height and width (or length, or a volume) to a size or by a factor, up or down.

    Operations for each output value in d axes; an axis' weights are worked out once for all channels and not counted:
    nearest 0; linear 3·(2^d − 1), one subtraction, multiplication and addition for each of 2^d − 1 interpolations
    between two values; bicubic 5·7, four multiplications and three additions along four rows and one column;
    area the values in its bin, all but one added up, and one division.
    """

    torch = "torch.nn.Upsample"
    size: int | tuple[int, ...] | None = argument(optional(per_axis(1)), "output size of all axes, or of each", None)
    scale_factor: float | tuple[float, ...] | None = argument(
        optional(any_of(SCALE, list_of(SCALE))), "factor for all axes, or for each; write it or size", None
    )
    mode: str = argument(MODE, "how values between pixels are found", "nearest")
    align_corners: bool | None = argument(
        optional(FLAG), "whether the corner pixels of input and output coincide (linear and cubic only)", None
    )
    recompute_scale_factor: bool | None = argument(
        optional(FLAG), "whether the sizes, not scale_factor, decide where a value is read", None
    )

    def axes(self, inputs: Shapes) -> tuple[Resizing, ...]:
        space = inputs[0][2:]
        if (self.size is None) == (self.scale_factor is None):
            raise OpError("write either size or scale_factor")
        if self.size is not None:
            if self.recompute_scale_factor:
                raise OpError("recompute_scale_factor has no meaning with size; leave it out")
            return tuple(
                Resizing(length, size, None) for length, size in zip(space, axes(self.size, len(space), "size"))
            )
        return tuple(self._scaled(length, scale) for length, scale in zip(space, self._scales(len(space))))

    def _scales(self, spatial: int) -> tuple[float, ...]:
        if isinstance(self.scale_factor, tuple):
            if len(self.scale_factor) != spatial:
                factors = list(self.scale_factor)
                raise OpError(f"scale_factor={factors} has {len(factors)} values; write one, or {spatial}")
            return self.scale_factor
        return (self.scale_factor or 0.0,) * spatial

    def _scaled(self, length: int, scale: float) -> Resizing:
        return Resizing(length, math.floor(length * scale), None if self.recompute_scale_factor else scale)

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        image, volume, sequence = ((2, 3, 5, 4),), ((1, 2, 3, 4, 5),), ((2, 3, 9),)
        return (
            Example(cls(scale_factor=2), image),
            Example(cls(scale_factor=2), volume),
            Example(cls((10, 3)), image),
            Example(cls(7), sequence),
            Example(cls(scale_factor=(1.5, 0.7), mode="nearest-exact"), image),
            Example(cls(scale_factor=1.7, mode="linear"), sequence),
            Example(cls(scale_factor=2, mode="bilinear"), image),
            Example(cls(9, mode="bilinear", align_corners=True), image),
            Example(cls(scale_factor=2.6, mode="bicubic", recompute_scale_factor=True), image),
            Example(cls((4, 4, 4), mode="trilinear", align_corners=False), volume),
            Example(cls(3, mode="area"), image),
            Example(cls(1, mode="area"), image),
            Example(cls(scale_factor=1.4, mode="area"), volume),
        )


@register
@dataclass(frozen=True, repr=False)
class ResizeLike(_Resize):
    """Resizes its first input to the spatial size of its second (feature pyramids); costs what `Upsample` does."""

    torch = "torch.nn.functional.interpolate"
    input_count = (2, 2)
    mode: str = argument(MODE, "how values between pixels are found", "nearest")
    align_corners: bool | None = argument(
        optional(FLAG), "whether the corner pixels of input and output coincide (linear and cubic only)", None
    )

    def axes(self, inputs: Shapes) -> tuple[Resizing, ...]:
        shape, like = inputs
        if len(shape) != len(like):
            raise OpError(f"the inputs {shape_text(shape)} and {shape_text(like)} must have equally many spatial axes")
        return tuple(Resizing(length, size, None) for length, size in zip(shape[2:], like[2:]))

    def torch_arguments(self, inputs: Shapes) -> dict[str, Any]:
        return {"size": inputs[1][2:], **super().torch_arguments(inputs)}

    def torch_code(self, callee: str, operands: Sequence[str], arguments: Mapping[str, Any]) -> str:
        first, like = operands
        written = {name: value for name, value in arguments.items() if name != "size"}
        return super().torch_code(callee, (first, f"{like}.shape[2:]"), written)

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return (
            Example(cls(), ((2, 3, 5, 4), (2, 7, 10, 8))),
            Example(cls("bilinear", False), ((1, 5, 4, 4), (1, 3, 9, 11))),
            Example(cls("linear"), ((1, 5, 8), (1, 3, 3))),
        )
