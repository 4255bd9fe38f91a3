"""Coordinates: how a tensor's positions follow an input axis where views have split, merged or reordered its axes.

A map of 56×56 cut into windows of 7×7 is a tensor of 64 × 49 × C: its rows are spread over two axes, as the digits of a
number are. A coordinate keeps these digits, so that attention inside windows, space-to-depth and a map flattened to
tokens stay exact, and the way back gives the rows again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

from cnnstat.analysis.receptive_field.intervals import Algebra, Component, Field, Interval, bounded, line
from cnnstat.ir.op import Shape
from cnnstat.ir.window import IDENTITY, MAX_PERIOD, Window, leaves_out, shift_of

MAX_COORDINATES = 4
"""Most coordinates of one input axis in one tensor; scores of attention have two, one of queries and one of keys."""


class Digit(NamedTuple):
    """One digit of an index: `(i // unit) % extent` for index i of tensor axis `place`, each step worth `weight`.

    is_layer: whether it numbers maps that were stacked, which are no neighbours.
    start, span: where other tokens stand beside those of a map (a class token), the index is counted from `start` on,
    and the `span` indices from there alone depend on the input; 0 where all of the axis does.
    """

    place: int
    unit: int
    extent: int
    weight: int
    start: int = 0
    span: int = 0
    is_layer: bool = False

    @property
    def key(self) -> tuple[int, ...]:
        """All but the weight: which digit of which axis it is."""
        return (self.place, self.unit, self.extent, self.start, self.span)

    def value(self, index: int) -> int | None:
        """Return the digit of an index; None where nothing of the input stands."""
        index -= self.start
        return None if self.span and not 0 <= index < self.span else (index // self.unit) % self.extent


class Coordinate(NamedTuple):
    """How a tensor follows one input axis: index o = Σ weight · digit depends on the inputs of `field` at o.

    digits: heaviest first; the weights are those of a mixed radix, so that o counts 0, 1, 2, … without gaps. None for a
        single position, of which the field is one interval.
    field: None where the positions are somewhere on the axes of `lost` (a bit mask) and cannot be followed further.
    """

    axis: int
    field: Field | None
    digits: tuple[Digit, ...] = ()
    lost: int = 0

    @property
    def extent(self) -> int:
        """Number of different indices o."""
        return math.prod(digit.extent for digit in self.digits)

    @property
    def stride(self) -> Fraction | None:
        """Inputs between neighbouring positions on average."""
        assert self.field is not None
        layers = math.prod(digit.extent for digit in self.digits if digit.is_layer)
        return self.field.stride and self.field.stride * layers

    @property
    def places(self) -> int:
        """Tensor axes that hold its digits, as a bit mask."""
        mask = self.lost
        for digit in self.digits:
            mask |= 1 << digit.place
        return mask

    def place_in(self, shape: Shape) -> int | None:
        """Return the tensor axis whose index is o, if it is as simple as that."""
        place = self.digits[0].place if self.digits else 0
        return place if self.digits == (Digit(place, 1, shape[place], 1),) else None

    def at(self, position: Mapping[int, int]) -> Interval | None:
        """Return the first and last input that a position depends on, which is given by tensor axis; None if none."""
        values = [digit.value(position[digit.place]) for digit in self.digits]
        if self.field is None or None in values:
            return None
        return self.field.at(sum(value * digit.weight for value, digit in zip(values, self.digits) if value))

    def unfollowed(self, places: int | None = None) -> Coordinate:
        """Return the same with its positions lost, on its own axes or on others."""
        return Coordinate(self.axis, None, (), self.places if places is None else places)

    def without(self, place: int, algebra: Algebra, position: int | None = None) -> Coordinate:
        """Return what remains where an op reads tensor axis `place` at one position: its digits have one value each.

        position: None where it reads all of the axis, and with it every index of its digits at once.
        """
        rest, field = self, self.field
        for digit in self.digits:
            if digit.place != place or field is None:
                continue
            weight = next(other.weight for other in rest.digits if other.key == digit.key)
            # Heavier digits count in steps that contained the lost one; without it their weights shrink by its extent.
            digits = tuple(
                other._replace(weight=other.weight // digit.extent) if other.weight > weight else other
                for other in rest.digits
                if other.key != digit.key
            )
            value = None if position is None else digit.value(position)
            field = _read(field, _spanning(weight, digit.extent, value), algebra)
            if field is not None and position is not None:
                field = field._replace(is_part=True)
            rest = Coordinate(self.axis, field, digits)
        if field is None:
            return self.unfollowed(self.places & ~(1 << place))
        return rest if rest.digits else rest.fixed()

    def bounded(self) -> Coordinate:
        """Return the same where less may be read."""
        if self.field is None:
            return self
        return self._replace(field=self.field._replace(components=tuple(map(bounded, self.field.components))))

    def fixed(self) -> Coordinate:
        """Return the same of a single position, with its interval as the field of all outputs."""
        interval = None if self.field is None else self.field.at(0)
        if self.field is None or interval is None:
            return self
        is_exact = self.field.is_exact
        # A Fraction marks a bound.
        component = Component(0 if is_exact else Fraction(0), interval[:1], interval[1:])
        return self._replace(field=Field((component,), is_part=self.field.is_part))

    def is_absent(self, place: int, position: int) -> bool:
        """Return whether nothing of the input stands at one position of a tensor axis."""
        return any(digit.place == place and digit.value(position) is None for digit in self.digits)

    def is_cut(self, place: int, size: int) -> bool:
        """Return whether a tensor axis of `size` indices has not all of the indices that its digits are counted by."""
        return any(d.place == place and d.span and (d.start < 0 or d.start + d.span > size) for d in self.digits)

    def _shifted(self, place: int, by: int, length: int, size: int) -> Coordinate | None:
        """Return the same where a tensor axis of `length` indices lies from index `by` on along one of `size`.

        None where it lies outside: nothing of it is read.
        """
        digits = []
        for digit in self.digits:
            if digit.place == place:
                start, span = digit.start + by, digit.span or length
                if start + span <= 0 or start >= size:
                    return None
                is_plain = (start, span) == (0, size)
                digit = digit._replace(start=0 if is_plain else start, span=0 if is_plain else span)
            digits.append(digit)
        return self._replace(digits=tuple(digits))

    def moved(self, place: int, target: int) -> Coordinate:
        """Return the same with the digits of one tensor axis on another."""
        return self._replace(digits=tuple(d._replace(place=target) if d.place == place else d for d in self.digits))

    def through(
        self, place: int, window: Window, length: int, size: int, algebra: Algebra, *, ends: bool = False
    ) -> Coordinate | None:
        """Return the coordinate behind a window along tensor axis `place`, which had `length` indices and has `size`.

        None where nothing of it is read. Exact where a digit is the axis, alone, or where the axis has all digits.
        Along the heaviest digit, borders are not clipped; along another, a window ends with the part that the digit
        counts, as that of a convolution inside windows of attention does, and so it does on a flattened map.
        ends: whether it ends with the axis in any case.
        """
        if self.field is None:
            return self.unfollowed()
        own = [digit for digit in self.digits if digit.place == place]
        is_alone = len(own) == 1 and own[0].key == Digit(place, 1, length, 1).key
        if not is_alone and (by := shift_of(window)) is not None:
            return self._shifted(place, by, length, size)
        if not is_alone:
            filled = self.filled(length, algebra, repeats=True)
            if filled is self:
                return self._anywhere(place, window, algebra)
            return filled.through(place, window, length, size, algebra, ends=True)
        (digit,) = own
        weight, is_first = digit.weight, digit is self.digits[0] and not ends
        if weight * (len(window.taps) if is_first else size) > MAX_PERIOD:
            return self.unfollowed()
        # Digits below the axis move along unchanged: a tap of the axis is one tap for each value they have.
        if is_first:
            ranges, advance = list(window.taps), window.advance
        else:
            ranges, advance = [_clipped(window, index, length) for index in range(size)], length
        taps = [
            range(t.start * weight + low, t.start * weight + low + len(t) * t.step * weight, t.step * weight)
            for t in ranges
            for low in range(weight)
        ]
        field = algebra.read(self.field, Window(tuple(taps), advance * weight))
        if field is None:
            return self.unfollowed()
        if leaves_out(window, length, size):
            field = field._replace(is_part=True)
        # Heavier digits count in steps of the whole axis, which has another length now.
        digits = (
            other._replace(weight=other.weight // length * size) if other.weight > weight else other
            for other in self.digits
        )
        return Coordinate(self.axis, field, tuple(d._replace(extent=size) if d.place == place else d for d in digits))

    def _anywhere(self, place: int, window: Window, algebra: Algebra) -> Coordinate:
        """Return the same where a window along a tensor axis may meet all values of its digits; others count on.

        Exact where every window meets them all, as one over two or more of interleaved columns does; else a bound.
        """
        own = [digit for digit in self.digits if digit.place == place]
        if len(own) == len(self.digits) or any(digit.span for digit in own):
            return self.unfollowed()
        rest = self.without(place, algebra)
        needed = own[0].unit * (own[0].extent - 1) + 1
        if rest.field is None or (len(own) == 1 and all(t.step == 1 and len(t) >= needed for t in window.taps)):
            return rest
        return rest.bounded()

    def reshaped(self, before: Shape, after: Shape) -> Coordinate:
        """Return the same where the elements keep their row-major order under another shape."""
        old, new = _strides(before), _strides(after)
        if self.field is None:
            spans = [(old[p], old[p] * before[p]) for p in range(len(before)) if self.lost >> p & 1]
            places = [
                place
                for place, (step, size) in enumerate(zip(new, after))
                if any(max(low, step) < min(high, step * size) for low, high in spans)
            ]
            return self.unfollowed(sum(1 << place for place in places))
        digits: list[Digit] = []
        for place, unit, extent, weight, start, span, is_layer in self.digits:
            if span:
                # Other tokens stand beside the map's: the axis must stay as it is.
                target = next((t for t in range(len(after)) if (new[t], after[t]) == (old[place], before[place])), None)
                if target is None:
                    return self.unfollowed(self._overlapping(old, new, after))
                digits.append(Digit(target, unit, extent, weight, start, span, is_layer))
                continue
            low = unit * old[place]
            high, covered = low * extent, 1
            # From the last axis, where the stride is 1, so that the lightest part of a digit is found first.
            for target in range(len(after) - 1, -1, -1):
                first, end = max(low, new[target]), min(high, new[target] * after[target])
                if first >= end:
                    continue
                # A new axis cuts the digit in between: its parts are no digits any more.
                if first % low or first % new[target] or end % first or first != low * covered:
                    return self.unfollowed(self._overlapping(old, new, after))
                digits.append(Digit(target, first // new[target], end // first, weight * covered, 0, 0, is_layer))
                covered *= end // first
            if covered != extent:
                return self.unfollowed(self._overlapping(old, new, after))
        return self._replace(digits=_joined(digits))

    def _overlapping(self, old: Sequence[int], new: Sequence[int], after: Shape) -> int:
        """Return the axes of a new shape that hold some of its digits, as a bit mask."""
        spans = [(d.unit * old[d.place], (d.span or d.unit * d.extent) * old[d.place]) for d in self.digits]
        return sum(
            1 << target
            for target, (step, size) in enumerate(zip(new, after))
            if any(max(low, step) < min(high, step * size) for low, high in spans)
        )

    def filled(self, size: int, algebra: Algebra, *, repeats: bool = False) -> Coordinate:
        """Return the same with one digit that is the index of its tensor axis, which has `size` indices.

        That is so of a map behind depth-to-space: its rows are counted by two digits of which only one is followed.
        repeats: whether the pattern may repeat along the axis, as it does where heavier digits were summed over.
        """
        first = self.digits[0]
        places = {digit.place for digit in self.digits}
        if first.span:
            return self
        # What is above the last digit repeats the pattern.
        turn = max(digit.unit * digit.extent for digit in self.digits)
        if len(places) > 1 or self.field is None or (turn != size and not repeats):
            return self
        if first == Digit(first.place, 1, size, 1):
            return self
        digits, period, advance = self.digits[1:], first.unit, first.weight
        if turn != size or turn != first.unit * first.extent:
            # Rows in another order have no shorter period than all of them.
            digits, period, advance = self.digits, turn, self.extent if turn == size else 0
        if period > MAX_PERIOD:
            return self
        indices = (sum((i // d.unit) % d.extent * d.weight for d in digits) for i in range(period))
        field = algebra.read(self.field, Window(tuple(range(o, o + 1) for o in indices), advance))
        return self.unfollowed() if field is None else Coordinate(self.axis, field, (Digit(first.place, 1, size, 1),))

    def layered(self, place: int, position: int, count: int, algebra: Algebra) -> Coordinate:
        """Return the same of a tensor that lies at one of `count` positions of a new axis, beside others."""
        if self.field is None or count > MAX_PERIOD:
            return self.unfollowed(self.places | 1 << place)
        taps = tuple(range(index == position) for index in range(count))
        field = algebra.read(self.field, Window(taps, 1))
        if field is None:
            return self.unfollowed(self.places | 1 << place)
        digits = (digit._replace(weight=digit.weight * count) for digit in self.digits)
        return Coordinate(self.axis, field, (*digits, Digit(place, 1, count, 1, is_layer=True)))

    def lifted(self, finer: Coordinate, algebra: Algebra) -> Coordinate | None:
        """Return the same on the digits of `finer`, which has all of its own; None where it has not."""
        own = {digit.key for digit in self.digits}
        result, weight = self, 1
        for digit in reversed(finer.digits):
            if digit.key not in own:
                if result.field is None or weight * digit.extent > MAX_PERIOD:
                    return None
                field = algebra.read(result.field, _repeating(weight, digit.extent))
                if field is None:
                    return None
                result = result._replace(field=field)
            weight *= digit.extent
        digits = [digit.key for digit in finer.digits if digit.key in own]
        if digits != [digit.key for digit in self.digits]:
            return None
        return result._replace(digits=finer.digits)


def plain(axis: int, field: Field, place: int, size: int) -> Coordinate:
    """Return the coordinate of a tensor axis whose index is that of the input axis."""
    return Coordinate(axis, field, (Digit(place, 1, size, 1),))


def united(coordinates: Sequence[Coordinate], algebra: Algebra, where: str, *, apart: bool) -> list[Coordinate]:
    """Return the coordinates of one input axis that one tensor has from several sources, as few as say the same.

    apart: whether each position is of one of the sources, so that all of them together are a bound.
    """
    merge = algebra.beside if apart else algebra.merge
    if any(coordinate.field is None for coordinate in coordinates):
        lost = 0
        for coordinate in coordinates:
            lost |= coordinate.places
        return [coordinates[0].unfollowed(lost)]
    result: list[Coordinate] = []
    # The finest first: coarser ones can be lifted to its digits, but not the reverse.
    for coordinate in sorted(coordinates, key=lambda c: -len(c.digits)):
        for number, finer in enumerate(result):
            same = coordinate.lifted(finer, algebra)
            if same is not None and same.field is not None and finer.field is not None:
                field = merge(finer.field, same.field, finer.extent, where)
                result[number] = finer._replace(field=field) if finer.digits else finer._replace(field=field).fixed()
                break
        else:
            result.append(coordinate)
    if len(result) > MAX_COORDINATES:
        lost = 0
        for coordinate in result:
            lost |= coordinate.places
        return [result[0].unfollowed(lost)]
    return result


def stacked(coordinates: list[Coordinate], output: Shape) -> list[Coordinate]:
    """Return single positions that were put one behind another along an axis as one coordinate of that axis.

    Exact where their intervals move on evenly, otherwise a bound. Where they do not fill the axis, they stay single.
    """
    layers = {each.digits[0].start: each for each in coordinates if each.digits and each.digits[0].extent == 1}
    if not layers or any(len(each.digits) != 1 or each.digits[0].span != 1 for each in layers.values()):
        return coordinates
    others = [each for each in coordinates if not each.digits or each.digits[0].extent != 1]
    first = layers[min(layers)]
    place = first.digits[0].place
    ends = [layers[n].field.at(0) if n in layers else None for n in range(output[place])]  # type: ignore[union-attr]
    known = [interval for interval in ends if interval is not None]
    if others or len(known) < len(ends) or any(each.digits[0].place != place for each in layers.values()):
        return [*others, *(each._replace(digits=()) for each in layers.values())]
    lows, highs = zip(*known)
    step = Fraction(sum(known[-1]) - sum(known[0]), 2 * max(1, len(known) - 1))
    low, high = min(lo - step * n for n, lo in enumerate(lows)), max(hi - step * n for n, hi in enumerate(highs))
    is_even = step.denominator == 1 and all(
        (lo, hi) == (low + step * n, high + step * n) for n, (lo, hi) in enumerate(known)
    )
    is_exact = is_even and all(each.field is not None and each.field.is_exact for each in layers.values())
    component = Component(int(step), (int(low),), (int(high),)) if is_exact else line(step, low, high)
    return [Coordinate(first.axis, Field((component,), is_part=True), (Digit(place, 1, len(ends), 1),))]


def beside_position(spread: Coordinate, single: Coordinate, algebra: Algebra, where: str) -> Coordinate:
    """Return the coordinate of a map that is merged with a single position, which all of its outputs read."""
    position = single.fixed().field
    if spread.field is None or position is None:
        return spread
    return spread._replace(field=algebra.merge(spread.field, position, spread.extent, where))


def _read(field: Field, window: Window | None, algebra: Algebra) -> Field | None:
    """Return a field read through a window; None where either is too much to follow."""
    return None if window is None else algebra.read(field, window)


def _spanning(weight: int, extent: int, value: int | None = None) -> Window | None:
    """Return the window by which an index without one digit reads all values of that digit, or one."""
    if weight > MAX_PERIOD:
        return None
    first, count = (0, extent) if value is None else (value * weight, 1)
    return Window(
        tuple(range(low + first, low + first + weight * count, weight) for low in range(weight)), weight * extent
    )


def _clipped(window: Window, index: int, length: int) -> range:
    """Return what an output reads through a window of an axis of `length` indices, without what lies outside."""
    turn, residue = divmod(index, window.period)
    taps, shift = window.taps[residue], turn * window.advance
    inside = [tap + shift for tap in taps if 0 <= tap + shift < length]
    return range(inside[0], inside[-1] + 1, taps.step) if inside else range(0)


def _repeating(weight: int, extent: int) -> Window:
    """Return the window by which an index with a digit more reads one without it."""
    if weight * extent == 1:
        return IDENTITY
    return Window(tuple(range(low, low + 1) for _ in range(extent) for low in range(weight)), weight)


def _strides(shape: Shape) -> list[int]:
    """Return how many elements one step along each axis passes in row-major order."""
    strides = [1] * len(shape)
    for place in range(len(shape) - 2, -1, -1):
        strides[place] = strides[place + 1] * shape[place + 1]
    return strides


def _joined(digits: Sequence[Digit]) -> tuple[Digit, ...]:
    """Return digits, heaviest first, those that are neighbours on one axis as one."""
    joined: list[Digit] = []
    for digit in sorted(digits, key=lambda d: d.weight):
        below = joined[-1] if joined else None
        if (
            below is not None
            and below.place == digit.place
            and (below.start, below.span) == (digit.start, digit.span)
            and digit.unit == below.unit * below.extent
            and digit.weight == below.weight * below.extent
        ):
            is_layer = below.is_layer and digit.is_layer
            joined[-1] = below._replace(extent=below.extent * digit.extent, is_layer=is_layer)
        else:
            joined.append(digit)
    return tuple(reversed(joined))
