"""The receptive field along one axis, in exact integers.

Output index `r + t·P` depends on inputs within `[lo[r] + t·A, hi[r] + t·A]`. The set itself is finer (dilation leaves
holes); its hull is all that sizes and positions need, and the hull of a union follows from the hulls. The effective
stride ("jump") is A/P. Where a period would grow too long, two lines bound the field instead, and it is not exact.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction
from typing import NamedTuple

from cnnstat.ir.window import MAX_PERIOD

MAX_LISTED = 2**16
"""Longest axis whose positions are looked at one by one, where no shorter way is exact."""

Number = int | Fraction
Interval = tuple[int, int]


class Component(NamedTuple):
    """A field with one stride: its intervals over one period, and how far a period moves them on.

    advance: inputs that one period moves on; a Fraction marks a pair of bounding lines (of period 1).
    lo, hi: first and last input of each residue; None for a residue that reads nothing.
    """

    advance: Number
    lo: tuple[Number | None, ...]
    hi: tuple[Number | None, ...]

    @property
    def is_exact(self) -> bool:
        """Whether the intervals are the hulls themselves rather than bounds of them."""
        return type(self.advance) is int

    @property
    def stride(self) -> Fraction:
        """Inputs that one output step moves on, on average."""
        return Fraction(self.advance) / len(self.lo)

    @property
    def size(self) -> int:
        """Length of the longest interval."""
        return max(math.floor(hi - lo) + 1 for lo, hi in zip(self.lo, self.hi) if lo is not None and hi is not None)

    def at(self, index: int) -> Interval | None:
        """Return the first and last input that output `index` depends on, or None if there is none."""
        turn, residue = divmod(index, len(self.lo))
        lo, hi = self.lo[residue], self.hi[residue]
        if lo is None or hi is None:
            return None
        return math.ceil(lo + turn * self.advance), math.floor(hi + turn * self.advance)


class Field(NamedTuple):
    """The receptive field along one axis: one component, or several where branches of different stride met.

    No components: nothing is read.
    centred: whether branches that were merged had the same centre.
    misaligned_at: the merge where strides first differed.
    is_part: whether positions were cut off, so that all of the axis may be less than the input.
    """

    components: tuple[Component, ...]
    centred: bool = True
    misaligned_at: str | None = None
    is_part: bool = False

    @property
    def is_exact(self) -> bool:
        """Whether no component is only a bound."""
        return all(component.is_exact for component in self.components)

    @property
    def stride(self) -> Fraction | None:
        """The effective stride, or None where branches have different ones."""
        return None if self.misaligned_at is not None else self.components[0].stride

    def at(self, index: int) -> Interval | None:
        """Return the first and last input that output `index` depends on, or None if there is none."""
        return hull(component.at(index) for component in self.components)

    def at_or_after(self, index: int) -> Interval:
        """Return the interval of the first output from `index` on that depends on any input."""
        longest = max(len(component.lo) for component in self.components)
        return next(interval for i in range(index, index + longest) if (interval := self.at(i)) is not None)

    def size(self, extent: int) -> int:
        """Return the largest size over all outputs; of a misaligned field, the one at the centre of `extent`."""
        if self.misaligned_at is None:
            return self.components[0].size
        first, last = self.at_or_after((extent - 1) // 2)
        return last - first + 1

    def covers(self, extent: int, length: int) -> bool:
        """Return whether the outputs 0 … extent − 1 together depend on all inputs 0 … length − 1, holes aside."""
        if not self.is_exact or extent > MAX_LISTED:
            return False
        around = hull(map(self.at, range(extent)))
        return around is not None and around[0] <= 0 and around[1] >= length - 1

    def count_inside(self, extent: int, length: int) -> int:
        """Return how many of the outputs 0 … extent − 1 depend on inputs 0 … length − 1 only.

        A lower bound if the field is not exact, or has long periods on an axis of more than MAX_LISTED positions.
        """
        components = self.components
        period = math.lcm(*(len(component.lo) for component in components))
        if period > MAX_PERIOD and extent <= MAX_LISTED:
            intervals = map(self.at, range(extent))
            return sum(interval is None or (interval[0] >= 0 and interval[1] < length) for interval in intervals)
        if period > MAX_PERIOD:
            components, period = tuple(map(bounded, components)), 1
        return sum(_inside(components, r, period, extent, length) for r in range(min(period, extent)))


INPUT = Field((Component(1, (0,), (0,)),))
"""The field of an input: index i depends on i."""

NOTHING = Field(())
"""The field of what depends on no input."""


def hull(intervals: Iterable[Interval | None]) -> Interval | None:
    """Return the smallest interval around all that are not None."""
    known = [interval for interval in intervals if interval is not None]
    return (min(lo for lo, _ in known), max(hi for _, hi in known)) if known else None


def _inside(components: Iterable[Component], residue: int, period: int, extent: int, length: int) -> int:
    """Count the outputs `residue + t·period` below `extent` whose field lies within 0 … length − 1."""
    # Outputs of one residue lie on a line, so that those inside form one stretch, which each component narrows.
    first, last = 0, (extent - 1 - residue) // period
    for component in components:
        turn, place = divmod(residue, len(component.lo))
        lo, hi, step = component.lo[place], component.hi[place], component.advance * (period // len(component.lo))
        if lo is None or hi is None:
            continue
        lo, hi = lo + turn * component.advance, hi + turn * component.advance - (length - 1)
        if step == 0 and (lo < 0 or hi > 0):
            return 0
        if step > 0:
            first, last = max(first, math.ceil(Fraction(-lo) / step)), min(last, math.floor(Fraction(-hi) / step))
        elif step < 0:
            first, last = max(first, math.ceil(Fraction(hi) / -step)), min(last, math.floor(Fraction(lo) / -step))
    return max(0, last - first + 1)


def bounded(component: Component) -> Component:
    """Return two lines around a component: stride·o + lo and stride·o + hi."""
    if not component.is_exact:
        return component
    stride = component.stride
    lo = min(lo - stride * r for r, lo in enumerate(component.lo) if lo is not None)
    hi = max(hi - stride * r for r, hi in enumerate(component.hi) if hi is not None)
    return line(stride, lo, hi)


def line(stride: Fraction, lo: Fraction, hi: Fraction) -> Component:
    """Return a pair of lines, rounded outward where their fractions get long."""
    unit = 2**32
    if lo.denominator > unit:
        lo = Fraction(math.floor(lo * unit), unit)
    if hi.denominator > unit:
        hi = Fraction(math.ceil(hi * unit), unit)
    return Component(stride, (lo,), (hi,))
