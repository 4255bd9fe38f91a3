"""Convolutions in one, two and three dimensions, and their transposes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from cnnstat.errors import OpError
from cnnstat.ir.declaration import (
    FLAG,
    Factor,
    Formula,
    Terms,
    Written,
    any_of,
    argument,
    axes,
    choice,
    integer,
    per_axis,
    product,
)
from cnnstat.ir.facets import Biased, SavesInput
from cnnstat.ir.op import Example, Family, Linearity, Op, Saved, Shape, Shapes, register
from cnnstat.ir.window import Reads, transposed
from cnnstat.ops.spatial import (
    AXIS_NAMES,
    AXIS_SYMBOLS,
    Slide,
    Sliding,
    channels_and_space,
    grouped,
    kernel_letters,
    slide_formulas,
    slide_over,
    spatial_ops,
    spatial_reads,
)


def check_groups(groups: int, channels: int, which: str) -> None:
    """Raise OpError unless `groups` divides `channels`."""
    if channels % groups:
        divisors = [str(d) for d in range(1, min(channels, 64) + 1) if channels % d == 0][:4]
        raise OpError(f"groups={groups} does not divide {channels} {which} channels; use {', '.join(divisors)}, …")


@dataclass(frozen=True, repr=False)
class _Convolution(Sliding, Biased, Op):
    """What all convolutions share: weight and bias, and how many multiplications they take."""

    family: ClassVar[Family] = Family.CONVOLUTION
    counted_as_weighted: ClassVar[bool] = True
    scales_by_channel: ClassVar[bool] = True
    inferred: ClassVar[tuple[str, ...]] = ("in_channels",)
    mixes_channels: ClassVar[bool] = True

    out_channels: int = argument(integer(1), "number of filters, the channels of the output")
    kernel_size: int | tuple[int, ...] = argument(per_axis(1), "size of the filter, one number or one for each axis")
    stride: int | tuple[int, ...] = argument(per_axis(1), "step of the filter", 1)

    @classmethod
    def arguments_from(cls, weights: Mapping[str, Shape], arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return filters and kernel, from C_out × C_in/groups × kernel."""
        return {"out_channels": weights["weight"][0], "kernel_size": weights["weight"][2:]}

    def with_bias(self, inputs: Shapes) -> Op:
        return replace(self, bias=True)  # type: ignore[call-arg]  # each kind declares it after its own arguments

    def second_reading(self, inputs: Shapes) -> str:
        """Return PyTorch's order: `Conv2d(3, 16, 3)` of 3 channels is 3 filters of 16×16 here, with stride 3."""
        channels, kernel, stride = inputs[0][1], self.kernel_size, self.stride
        if not (isinstance(kernel, int) and isinstance(stride, int)) or channels != self.out_channels:
            return ""
        # Real layers that keep the channels are grouped, lay windows side by side, or have a kernel of usual size.
        least = {1: 16, 2: 16, 3: 4, 4: 16, 5: 4, 7: 4}.get(stride, kernel + 1)
        if getattr(self, "groups", 1) > 1 or kernel == stride or kernel < least:
            return ""
        here, meant = ("×".join((str(size),) * self.spatial) for size in (kernel, stride))
        return (
            f"{self.kind}({channels}, {kernel}, {stride}) is {channels} filters of {here} with stride {stride} here; "
            f"for {kernel} filters of {meant}, as PyTorch reads it, write {self.kind}({kernel}, {stride}): "
            "in_channels is known"
        )

    def _check_groups(self, groups: int, channels: int) -> None:
        check_groups(groups, channels, "input")
        if self.out_channels % groups:
            raise OpError(f"groups={groups} does not divide out_channels={self.out_channels}")

    def _filter(self, letter: str, channels: int, groups: int) -> Factor:
        if groups == 1:
            return f"{letter}·{kernel_letters(self.spatial)}", (channels, *self.kernel)
        per_group = Written(channels // groups, f"{channels}/{groups}")
        return f"{letter}/G·{kernel_letters(self.spatial)}", (per_group, *self.kernel)


@dataclass(frozen=True, repr=False)
class _Conv(_Convolution):
    """Convolution: every output is the dot product of one filter with one patch of the input."""

    short_name: ClassVar[str] = "conv"
    calls = {"conv{n}d": "input, weight, bias, stride, padding, dilation, groups"}

    padding: int | tuple[int, ...] | str = argument(
        any_of(per_axis(0), choice("same", "valid")), "zeros added on both sides, or same, or valid", 0
    )
    dilation: int | tuple[int, ...] = argument(per_axis(1), "distance between the filter's taps", 1)
    groups: int = argument(integer(1), "blocks of channels that do not see each other", 1)
    bias: bool = argument(FLAG, "whether one number a filter is added", True)
    padding_mode: str = argument(choice("zeros", "reflect", "replicate", "circular"), "what the padding holds", "zeros")

    @property
    def slides(self) -> tuple[Slide, ...]:
        """The sliding window along each axis; `same` puts the odd pixel right, as PyTorch does."""
        dilation = axes(self.dilation, self.spatial, "dilation")
        stride = axes(self.stride, self.spatial, "stride")
        if self.padding == "same":
            totals = [d * (k - 1) for d, k in zip(dilation, self.kernel)]
            sides = [(total // 2, total - total // 2) for total in totals]
        else:
            amount: Any = 0 if self.padding == "valid" else self.padding
            sides = [(p, p) for p in axes(amount, self.spatial, "padding")]
        return tuple(Slide(k, s, *p, d) for k, s, p, d in zip(self.kernel, stride, sides, dilation))

    @property
    def linearity(self) -> Linearity:
        """Dense unless grouped: a depthwise convolution before a pointwise one is a factorization, not a slip."""
        return Linearity.DENSE if self.groups == 1 else Linearity.NONE

    def output(self, inputs: Shapes) -> Shapes:
        """Return batch × out_channels × sizes by ⌊(W − D(K − 1) − 1 + 2P) / S⌋ + 1."""
        batch, channels, space = channels_and_space(inputs[0], self.spatial, self.kind)
        self._check_groups(self.groups, channels)
        slides = self.slides
        if self.padding == "same" and any(slide.stride > 1 for slide in slides):
            raise OpError("padding=same needs stride 1, as in PyTorch; write the padding as numbers")
        if self.padding_mode in ("reflect", "circular"):
            self._check_padding(slides, space)
        return ((batch, self.out_channels, *slide_over(space, slides)),)

    def _check_padding(self, slides: tuple[Slide, ...], space: Shape) -> None:
        spare = 1 if self.padding_mode == "reflect" else 0
        for slide, length in zip(slides, space):
            if max(slide.before, slide.after) > length - spare:
                raise OpError(
                    f"padding_mode={self.padding_mode} cannot pad {length} pixels by {max(slide.before, slide.after)}; "
                    f"use padding of at most {length - spare}, or zeros"
                )

    def weights(self, inputs: Shapes) -> Mapping[str, Shape]:
        """Return C_out × C_in/groups × kernel, and the bias."""
        return self._with_bias((self.out_channels, inputs[0][1] // self.groups, *self.kernel), self.out_channels)

    def mac_terms(self, inputs: Shapes, outputs: Shapes) -> Terms:
        """Return outputs × length of the dot product; taps that fall on padding count, as is the custom."""
        per_group = inputs[0][1] // self.groups
        return product(("outputs", outputs[0]), ("dot product", per_group * math.prod(self.kernel)))

    def saved(self, inputs: Shapes, outputs: Shapes) -> Saved:
        """Return the input, or the padded copy of it that PyTorch makes where it cannot pad on the fly.

        With `same` that is where the sides differ, by the odd pixel; reflecting and replicating keep the input as well.
        """
        slides = self.slides
        is_zeros = self.padding_mode == "zeros"
        if is_zeros and all(slide.before == slide.after for slide in slides):
            return Saved(inputs=(0,))
        added = (s.after - s.before if is_zeros else s.after + s.before for s in slides)
        padded = (length + more for length, more in zip(inputs[0][2:], added))
        inputs_kept = (0,) if self.padding_mode in ("reflect", "replicate") else ()
        return Saved(inputs=inputs_kept, extra=((math.prod((*inputs[0][:2], *padded)), None),))

    def saved_for(self, inputs: Shapes, outputs: Shapes, needs: tuple[bool, ...], learns: bool) -> Saved:
        """Return the same; reflecting and replicating keep an input only for its own gradient."""
        saved = self.saved(inputs, outputs)
        return saved if needs[0] or not saved.extra else Saved(extra=saved.extra)

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        dot_product = self._filter("C_in", inputs[0][1], self.groups)
        return (
            *slide_formulas(inputs[0][2:], self.slides, outputs[0][2:]),
            Formula.of("dot product", product(dot_product)),
            Formula.of("weights", product(("C_out", self.out_channels), dot_product)),
            *self._bias_formula("C_out", self.out_channels),
            Formula.of("MACs", self.mac_terms(inputs, outputs)),
        )

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        space = (13, 11, 9)[: cls.spatial]
        return (
            Example(cls(8, 3), ((1, 6, *space),)),
            Example(cls(6, 5, stride=2, padding=2, bias=False), ((2, 3, *space),)),
            Example(cls(12, 3, padding="same", dilation=2, groups=3), ((2, 6, *space),)),
            Example(cls(4, (3, 2, 1)[: cls.spatial], padding=(1, 0, 0)[: cls.spatial]), ((1, 2, *space),)),
            Example(cls(4, 4, padding="same"), ((1, 2, *space),)),
            Example(cls(4, 3, padding=1, padding_mode="replicate"), ((1, 2, *space),)),
        )


@register
class Conv1d(_Conv, spatial=1):
    """Convolution over a sequence: batch × channels × length."""


@register
class Conv2d(_Conv, spatial=2):
    """Convolution over an image: batch × channels × height × width."""


@register
class Conv3d(_Conv, spatial=3):
    """Convolution over a volume or video: batch × channels × depth × height × width."""


@dataclass(frozen=True, repr=False)
class _ConvTranspose(SavesInput, _Convolution):
    """Transposed convolution: every input adds one scaled copy of the filter to the output."""

    short_name: ClassVar[str] = "upconv"
    calls = {"conv_transpose{n}d": "input, weight, bias, stride, padding, output_padding, groups, dilation"}

    padding: int | tuple[int, ...] = argument(per_axis(0), "pixels cut off on both sides of the output", 0)
    output_padding: int | tuple[int, ...] = argument(per_axis(0), "pixels added at the end of the output", 0)
    groups: int = argument(integer(1), "blocks of channels that do not see each other", 1)
    bias: bool = argument(FLAG, "whether one number a filter is added", True)
    dilation: int | tuple[int, ...] = argument(per_axis(1), "distance between the filter's taps", 1)

    @classmethod
    def arguments_from(cls, weights: Mapping[str, Shape], arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return filters and kernel, from C_in × C_out/groups × kernel."""
        shape = weights["weight"]
        return {"out_channels": shape[1] * arguments.get("groups", 1), "kernel_size": shape[2:]}

    def _geometry(self) -> list[tuple[int, int, int, int, int]]:
        names = ("kernel_size", "stride", "padding", "dilation", "output_padding")
        return list(zip(*(axes(getattr(self, name), self.spatial, name) for name in names)))

    def output(self, inputs: Shapes) -> Shapes:
        """Return batch × out_channels × sizes by (W − 1)·S − 2P + D(K − 1) + output_padding + 1."""
        batch, channels, space = channels_and_space(inputs[0], self.spatial, self.kind)
        self._check_groups(self.groups, channels)
        geometry = self._geometry()
        for _, s, _, d, extra in geometry:
            if extra >= max(s, d):
                raise OpError(f"output_padding={extra} must be smaller than stride={s} or dilation={d}")
        sizes = tuple((w - 1) * s - 2 * p + d * (k - 1) + e + 1 for w, (k, s, p, d, e) in zip(space, geometry))
        if min(sizes) < 1:
            raise OpError(f"padding={self.padding} cuts off the whole output; use less")
        return ((batch, self.out_channels, *sizes),)

    def weights(self, inputs: Shapes) -> Mapping[str, Shape]:
        """Return C_in × C_out/groups × kernel, and the bias."""
        return self._with_bias((inputs[0][1], self.out_channels // self.groups, *self.kernel), self.out_channels)

    def mac_terms(self, inputs: Shapes, outputs: Shapes) -> Terms:
        """Return inputs × filter size: a transposed convolution works once for every *input* element."""
        return product(("inputs", inputs[0]), self._filter("C_out", self.out_channels, self.groups))

    def window(self, inputs: Shapes, outputs: Shapes, index: int = 0) -> tuple[Reads, ...]:
        rules = [transposed(k, s, p, d) for k, s, p, d, _ in self._geometry()]
        return spatial_reads(rules, grouped(inputs[0][1], outputs[0][1], self.groups))

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        names, symbols = AXIS_NAMES[self.spatial], AXIS_SYMBOLS[self.spatial]
        axes = zip(names, symbols, inputs[0][2:], self._geometry(), outputs[0][2:])
        weights = product(("C_in", inputs[0][1]), self._filter("C_out", self.out_channels, self.groups))
        return (
            *(
                Formula(
                    f"output {name}",
                    f"({symbol} − 1)·S − 2P + D(K − 1) + extra + 1",
                    f"({w} − 1)·{s} − 2·{p} + {d}·({k} − 1) + {e} + 1",
                    size,
                )
                for name, symbol, w, (k, s, p, d, e), size in axes
            ),
            Formula.of("weights", weights),
            *self._bias_formula("C_out", self.out_channels),
            Formula.of("MACs", self.mac_terms(inputs, outputs)),
        )

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        space = (7, 6, 5)[: cls.spatial]
        return (
            Example(cls(4, 2, stride=2), ((1, 8, *space),)),
            Example(cls(6, 3, stride=2, padding=1, output_padding=1, groups=2), ((2, 4, *space),)),
            Example(cls(3, 4, stride=2, padding=1, bias=False), ((1, 5, *space),)),
            Example(cls(3, 2, stride=3, dilation=2), ((1, 2, *space),)),
        )


ConvTranspose1d, ConvTranspose2d, ConvTranspose3d = spatial_ops(
    _ConvTranspose, "Transposed convolution over {field}: {layout}."
)
