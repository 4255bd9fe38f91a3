"""Ops that move elements between channels, or between channels and space."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

from cnnstat.errors import OpError
from cnnstat.ir.argument import argument, integer
from cnnstat.ir.facets import NoArithmetic, NothingSaved, SameShape, Weightless
from cnnstat.ir.formula import Formula
from cnnstat.ir.op import Example, Family, Op, Shape, Shapes, register
from cnnstat.ir.window import IDENTITY, AxisRule, Reads, nearest, sliding
from cnnstat.ops.conv import check_groups
from cnnstat.ops.spatial import spatial_reads
from cnnstat.ops.view import rearranged, shape_text


@dataclass(frozen=True, repr=False)
class _Shuffle(Weightless, NoArithmetic, NothingSaved, Op):
    """What shuffles share: they copy every element to another place and compute nothing."""

    family: ClassVar[Family] = Family.LAYOUT


@register
@dataclass(frozen=True, repr=False)
class ChannelShuffle(SameShape, _Shuffle):
    """Interleaves groups of channels (ShuffleNet, arXiv:1707.01083)."""

    torch = "torch.nn.ChannelShuffle"
    groups: int = argument(integer(1), "blocks of channels that are interleaved")

    def output(self, inputs: Shapes) -> Shapes:
        """Return the input's shape."""
        (shape,) = inputs
        if len(shape) < 3:
            raise OpError(f"ChannelShuffle takes batch×channels×space, not {shape_text(shape)}; unflatten it first")
        check_groups(self.groups, shape[1], "input")
        return inputs

    def window(self, inputs: Shapes, outputs: Shapes, index: int = 0) -> tuple[Reads, ...]:
        """Return the identity on all axes but the channels."""
        return spatial_reads([IDENTITY] * (len(inputs[0]) - 2), mixes_channels=True)

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        """Return where a channel goes."""
        (_, c, *_), g = inputs[0], self.groups
        line = Formula("channel order", "(G × C/G)ᵀ", f"({g} × {c // g})ᵀ", f"{c // g} × {g}")
        return (*rearranged("the input's", inputs, outputs), line)

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        """Return two and three groups, of maps and of sequences."""
        return (Example(cls(2), ((2, 6, 5, 4),)), Example(cls(3), ((1, 6, 7),)))


def _channels_and_image(shape: Shape, kind: str) -> Shape:
    """Return the shape; raises OpError unless it is batch × channels × height × width."""
    if len(shape) != 4:
        raise OpError(f"{kind} takes batch×channels×height×width, not {shape_text(shape)}; reshape the input first")
    return shape


@register
@dataclass(frozen=True, repr=False)
class PixelShuffle(_Shuffle):
    """Spreads r² channels over an r × r patch each: sub-pixel convolution (arXiv:1609.05158)."""

    torch = "torch.nn.PixelShuffle"
    upscale_factor: int = argument(integer(1), "how many times larger height and width become")

    def output(self, inputs: Shapes) -> Shapes:
        """Return batch × C/r² × H·r × W·r."""
        n, c, h, w = _channels_and_image(inputs[0], self.kind)
        r = self.upscale_factor
        if c % r**2:
            raise OpError(
                f"upscale_factor={r} needs channels in multiples of {r**2}, not {c}; give the layer before "
                f"{(c // r**2 + 1) * r**2} channels"
            )
        return ((n, c // r**2, h * r, w * r),)

    def window(self, inputs: Shapes, outputs: Shapes, index: int = 0) -> tuple[Reads, ...]:
        """Return that output o reads input ⌊o / r⌋."""
        rule: AxisRule = nearest(Fraction(1, self.upscale_factor))
        return spatial_reads([rule, rule], mixes_channels=True)

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        """Return channels, height and width."""
        (_, c, h, w), (_, c_out, h_out, w_out) = inputs[0], outputs[0]
        r = self.upscale_factor
        return (
            Formula("output channels", "C / r²", f"{c} / {r}²", c_out),
            Formula("output height", "H·r", f"{h}·{r}", h_out),
            Formula("output width", "W·r", f"{w}·{r}", w_out),
        )

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        """Return enlargements by two and three."""
        return (Example(cls(2), ((2, 8, 5, 4),)), Example(cls(3), ((1, 9, 3, 4),)))


@register
@dataclass(frozen=True, repr=False)
class PixelUnshuffle(_Shuffle):
    """Gathers every r × r patch into r² channels: space to depth."""

    torch = "torch.nn.PixelUnshuffle"
    downscale_factor: int = argument(integer(1), "how many times smaller height and width become")

    def output(self, inputs: Shapes) -> Shapes:
        """Return batch × C·r² × H/r × W/r."""
        n, c, h, w = _channels_and_image(inputs[0], self.kind)
        r = self.downscale_factor
        if h % r or w % r:
            raise OpError(f"downscale_factor={r} does not divide {h}×{w}; pad the input to multiples of {r}")
        return ((n, c * r**2, h // r, w // r),)

    def window(self, inputs: Shapes, outputs: Shapes, index: int = 0) -> tuple[Reads, ...]:
        """Return that output o reads the inputs o·r to o·r + r − 1 (each in channels of its own)."""
        rule = sliding(self.downscale_factor, self.downscale_factor)
        return spatial_reads([rule, rule], mixes_channels=True)

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        """Return channels, height and width."""
        (_, c, h, w), (_, c_out, h_out, w_out) = inputs[0], outputs[0]
        r = self.downscale_factor
        return (
            Formula("output channels", "C·r²", f"{c}·{r}²", c_out),
            Formula("output height", "H / r", f"{h} / {r}", h_out),
            Formula("output width", "W / r", f"{w} / {r}", w_out),
        )

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        """Return reductions by two and three."""
        return (Example(cls(2), ((2, 3, 6, 4),)), Example(cls(3), ((1, 2, 3, 6),)))
