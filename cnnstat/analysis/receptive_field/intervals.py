"""The receptive field along one axis, in exact integers: intervals, reading them through windows, merging branches.

Output index `r + t·P` depends on inputs within `[lo[r] + t·A, hi[r] + t·A]`. The set itself is finer (dilation leaves
holes); its hull is all that sizes and positions need, and the hull of a union follows from the hulls: the hull over all
taps is the hull of the hulls of the taps. The effective stride ("jump") is A/P. Where a period would grow too long, two
lines bound the field instead, and it is not exact.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction
from itertools import chain
from typing import NamedTuple

from cnnstat.ir.window import IDENTITY, MAX_PERIOD, Window, leaves_out

MAX_LISTED = 2**16
"""Longest axis whose positions are looked at one by one, where no shorter way is exact."""

MAX_COMPONENTS = 16
"""Most strides that a misaligned field keeps apart."""

MAX_WORK = 2**20
"""Most steps that periods longer than 1 may cost in one graph; a decoder of hundreds of layers takes a few thousand."""

MAX_TAPS = 2**18
"""Most periods that all windows of one graph may have together; what comes behind is not followed."""

MAX_REMEMBERED = 4096
"""Most answers that are remembered at once."""

MAX_STRIDE = 2**64
"""Largest numerator or denominator of a stride; no axis is long enough for a second step of that size."""

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


class Algebra:
    """Reads fields through windows and merges them; remembers results and bounds the work of long periods."""

    def __init__(self) -> None:
        self._memo: dict[tuple[int, Window], tuple[Field, Field | None]] = {}
        self._work = 0
        self._taps = 0
        self._last_read: tuple[Field, Window, Field | None] = (NOTHING, IDENTITY, NOTHING)
        self._last_merge: tuple[Field, Field, int, str, Field] = (NOTHING, NOTHING, 0, "", NOTHING)
        # By the ids of what they keep alive: tiles of a map read the same windows of the same fields.
        self._reads: dict[tuple[int, int], tuple[Field, Window, Field | None]] = {}
        self._lines: dict[tuple[int, int], tuple[Field, Field, Field]] = {}
        self._cuts: dict[int, tuple[Field, Field]] = {}
        self._agreements: dict[tuple[int, int], tuple[Field, Field, bool]] = {}

    @property
    def is_spent(self) -> bool:
        """Whether the graph has more long periods than are followed."""
        return self._taps > MAX_TAPS

    def read(self, field: Field, rule: Window) -> Field | None:
        """Return the field of an axis that reads an axis with `field` through a window; None if it is not followed."""
        if rule is IDENTITY:
            return field
        before, same, result = self._last_read
        if field is before and (rule is same or rule == same):
            return result  # height follows width: most questions are asked twice in a row
        key = (id(field), id(rule))
        known = self._reads.get(key)
        if known is None:
            if len(self._reads) >= MAX_REMEMBERED:
                self._reads.clear()
            known = self._reads[key] = (field, rule, self._read(field, rule))
        self._last_read = known
        return known[2]

    def cut(self, field: Field, rule: Window, length: int, size: int) -> Field:
        """Return the field behind a window from `length` to `size` positions, marked if more could be read by it."""
        if field.is_part or not leaves_out(rule, length, size):
            return field
        key = id(field)
        known = self._cuts.get(key)
        if known is None:
            if len(self._cuts) >= MAX_REMEMBERED:
                self._cuts.clear()
            known = self._cuts[key] = (field, field._replace(is_part=True))
        return known[1]

    def _read(self, field: Field, rule: Window) -> Field | None:
        """Do the same for a window other than the identity."""
        if not field.components:
            return field
        # Nearly every window: one component, one residue and a whole stride, for which two additions are exact.
        taps, (component, *others) = rule.taps[0], field.components
        advance, (lo, *residues), (hi, *_) = component
        if others or residues or len(rule.taps) > 1 or not taps or lo is None or hi is None or type(advance) is not int:
            return self._read_periodic(field, rule)
        first, last = advance * taps[0], advance * taps[-1]
        # On a mirrored axis the last tap reads the first input.
        if advance < 0:
            first, last = last, first
        advance *= rule.advance
        if not -MAX_STRIDE < advance < MAX_STRIDE:
            return None
        return Field((Component(advance, (lo + first,), (hi + last,)),), *field[1:])

    def _read_periodic(self, field: Field, window: Window) -> Field | None:
        """Do the same for any field; equal questions are answered once."""
        if window == IDENTITY:
            return field
        self._taps += len(window.taps)
        key = (id(field), window)
        known = self._memo.get(key)
        if known is None:
            # The memo keeps the field alive, so that its id stays its own.
            known = self._memo[key] = (field, self._composed(field, window))
        return known[1]

    def _composed(self, field: Field, window: Window) -> Field | None:
        """Read every component through the window."""
        composed = [self._compose(component, window) for component in field.components]
        components = tuple(c for c in composed if any(lo is not None for lo in c.lo))
        if any(max(abs(c.stride.numerator), c.stride.denominator) >= MAX_STRIDE for c in components):
            return None
        return field._replace(components=components) if components else NOTHING

    def _compose(self, component: Component, window: Window) -> Component:
        """Read one component through a window, exactly if its period stays within bounds."""
        period = len(window.taps) * (len(component.lo) // math.gcd(window.advance, len(component.lo)))
        steps = period * min(2 * len(component.lo), max(map(len, window.taps)))
        if component.is_exact and self._allows(period, steps):
            return _through(component, window, period)
        return _line_through(bounded(component), window)

    def _allows(self, period: int, steps: int) -> bool:
        """Return whether a result of this period may be computed exactly, in so many steps."""
        if period == 1:
            return True
        self._work += steps
        return period <= MAX_PERIOD and self._work <= MAX_WORK

    def beside(self, first: Field, second: Field, extent: int, where: str) -> Field:
        """Return the field of an axis whose outputs belong to one of two pieces each; a bound unless they are alike."""
        if first is second or first == second:
            return first
        merged = self.merge(first, second, extent, where)
        key = (id(first), id(second))
        known = self._agreements.get(key)
        if known is None:
            if len(self._agreements) >= MAX_REMEMBERED:
                self._agreements.clear()
            known = self._agreements[key] = (first, second, self._agree(first, second))
        if known[2]:
            return merged
        # The hull over both is more than an output reads.
        return merged._replace(components=tuple(map(bounded, merged.components)))

    def _agree(self, first: Field, second: Field) -> bool:
        """Return whether no output has two different intervals."""
        components = first.components + second.components
        period = math.lcm(*(len(component.lo) for component in components))
        if not (first.is_exact and second.is_exact and self._allows(period, period)):
            return False
        advance, outputs = components[0].advance, len(components[0].lo)
        is_alike = all(each.advance * outputs == advance * len(each.lo) for each in components)
        pairs = ((first.at(residue), second.at(residue)) for residue in range(period))
        return all(a is None or b is None or (is_alike and a == b) for a, b in pairs)

    def merge(self, first: Field, second: Field, extent: int, where: str) -> Field:
        """Return the union of two branches that meet at node `where`, on an axis of `extent` outputs."""
        if first is second:
            return first
        one, other, *place, result = self._last_merge
        if first is not one or second is not other or place != [extent, where]:
            result = self._merge(first, second, extent, where)
            self._last_merge = (first, second, extent, where, result)
        return result

    def _merge(self, first: Field, second: Field, extent: int, where: str) -> Field:
        """Do the same without looking for the answer to the last question."""
        if len(first.components) == len(second.components) == 1:
            (one,), (other,) = first.components, second.components
            if one.advance == other.advance and len(one.lo) == len(other.lo) == 1 and one.is_exact and other.is_exact:
                return self._merged_lines(first, second)
        components = list(first.components)
        centred = first.centred and second.centred
        for component in second.components:
            place = next((i for i, c in enumerate(components) if _same_stride(c, component)), None)
            if place is None:
                components.append(component)
            else:
                centred = centred and _same_centre(components[place], component)
                components[place] = self._union(components[place], component)
        misaligned_at = first.misaligned_at or second.misaligned_at or (where if len(components) > 1 else None)
        if len(components) > MAX_COMPONENTS:
            components = [_collapsed(components, extent)]
        return Field(tuple(components), centred, misaligned_at, first.is_part and second.is_part)

    def _merged_lines(self, first: Field, second: Field) -> Field:
        """Return the union of two fields of one exact component of period 1 each and the same stride."""
        key = (id(first), id(second))
        known = self._lines.get(key)
        if known is None:
            if len(self._lines) >= MAX_REMEMBERED:
                self._lines.clear()
            known = self._lines[key] = (first, second, _merge_lines(first, second))
        return known[2]

    def _union(self, first: Component, second: Component) -> Component:
        """Return the hull of two components of one stride."""
        period = math.lcm(len(first.lo), len(second.lo))
        if first.is_exact and second.is_exact and self._allows(period, period):
            hulls = [hull((first.at(r), second.at(r))) for r in range(period)]
            return _component(first.advance * (period // len(first.lo)), hulls)
        (stride, (low,), (high,)), (_, (lo,), (hi,)) = bounded(first), bounded(second)
        return Component(stride, (min(low, lo),), (max(high, hi),))  # type: ignore[type-var]  # lines are never empty


def _merge_lines(first: Field, second: Field) -> Field:
    """Work out what `Algebra._merged_lines` remembers; the first field itself where the second adds nothing."""
    ((advance, (low,), (high,)),), ((_, (lo,), (hi,)),) = first.components, second.components
    if low is None or high is None or lo is None or hi is None:
        raise AssertionError("a component of period 1 reads something")
    centred = first.centred and second.centred and low + high == lo + hi
    hull = Component(advance, (low if low < lo else lo,), (high if high > hi else hi,))
    misaligned_at = first.misaligned_at or second.misaligned_at
    result = Field((hull,), centred, misaligned_at, first.is_part and second.is_part)
    return first if result == first else result


def _component(advance: Number, intervals: list[Interval | None]) -> Component:
    """Return the component with these intervals over one period, its period cut down to the shortest that fits."""
    lo = tuple(None if interval is None else interval[0] for interval in intervals)
    hi = tuple(None if interval is None else interval[1] for interval in intervals)
    shortened = True
    while len(lo) > 1 and shortened:
        shortened = False
        # A shorter period of any kind is also one by a prime factor of the period and of its advance.
        for parts in _prime_factors(math.gcd(len(lo), int(advance))):
            if _repeats(lo, int(advance), parts) and _repeats(hi, int(advance), parts):
                lo, hi, advance = lo[: len(lo) // parts], hi[: len(hi) // parts], int(advance) // parts
                shortened = True
    return Component(advance, lo, hi)


def _prime_factors(number: int) -> list[int]:
    factors = []
    for candidate in range(2, math.isqrt(number) + 1):
        if number % candidate == 0:
            factors.append(candidate)
            while number % candidate == 0:
                number //= candidate
    return [*factors, number] if number > 1 else factors


def _repeats(bounds: tuple[int | None, ...], advance: int, parts: int) -> bool:
    """Return whether each of `parts` equal parts of a period continues the one before."""
    step, shift = len(bounds) // parts, advance // parts
    return all((None if a is None else a + shift) == b for a, b in zip(bounds, bounds[step:]))


def _through(component: Component, window: Window, period: int) -> Component:
    """Read a component through a window: the hull over the taps of each residue."""
    intervals = []
    for index in range(period):
        turn, residue = divmod(index, len(window.taps))
        shift = turn * window.advance
        needed = _needed(window.taps[residue], len(component.lo))
        intervals.append(hull(component.at(tap + shift) for tap in needed))
    turns = period // len(window.taps)
    return _component(component.advance * (turns * window.advance) // len(component.lo), intervals)


def _needed(taps: range, period: int) -> Iterable[int]:
    """Return the first and last taps of each residue: the others lie between them."""
    return taps if len(taps) <= 2 * period else chain(taps[:period], taps[-period:])


def _line_through(bounds: Component, window: Window) -> Component:
    """Read a pair of lines through a window: the lines around the outermost taps."""
    slope, (lo,), (hi,) = bounds
    period, advance = len(window.taps), window.advance
    stride = Fraction(slope) * advance / period
    # Where the taps of residue r lie beside the line through the origin, in units of 1/period.
    ends = [tap * period - advance * r for r, taps in enumerate(window.taps) if taps for tap in (taps[0], taps[-1])]
    if not ends or lo is None or hi is None:
        return Component(stride, (None,), (None,))
    first, last = sorted(Fraction(slope) * end / period for end in (min(ends), max(ends)))
    return line(stride, lo + first, hi + last)


def _same_stride(first: Component, second: Component) -> bool:
    return first.advance * len(second.lo) == second.advance * len(first.lo)


def _same_centre(first: Component, second: Component) -> bool:
    """Return whether two components of one stride have the same centre, on average over a period.

    The average makes nothing of the half pixels by which a 2×2 transposed convolution's two phases differ.
    """
    period = math.lcm(len(first.lo), len(second.lo))
    if not (first.is_exact and second.is_exact) or period > MAX_PERIOD:
        # Unknown counts as equal: only a shift that is certain is reported.
        return True
    pairs = ((first.at(r), second.at(r)) for r in range(period))
    return sum(sum(a) - sum(b) for a, b in pairs if a is not None and b is not None) == 0


def _collapsed(components: list[Component], extent: int) -> Component:
    """Return two lines, with the first component's stride, around all components over the outputs 0 … extent − 1."""
    lines = [bounded(component) for component in components]
    stride = lines[0].stride
    # The distance of two straight lines is largest at one of the ends, so that two positions are enough.
    ends = [((pair.stride - stride) * index, pair) for pair in lines for index in (0, extent - 1)]
    lo = min(moved + pair.lo[0] for moved, pair in ends if pair.lo[0] is not None)
    hi = max(moved + pair.hi[0] for moved, pair in ends if pair.hi[0] is not None)
    return line(stride, Fraction(lo), Fraction(hi))
