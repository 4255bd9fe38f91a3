"""Pooling: one number for each position of a window that slides over every channel on its own."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean
from typing import Any, ClassVar

from cnnstat.errors import OpError
from cnnstat.ir.declaration import (
    FLAG,
    Formula,
    Terms,
    Written,
    argument,
    axes,
    integer,
    number,
    number_text,
    optional,
    per_axis,
    product,
)
from cnnstat.ir.facets import FloatOnly, NoMacs, Weightless
from cnnstat.ir.op import Example, Family, Op, Rows, Saved, Shapes, numel, register
from cnnstat.ops.spatial import (
    Slide,
    Sliding,
    channels_and_space,
    slide_formulas,
    slide_over,
    spatial_ops,
    stride_argument,
    window_argument,
)

NO_WEIGHTS = Formula("weights", "none", "0", 0, "pooling has nothing to learn")
"""What `explain` says about the parameters of a pooling layer."""


class Pool(Sliding, Weightless, NoMacs, Op):
    """What all pools of a sliding window share."""

    family: ClassVar[Family] = Family.POOLING
    flop_part: ClassVar[str] = "pooling"
    mixes_channels: ClassVar[bool] = False
    short_name: ClassVar[str] = "pool"
    operations: ClassVar[str]
    """What is computed for an output."""
    needs_full_windows: ClassVar[bool] = False
    """Whether PyTorch refuses a kernel larger than the input even where padding would make room."""

    stride: int | tuple[int, ...] | None
    ceil_mode: bool

    @property
    def slides(self) -> tuple[Slide, ...]:
        """The sliding window along each axis; without a stride, windows lie side by side."""
        stride = axes(self.kernel_size if self.stride is None else self.stride, self.spatial, "stride")
        padding = axes(getattr(self, "padding", 0), self.spatial, "padding")
        dilation = axes(getattr(self, "dilation", 1), self.spatial, "dilation")
        return tuple(Slide(k, s, p, p, d) for k, s, p, d in zip(self.kernel, stride, padding, dilation))

    def output(self, inputs: Shapes) -> Shapes:
        """Return batch × channels × sizes by ⌊(W − D(K − 1) − 1 + 2P) / S⌋ + 1, rounded up with ceil_mode."""
        batch, channels, space = channels_and_space(inputs[0], self.spatial, self.kind)
        slides = self.slides
        for slide, length in zip(slides, space):
            if self.needs_full_windows and slide.kernel > length:
                raise OpError(f"kernel_size={slide.kernel} is larger than the input; use at most {length}")
            if slide.before > slide.kernel // 2:
                raise OpError(
                    f"padding={slide.before} is more than half of kernel_size={slide.kernel}; "
                    f"use at most {slide.kernel // 2}, or pad in a layer of its own"
                )
        return ((batch, channels, *slide_over(space, slides, self.ceil_mode)),)

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        sizes = slide_formulas(inputs[0][2:], self.slides, outputs[0][2:], self.ceil_mode)
        return (*sizes, NO_WEIGHTS, Formula.of("FLOPs", self.flop_terms(inputs, outputs), self.operations))


class MaybeIndices(Op):
    """What pools share that find maxima and, if asked, say where they were."""

    return_indices: bool

    def output(self, inputs: Shapes) -> Shapes:
        return super().output(inputs) * (1 + self.return_indices)

    def dtypes(self, inputs: tuple[str, ...], model: str, count: int) -> tuple[str, ...]:
        return (model, "int64")[:count]

    def saved(self, inputs: Shapes, outputs: Shapes) -> Saved:
        """Return the input, and an int64 index for each output."""
        if self.return_indices:
            return Saved(inputs=(0,), outputs=(1,))
        return Saved(inputs=(0,), extra=((numel(outputs[0]), "int64"),))


@dataclass(frozen=True, repr=False)
class _MaxPool(MaybeIndices, Pool):
    """Largest number of each window; K numbers take K − 1 comparisons, those on padding counted."""

    calls = dict.fromkeys(
        ("max_pool{n}d", "max_pool{n}d_with_indices"),
        "input, kernel_size, stride, padding, dilation, ceil_mode, return_indices",
    )

    operations = "comparisons"

    @classmethod
    def in_numbers(cls) -> tuple[Rows, Rows] | None:
        """Return the maxima of 2×2 windows, for images."""
        return _in_numbers(max) if cls.spatial == 2 else None

    kernel_size: int | tuple[int, ...] = window_argument()
    stride: int | tuple[int, ...] | None = stride_argument()
    padding: int | tuple[int, ...] = argument(per_axis(0), "border added on both sides that never wins", 0)
    dilation: int | tuple[int, ...] = argument(per_axis(1), "distance between the window's taps", 1)
    return_indices: bool = argument(FLAG, "whether a second output says where each maximum was", False)
    ceil_mode: bool = argument(FLAG, "whether a last window may hang over the end", False)

    def flop_terms(self, inputs: Shapes, outputs: Shapes) -> Terms:
        """Return outputs · (K − 1) comparisons for windows of K numbers."""
        kernel = self.kernel
        compared = Written(math.prod(kernel) - 1, f"({number_text(kernel)} − 1)")
        return product(("outputs", numel(outputs[0])), ("(K − 1)", compared))

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        space = (13, 11, 9)[: cls.spatial]
        return (
            Example(cls(2), ((2, 6, *space),)),
            Example(cls(3, stride=2, padding=1), ((1, 4, *space),)),
            Example(cls(3, stride=2, ceil_mode=True), ((1, 4, *space[:-1], 8),)),
            Example(cls(2, stride=3, padding=1, ceil_mode=True), ((1, 4, *space),)),
            Example(cls((3, 2, 1)[: cls.spatial], 1, dilation=2, return_indices=True), ((2, 3, *space),)),
        )


MaxPool1d, MaxPool2d, MaxPool3d = spatial_ops(
    _MaxPool, "Maximum of each window of {field}, K − 1 comparisons an output."
)


def _in_numbers(combine: Callable[[list[int]], float]) -> tuple[Rows, Rows]:
    """Return a map of 4×4, and what windows of 2×2 side by side make of it."""
    windows = [[_pixels(row, column) for column in (0, 2)] for row in (0, 2)]
    return PIXELS, tuple(tuple(round(combine(window)) for window in row) for row in windows)


def _pixels(row: int, column: int) -> list[int]:
    return [PIXELS[row + i][column + j] for i in (0, 1) for j in (0, 1)]


PIXELS = ((2, 3, 1, 4), (5, 6, 7, 8), (3, 2, 1, 0), (1, 2, 3, 4))
"""A map of which both the maxima and the means of 2×2 windows are whole numbers."""


@dataclass(frozen=True, repr=False)
class _AvgPool(Pool):
    """Mean of each window; K numbers take K − 1 additions and one division, those on padding counted."""

    calls = {"avg_pool{n}d": "input, kernel_size, stride, padding, ceil_mode, count_include_pad"}

    operations = "K − 1 additions and one division an output"

    @classmethod
    def in_numbers(cls) -> tuple[Rows, Rows] | None:
        """Return the means of 2×2 windows, for images."""
        return _in_numbers(fmean) if cls.spatial == 2 else None

    kernel_size: int | tuple[int, ...] = window_argument()
    stride: int | tuple[int, ...] | None = stride_argument()
    padding: int | tuple[int, ...] = argument(per_axis(0), "zeros added on both sides", 0)
    ceil_mode: bool = argument(FLAG, "whether a last window may hang over the end", False)
    count_include_pad: bool = argument(FLAG, "whether the mean counts the zeros of the padding", True)

    def flop_terms(self, inputs: Shapes, outputs: Shapes) -> Terms:
        """Return outputs · K: K − 1 additions and one division for windows of K numbers."""
        return product(("outputs", numel(outputs[0])), ("K", self.kernel))

    def saved(self, inputs: Shapes, outputs: Shapes) -> Saved:
        """Return the input, which PyTorch keeps though only its size matters."""
        return Saved(inputs=(0,))

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        space = (13, 11, 9)[: cls.spatial]
        return (
            Example(cls(2), ((2, 6, *space),)),
            Example(cls(3, stride=2, padding=1, count_include_pad=False), ((1, 4, *space),)),
            Example(cls((3, 2, 1)[: cls.spatial], 2, ceil_mode=True), ((1, 4, *space[:-1], 8),)),
        )


@register
class AvgPool1d(_AvgPool, spatial=1):
    """Mean of each window of a sequence, K operations an output."""


@dataclass(frozen=True, repr=False)
class _AvgPoolWithDivisor(_AvgPool):
    """Mean of each window, or its sum divided by a number of one's own."""

    calls = {"avg_pool{n}d": "input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override"}

    divisor_override: int | None = argument(
        optional(integer()), "what the sum is divided by; null for the number of values", None
    )

    def output(self, inputs: Shapes) -> Shapes:
        """Return batch × channels × sizes by ⌊(W − K + 2P) / S⌋ + 1, rounded up with ceil_mode."""
        if self.divisor_override == 0:
            raise OpError("divisor_override=0 divides by zero; use another number, or null for the mean")
        return super().output(inputs)


@register
class AvgPool2d(_AvgPoolWithDivisor, spatial=2):
    """Mean of each window of an image, K operations an output."""


@register
class AvgPool3d(_AvgPoolWithDivisor, spatial=3):
    """Mean of each window of a volume, K operations an output."""

    needs_full_windows = True


@dataclass(frozen=True, repr=False)
class _LPPool(FloatOnly, Pool):
    """Root of a sum of powers, (Σ x^p)^(1/p)."""

    calls = {"lp_pool{n}d": "input, norm_type, kernel_size, stride, ceil_mode"}

    operations = "one power an input; K − 1 additions and one root an output"

    norm_type: float = argument(number(), "the exponent p; 1 sums, larger ones come close to the maximum")
    kernel_size: int | tuple[int, ...] = window_argument()
    stride: int | tuple[int, ...] | None = stride_argument()
    ceil_mode: bool = argument(FLAG, "whether a last window may hang over the end", False)

    def output(self, inputs: Shapes) -> Shapes:
        """Return batch × channels × sizes by ⌊(W − K) / S⌋ + 1, rounded up with ceil_mode."""
        if self.norm_type == 0:
            raise OpError("norm_type=0 has no root 1/p; use another number, such as 2")
        return super().output(inputs)

    def flop_terms(self, inputs: Shapes, outputs: Shapes) -> Terms:
        """Return inputs + outputs · K: one power an input, K − 1 additions and one root an output."""
        return product(("inputs", numel(inputs[0]))) + product(("outputs", numel(outputs[0])), ("K", self.kernel))

    def saved(self, inputs: Shapes, outputs: Shapes) -> Saved:
        """Return the input, its powers, and mean, sign, magnitude and sum of every window."""
        return Saved(inputs=(0,), extra=((numel(inputs[0]), None), *((numel(outputs[0]), None),) * 4))

    def torch_arguments(self, inputs: Shapes) -> dict[str, Any]:
        """Return the fields; in one dimension PyTorch multiplies by the kernel size, so that it must be a number."""
        kernel_size = self.kernel[0] if self.spatial == 1 else self.kernel_size
        return {**super().torch_arguments(inputs), "kernel_size": kernel_size}

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        space = (13, 11, 9)[: cls.spatial]
        return (
            Example(cls(2, 2), ((2, 6, *space),)),
            Example(cls(1.5, (3, 2, 1)[: cls.spatial], stride=1), ((1, 4, *space),)),
            Example(cls(3, 3, stride=2, ceil_mode=True), ((1, 4, *space[:-1], 8),)),
        )


LPPool1d, LPPool2d, LPPool3d = spatial_ops(_LPPool, "Power sum (Σ x^p)^(1/p) of each window of {field}.")
LPPool3d.needs_full_windows = True
