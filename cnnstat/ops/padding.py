"""Padding as ops of its own: zeros, a constant, reflection, replication and wrapping around."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from cnnstat.errors import OpError
from cnnstat.ir.declaration import Formula, any_of, argument, integer, list_of, number
from cnnstat.ir.facets import NoArithmetic, NothingSaved, SavesInput, Weightless
from cnnstat.ir.op import Example, Family, Op, Shapes
from cnnstat.ir.window import Reads, sliding
from cnnstat.ops.spatial import AXIS_NAMES, AXIS_SYMBOLS, Spatial, channels_and_space, spatial_ops, spatial_reads


@dataclass(frozen=True, repr=False)
class _Padding(Spatial, Weightless, NoArithmetic, Op):
    """What all paddings share: pixels put before and after each spatial axis, or cut off where negative."""

    family: ClassVar[Family] = Family.LAYOUT
    short_name: ClassVar[str] = "pad"
    spare: ClassVar[int | None] = None
    """Pixels of the input that one side's padding cannot use; None where padding may be of any length."""

    padding: int | tuple[int, ...] = argument(
        any_of(integer(), list_of(integer())), "pixels on all sides, or left, right, top, bottom, front, back in turn"
    )

    @property
    def sides(self) -> Sequence[tuple[int, int]]:
        """The padding before and after each spatial axis; PyTorch writes the last axis first."""
        count = 2 * self.spatial
        amounts = (self.padding,) * count if isinstance(self.padding, int) else self.padding
        if len(amounts) != count:
            words = ", ".join(("left", "right", "top", "bottom", "front", "back")[:count])
            raise OpError(f"padding={list(amounts)} has {len(amounts)} values; write one, or {count}: {words}")
        return [amounts[i : i + 2] for i in range(count - 2, -1, -2)]  # type: ignore[misc]  # slices of two are pairs

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
        return spatial_reads([sliding(1, padding=before) for before, _ in self.sides])

    def formulas(self, inputs: Shapes, outputs: Shapes) -> tuple[Formula, ...]:
        lines = zip(AXIS_NAMES[self.spatial], AXIS_SYMBOLS[self.spatial], inputs[0][2:], self.sides, outputs[0][2:])
        return tuple(
            Formula(f"output {name}", f"{symbol} + P₁ + P₂", f"{length}{_signed(before)}{_signed(after)}", size)
            for name, symbol, length, (before, after), size in lines
        )

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        space = (5, 6, 7)[-cls.spatial :]
        sides = (1, 2, 0, 3, 2, 1)[: 2 * cls.spatial]
        cut = (-1, 1, 0, -2, 1, 1)[: 2 * cls.spatial]
        return tuple(Example(cls(padding), ((2, 3, *space),)) for padding in (2, sides, cut))


def _signed(amount: int) -> str:
    return f" {'−' if amount < 0 else '+'} {abs(amount)}"


class _ZeroPad(NothingSaved, _Padding):
    """Padding with zeros."""


@dataclass(frozen=True, repr=False)
class _ConstantPad(NothingSaved, _Padding):
    """Padding with one value."""

    value: float = argument(number(), "what the padding holds")

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        space = (5, 6, 7)[-cls.spatial :]
        sides = (1, -2, 0, 3, 2, 1)[: 2 * cls.spatial]
        return (Example(cls(2, 0.5), ((2, 3, *space),)), Example(cls(sides, -1), ((1, 2, *space),)))


class _ReflectionPad(SavesInput, _Padding):
    """Padding with the mirror image, the border pixel not repeated."""

    spare: ClassVar[int | None] = 1


class _ReplicationPad(SavesInput, _Padding):
    """Padding with the border pixel."""


class _CircularPad(NothingSaved, _Padding):
    """Padding with the pixels of the other side."""

    spare: ClassVar[int | None] = 0


ZeroPad1d, ZeroPad2d, ZeroPad3d = spatial_ops(_ZeroPad, "Pads {field} with zeros.")
ConstantPad1d, ConstantPad2d, ConstantPad3d = spatial_ops(_ConstantPad, "Pads {field} with one value.")
ReflectionPad1d, ReflectionPad2d, ReflectionPad3d = spatial_ops(
    _ReflectionPad, "Pads {field} with its mirror image; the border itself is not repeated."
)
ReplicationPad1d, ReplicationPad2d, ReplicationPad3d = spatial_ops(
    _ReplicationPad, "Pads {field} with its border pixel."
)
CircularPad1d, CircularPad2d, CircularPad3d = spatial_ops(
    _CircularPad, "Pads {field} with the pixels of its other side."
)
