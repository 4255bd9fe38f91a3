"""Padding as ops of its own: zeros, a constant, reflection, replication and wrapping around."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from cnnstat.errors import OpError
from cnnstat.ir.argument import any_of, argument, integer, list_of, number
from cnnstat.ir.facets import NoArithmetic, NothingSaved, Weightless
from cnnstat.ir.formula import Formula
from cnnstat.ir.op import Example, Family, Op, Saved, Shapes, register
from cnnstat.ir.window import Reads, sliding
from cnnstat.ops.spatial import AXIS_NAMES, AXIS_SYMBOLS, channels_and_space, spatial_reads


@dataclass(frozen=True, repr=False)
class _Padding(Weightless, NoArithmetic, Op):
    """What all paddings share: pixels put before and after each spatial axis, or cut off where negative."""

    family: ClassVar[Family] = Family.LAYOUT
    short_name: ClassVar[str] = "pad"
    spatial: ClassVar[int]
    spare: ClassVar[int | None] = None
    """Pixels of the input that one side's padding cannot use; None where padding may be of any length."""

    padding: int | tuple[int, ...] = argument(
        any_of(integer(), list_of(integer())), "pixels on all sides, or left, right, top, bottom, front, back in turn"
    )

    @property
    def sides(self) -> Sequence[tuple[int, int]]:
        """The padding before and after each spatial axis; PyTorch writes the last axis first."""
        count = 2 * self.spatial
        given = (self.padding,) * count if isinstance(self.padding, int) else self.padding
        if len(given) != count:
            words = ", ".join(("left", "right", "top", "bottom", "front", "back")[:count])
            raise OpError(f"padding={list(given)} has {len(given)} values; write one, or {count}: {words}")
        return [given[i : i + 2] for i in range(count - 2, -1, -2)]  # type: ignore[misc]  # slices of two are pairs

    def output(self, inputs: Shapes) -> Shapes:
        """Return batch × channels × (before + size + after)."""
        batch, channels, space = channels_and_space(inputs[0], self.spatial, self.kind)
        for name, length, (before, after) in zip(AXIS_NAMES[self.spatial], space, self.sides):
            if self.spare is not None and max(before, after) > length - self.spare:
                raise OpError(
                    f"padding={max(before, after)} is too much for a {name} of {length}; use at most "
                    f"{length - self.spare}, or ZeroPad{self.spatial}d"
                )
            if length + min(before, 0) + min(after, 0) < 0 or length + before + after < 1:
                raise OpError(f"padding={before} and {after} leave nothing of a {name} of {length}; cut off less")
        return ((batch, channels, *(w + before + after for w, (before, after) in zip(space, self.sides))),)

    def window(self, inputs: Shapes, outputs: Shapes, index: int = 0) -> tuple[Reads, ...]:
        """Return that output o reads input o − before; in the padding itself that lies outside."""
        return spatial_reads([sliding(1, padding=before) for before, _ in self.sides], mixes_channels=False)

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        """Return the sums of input and padding."""
        lines = zip(AXIS_NAMES[self.spatial], AXIS_SYMBOLS[self.spatial], inputs[0][2:], self.sides, outputs[0][2:])
        return tuple(
            Formula(f"output {name}", f"{symbol} + P₁ + P₂", f"{length}{_signed(before)}{_signed(after)}", size)
            for name, symbol, length, (before, after), size in lines
        )

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        """Return equal padding, padding that differs from side to side, and negative padding."""
        space = (5, 6, 7)[-cls.spatial :]
        sides = (1, 2, 0, 3, 2, 1)[: 2 * cls.spatial]
        cut = (-1, 1, 0, -2, 1, 1)[: 2 * cls.spatial]
        return tuple(Example(cls(padding), ((2, 3, *space),)) for padding in (2, sides, cut))


def _signed(amount: int) -> str:
    """Return ` + 2` or ` − 2`."""
    return f" {'−' if amount < 0 else '+'} {abs(amount)}"


class _ZeroPad(NothingSaved, _Padding):
    """Padding with zeros."""


@dataclass(frozen=True, repr=False)
class _ConstantPad(NothingSaved, _Padding):
    """Padding with one value."""

    value: float = argument(number(), "what the padding holds")

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        """Return the examples of all paddings with a value."""
        space = (5, 6, 7)[-cls.spatial :]
        sides = (1, -2, 0, 3, 2, 1)[: 2 * cls.spatial]
        return (Example(cls(2, 0.5), ((2, 3, *space),)), Example(cls(sides, -1), ((1, 2, *space),)))


class _SavesInput(_Padding):
    """Padding whose backward pass looks at its input again."""

    def saved(self, inputs: Shapes, outputs: Shapes) -> Saved:
        """Return the input."""
        return Saved(inputs=(0,))


class _ReflectionPad(_SavesInput):
    """Padding with the mirror image, the border pixel not repeated."""

    spare: ClassVar[int | None] = 1


class _ReplicationPad(_SavesInput):
    """Padding with the border pixel."""


class _CircularPad(NothingSaved, _Padding):
    """Padding with the pixels of the other side."""

    spare: ClassVar[int | None] = 0


@register
class ZeroPad1d(_ZeroPad):
    """Pads a sequence with zeros."""

    spatial = 1
    torch = "torch.nn.ZeroPad1d"


@register
class ZeroPad2d(_ZeroPad):
    """Pads an image with zeros."""

    spatial = 2
    torch = "torch.nn.ZeroPad2d"


@register
class ZeroPad3d(_ZeroPad):
    """Pads a volume with zeros."""

    spatial = 3
    torch = "torch.nn.ZeroPad3d"


@register
class ConstantPad1d(_ConstantPad):
    """Pads a sequence with one value."""

    spatial = 1
    torch = "torch.nn.ConstantPad1d"


@register
class ConstantPad2d(_ConstantPad):
    """Pads an image with one value."""

    spatial = 2
    torch = "torch.nn.ConstantPad2d"


@register
class ConstantPad3d(_ConstantPad):
    """Pads a volume with one value."""

    spatial = 3
    torch = "torch.nn.ConstantPad3d"


@register
class ReflectionPad1d(_ReflectionPad):
    """Pads a sequence with its mirror image; the border itself is not repeated."""

    spatial = 1
    torch = "torch.nn.ReflectionPad1d"


@register
class ReflectionPad2d(_ReflectionPad):
    """Pads an image with its mirror image; the border itself is not repeated."""

    spatial = 2
    torch = "torch.nn.ReflectionPad2d"


@register
class ReflectionPad3d(_ReflectionPad):
    """Pads a volume with its mirror image; the border itself is not repeated."""

    spatial = 3
    torch = "torch.nn.ReflectionPad3d"


@register
class ReplicationPad1d(_ReplicationPad):
    """Pads a sequence with its border pixel."""

    spatial = 1
    torch = "torch.nn.ReplicationPad1d"


@register
class ReplicationPad2d(_ReplicationPad):
    """Pads an image with its border pixel."""

    spatial = 2
    torch = "torch.nn.ReplicationPad2d"


@register
class ReplicationPad3d(_ReplicationPad):
    """Pads a volume with its border pixel."""

    spatial = 3
    torch = "torch.nn.ReplicationPad3d"


@register
class CircularPad1d(_CircularPad):
    """Pads a sequence with the pixels of its other side."""

    spatial = 1
    torch = "torch.nn.CircularPad1d"


@register
class CircularPad2d(_CircularPad):
    """Pads an image with the pixels of its other side."""

    spatial = 2
    torch = "torch.nn.CircularPad2d"


@register
class CircularPad3d(_CircularPad):
    """Pads a volume with the pixels of its other side."""

    spatial = 3
    torch = "torch.nn.CircularPad3d"
