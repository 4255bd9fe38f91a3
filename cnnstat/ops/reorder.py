"""Ops that put axes in another order, drop or add those of size one, or move elements between axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

from cnnstat.errors import OpError
from cnnstat.ir.declaration import Formula, argument, integer, list_of
from cnnstat.ir.facets import NoArithmetic, NothingSaved, SameShape, Weightless
from cnnstat.ir.op import Example, Family, Op, Shape, Shapes, register, shape_text
from cnnstat.ir.window import IDENTITY, MAX_PERIOD, UNFOLLOWED, AxisRule, Reads, Window, nearest, sliding
from cnnstat.ops.conv import check_groups
from cnnstat.ops.shape import AXES, AXIS, View, axis_index, axis_indices, method_code, rearranged
from cnnstat.ops.spatial import spatial_reads


class _Reordering(View):
    """What all ops share whose output axes are input axes in another order, or axes of size one."""

    def sources(self, shape: Shape) -> tuple[int, ...]:
        """Return for each output axis the input axis that it is."""
        raise AssertionError(f"{self.kind} states no sources")

    def output(self, inputs: Shapes) -> Shapes:
        (shape,) = inputs
        return (tuple(shape[axis] for axis in self.sources(shape)),)

    def window(self, inputs: Shapes, outputs: Shapes, index: int = 0) -> tuple[Reads, ...]:
        return (tuple((axis, IDENTITY) for axis in self.sources(inputs[0])),)

    def torch_code(self, callee: str, operands: Sequence[str], arguments: Mapping[str, Any]) -> str:
        return method_code(callee, operands[0], arguments.values())


@register
@dataclass(frozen=True, repr=False)
class Permute(_Reordering):
    """Puts all axes, the batch among them, in another order."""

    torch = "torch.permute"
    dims: tuple[int, ...] = argument(list_of(AXIS), "the input axis that each output axis is, the batch's 0 included")

    def sources(self, shape: Shape) -> tuple[int, ...]:
        rank = len(shape)
        order = tuple(axis + rank if axis < 0 else axis for axis in self.dims)
        if sorted(order) != list(range(rank)):
            raise OpError(f"dims={list(self.dims)} must name each of the {rank} axes 0 to {rank - 1} once")
        return order

    def torch_code(self, callee: str, operands: Sequence[str], arguments: Mapping[str, Any]) -> str:
        return method_code(callee, operands[0], self.dims)

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        return rearranged(f"axes in the order {list(self.dims)}", inputs, outputs)

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return (Example(cls((0, 2, 3, 1)), ((2, 6, 5, 4),)), Example(cls((1, 0, -1)), ((2, 7, 3),)))


@register
@dataclass(frozen=True, repr=False)
class Transpose(_Reordering):
    """Lets two axes change places."""

    torch = "torch.transpose"
    calls = dict.fromkeys(("transpose", "swapaxes", "swapdims", "aten.transpose"), "input, dim0, dim1")
    dim0: int = argument(AXIS, "one axis")
    dim1: int = argument(AXIS, "the other axis")

    def sources(self, shape: Shape) -> tuple[int, ...]:
        rank = len(shape)
        first, second = axis_index(self.dim0, rank, "dim0"), axis_index(self.dim1, rank, "dim1")
        swapped = {first: second, second: first}
        return tuple(swapped.get(axis, axis) for axis in range(rank))

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        return rearranged(f"axes {self.dim0} and {self.dim1} swapped", inputs, outputs)

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return (Example(cls(1, 2), ((2, 6, 20),)), Example(cls(-1, -2), ((1, 3, 5, 4),)))


@register
@dataclass(frozen=True, repr=False)
class Squeeze(_Reordering):
    """Drops axes of size one; as in PyTorch an axis of another size stays."""

    torch = "torch.squeeze"
    dim: int | tuple[int, ...] = argument(AXES, "the axis or axes to drop")

    def sources(self, shape: Shape) -> tuple[int, ...]:
        dropped = axis_indices(self.dim, len(shape))
        return tuple(axis for axis, size in enumerate(shape) if size != 1 or axis not in dropped)

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        return rearranged("without the axes of size 1", inputs, outputs)

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return (
            Example(cls(-1), ((2, 6, 5, 1),)),
            Example(cls((2, 3)), ((2, 6, 1, 1),)),
            Example(cls(1), ((2, 6, 5, 1),)),
        )


@register
@dataclass(frozen=True, repr=False)
class Unsqueeze(View):
    """Puts in an axis of size one."""

    torch = "torch.unsqueeze"
    calls = {"unsqueeze": "input, dim", "aten.unsqueeze": "input, dim"}
    dim: int = argument(AXIS, "the place of the new axis")

    def output(self, inputs: Shapes) -> Shapes:
        (shape,) = inputs
        axis = axis_index(self.dim, len(shape) + 1)
        return ((*shape[:axis], 1, *shape[axis:]),)

    def window(self, inputs: Shapes, outputs: Shapes, index: int = 0) -> tuple[Reads, ...]:
        new = axis_index(self.dim, len(outputs[0]))
        return (tuple(None if a == new else (a - (a > new), IDENTITY) for a in range(len(outputs[0]))),)

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        return rearranged(f"a new axis {self.dim}", inputs, outputs)

    def torch_code(self, callee: str, operands: Sequence[str], arguments: Mapping[str, Any]) -> str:
        return method_code(callee, operands[0], arguments.values())

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return (Example(cls(-1), ((2, 6, 5),)), Example(cls(1), ((2, 5, 4),)))


@dataclass(frozen=True, repr=False)
class _Shuffle(Weightless, NoArithmetic, NothingSaved, Op):
    """What shuffles share: they copy every element to another place and compute nothing."""

    family: ClassVar[Family] = Family.LAYOUT


@register
@dataclass(frozen=True, repr=False)
class ChannelShuffle(SameShape, _Shuffle):
    """Interleaves groups of channels (ShuffleNet, arXiv:1707.01083)."""

    torch = "torch.nn.ChannelShuffle"
    calls = {"channel_shuffle": "input, groups", "native_channel_shuffle": "input, groups"}
    groups: int = argument(integer(1), "blocks of channels that are interleaved")

    def output(self, inputs: Shapes) -> Shapes:
        (shape,) = inputs
        if len(shape) < 3:
            raise OpError(f"ChannelShuffle takes batch×channels×space, not {shape_text(shape)}; unflatten it first")
        check_groups(self.groups, shape[1], "input")
        return inputs

    def window(self, inputs: Shapes, outputs: Shapes, index: int = 0) -> tuple[Reads, ...]:
        """Return that output channel o reads channel (o mod G)·C/G + ⌊o / G⌋."""
        size = inputs[0][1] // self.groups
        turns = Window(tuple(range(group * size, group * size + 1) for group in range(self.groups)), 1)
        return spatial_reads([IDENTITY] * (len(inputs[0]) - 2), turns if self.groups <= MAX_PERIOD else None)

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        (_, c, *_), g = inputs[0], self.groups
        line = Formula("channel order", "(G × C/G)ᵀ", f"({g} × {c // g})ᵀ", f"{c // g} × {g}")
        return (*rearranged("the input's", inputs, outputs), line)

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
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
    calls = {"pixel_shuffle": "input, upscale_factor"}
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
        return spatial_reads([rule, rule], channels=UNFOLLOWED)

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        (_, c, h, w), (_, c_out, h_out, w_out) = inputs[0], outputs[0]
        r = self.upscale_factor
        return (
            Formula("output channels", "C / r²", f"{c} / {r}²", c_out),
            Formula("output height", "H·r", f"{h}·{r}", h_out),
            Formula("output width", "W·r", f"{w}·{r}", w_out),
        )

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return (Example(cls(2), ((2, 8, 5, 4),)), Example(cls(3), ((1, 9, 3, 4),)))


@register
@dataclass(frozen=True, repr=False)
class PixelUnshuffle(_Shuffle):
    """Gathers every r × r patch into r² channels: space to depth."""

    torch = "torch.nn.PixelUnshuffle"
    calls = {"pixel_unshuffle": "input, downscale_factor"}
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
        return spatial_reads([rule, rule], channels=UNFOLLOWED)

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        (_, c, h, w), (_, c_out, h_out, w_out) = inputs[0], outputs[0]
        r = self.downscale_factor
        return (
            Formula("output channels", "C·r²", f"{c}·{r}²", c_out),
            Formula("output height", "H / r", f"{h} / {r}", h_out),
            Formula("output width", "W / r", f"{w} / {r}", w_out),
        )

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        return (Example(cls(2), ((2, 3, 6, 4),)), Example(cls(3), ((1, 2, 3, 6),)))
