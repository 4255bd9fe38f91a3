"""Ownership: which row a launch works for, by the ranges that were open when it happened."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from cnnstat.profile.traces.kineto_trace import Launch, LayerRange, Operation, Signature, Stretch, Trace

_SKEW = 50_000
"""Nanoseconds by which a launch may lie outside the op that its External id names, since two clocks time them.

Where a launch belongs to no op, the trace gives its own correlation as External id, which can be any op's too.
"""


class Owner(NamedTuple):
    """A row, and whether the work is part of its backward pass."""

    row: int
    backward: bool


class LaunchOwners:
    """Tells the row of every launch of one trace."""

    def __init__(self, trace: Trace) -> None:
        self._operations = {
            operation.external_id: operation for operation in trace.operations if operation.external_id is not None
        }
        self._timelines = _timelines(trace)

    def owner(self, launch: Launch) -> Owner | None:
        """Return whom a launch works for; None where no row was running."""
        operation = self._operation(launch)
        if operation is not None:
            return self._at(operation.thread, operation.start)
        return self._at(launch.thread, launch.start)

    def _operation(self, launch: Launch) -> Operation | None:
        """Return the op that a launch names, if it can be that one."""
        if launch.operation is None or launch.operation == launch.correlation:
            return None
        operation = self._operations.get(launch.operation)
        if operation is None or not operation.start - _SKEW <= launch.start <= operation.end + _SKEW:
            return None
        return operation

    def _at(self, thread: int, time: int) -> Owner | None:
        timeline = self._timelines.get(thread)
        work = timeline.at(time) if timeline else None
        return work.owner if work else None


_Stretch = TypeVar("_Stretch", bound=Stretch)
_Value = TypeVar("_Value")


class Innermost(Generic[_Value]):
    """One thread's time, cut where the innermost open range changes: what that range stands for at each moment."""

    def __init__(self, ranges: Iterable[_Stretch], value: Callable[[_Stretch, _Value | None], _Value]) -> None:
        """Take the time of ranges; value: returns what one stands for, from it and from the one around it."""
        self._times: list[int] = []
        self._values: list[_Value | None] = []
        self._open: list[tuple[int, _Value]] = []
        # Of two ranges that start together the one that ends later is the outer one, and is opened first.
        for each in sorted(ranges, key=lambda each: (each.start, -each.end)):
            self._close(each.start)
            self._open.append((each.end, value(each, self._open[-1][1] if self._open else None)))
            self._cut(each.start)
        self._close(max((end for end, _ in self._open), default=0))

    def _close(self, time: int) -> None:
        while self._open and self._open[-1][0] <= time:
            end, _ = self._open.pop()
            # A child that two clocks let outlive its parent must not make time run backwards.
            self._cut(max(end, self._times[-1]))

    def _cut(self, time: int) -> None:
        self._times.append(time)
        self._values.append(self._open[-1][1] if self._open else None)

    def at(self, time: int) -> _Value | None:
        """Return what the innermost range at a moment stands for; a range has the moment at which it starts."""
        place = bisect_right(self._times, time)
        return self._values[place - 1] if place else None


class _Work(NamedTuple):
    """What runs in a range: whom it is for, and whether it is part of a backward pass."""

    owner: Owner | None
    backward: bool


def _timelines(trace: Trace) -> dict[int, Innermost[_Work]]:
    """Return the time of every thread that ran a layer or a backward op."""
    ranges: dict[int, list[LayerRange | Operation]] = {}
    for layer_range in trace.layer_ranges:
        ranges.setdefault(layer_range.thread, []).append(layer_range)
    marked = {thread: _timeline(own_ranges, {}) for thread, own_ranges in ranges.items()}
    # Forward ranges first: a backward op belongs to the row whose forward op made its autograd node.
    makers = _makers(trace, marked)
    for operation in trace.operations:
        if _accumulates(operation) or (operation.forward_thread > 0 and operation.sequence is not None):
            ranges.setdefault(operation.thread, []).append(operation)
    return {thread: _timeline(own_ranges, makers) for thread, own_ranges in ranges.items()}


def _makers(trace: Trace, marked: dict[int, Innermost[_Work]]) -> dict[int, int]:
    """Return the row of the forward op that made each node of the autograd graph, by sequence number.

    An op that makes no node shows the number of the next one that does, so that the last op with a number is the maker.
    """
    makers: dict[int, Operation] = {}
    for operation in trace.operations:
        if operation.sequence is not None and operation.forward_thread == 0 and operation.thread in marked:
            makers[operation.sequence] = operation
    work = {number: marked[maker.thread].at(maker.start) for number, maker in makers.items()}
    return {number: each.owner.row for number, each in work.items() if each is not None and each.owner is not None}


def _accumulates(operation: Operation) -> bool:
    return "AccumulateGrad" in operation.name


def _timeline(ranges: Iterable[LayerRange | Operation], makers: dict[int, int]) -> Innermost[_Work]:
    """Return the owners of one thread's time; makers: rows of autograd's nodes by sequence number."""
    latest: Owner | None = None

    def work(each: LayerRange | Operation, around: _Work | None) -> _Work:
        nonlocal latest
        if isinstance(each, LayerRange):
            backward = around is not None and around.backward
            return _Work(Owner(each.row, backward) if each.row >= 0 else None, backward)
        # The engine adds a gradient right after the node whose gradient it is, so that this is that one's work.
        if not _accumulates(each):
            row = makers.get(each.sequence) if each.sequence is not None else None
            latest = None if row is None else Owner(row, True)
        return _Work(latest, True)

    return Innermost(ranges, work)


_MOST_EDITS = 2000
"""Differences after which two sequences count as unrelated; the search takes time and room quadratic in them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Owners of the kernels of a replay, in their order.

    same: kernels found in the ordinary pass; placed: others that stand where only kernels of one row do;
    unmatched: the rest, which have no owner.
    """

    owners: tuple[Owner | None, ...]
    same: int
    placed: int
    unmatched: int


def match(replay: Sequence[Signature], ordinary: Sequence[tuple[Signature, Owner | None]]) -> Match:
    """Return the owners of the kernels of a replay from those of an ordinary pass, both in order of launch."""
    pairs = common(replay, [signature for signature, _ in ordinary])
    owners: list[Owner | None] = [None] * len(replay)
    for here, there in pairs:
        owners[here] = ordinary[there][1]
    placed = 0
    for (before, after), (first, last) in _holes(pairs, len(replay), len(ordinary)):
        candidates = {owner for _, owner in ordinary[first:last]} or {_neighbour(ordinary, first)}
        owner = next(iter(candidates)) if len(candidates) == 1 else None
        if owner is not None:
            owners[before:after] = [owner] * (after - before)
            placed += after - before
        else:
            placed += _give_fills(replay, owners, before, after)
    return Match(owners=tuple(owners), same=len(pairs), placed=placed, unmatched=len(replay) - len(pairs) - placed)


def _give_fills(replay: Sequence[Signature], owners: list[Owner | None], before: int, after: int) -> int:
    """Give fills that no ordinary pass has to the kernel behind them, which they prepare memory for; return how many.

    Libraries fill the workspace of a matrix product so; an ordinary pass may have no record of it.
    """
    count = 0
    for place in range(min(after, len(owners) - 1) - 1, before - 1, -1):
        if replay[place].name.startswith("Memset") and owners[place + 1] is not None:
            owners[place] = owners[place + 1]
            count += 1
    return count


def _neighbour(ordinary: Sequence[tuple[Signature, Owner | None]], place: int) -> Owner | None:
    """Return whom the kernels on both sides of a place work for; None if they work for two."""
    sides = {ordinary[index][1] for index in (place - 1, place) if 0 <= index < len(ordinary)}
    return sides.pop() if len(sides) == 1 else None


def _holes(pairs: Sequence[tuple[int, int]], here: int, there: int) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Return the stretches of the replay without a partner, and those of the ordinary pass in their place."""
    ends = [(-1, -1), *pairs, (here, there)]
    return [
        ((left[0] + 1, right[0]), (left[1] + 1, right[1]))
        for left, right in zip(ends, ends[1:])
        if right[0] - left[0] > 1
    ]


def common(first: Sequence[Signature], second: Sequence[Signature]) -> list[tuple[int, int]]:
    """Return a longest common subsequence as pairs of places, ascending.

    Myers' greedy search (Algorithmica 1, 1986): time and room grow with the number of differences, not the lengths.
    Two sequences with too many differences have only their common beginning and end matched.
    """
    # A replay nearly always equals the ordinary pass, so that the search is left with a few kernels, if any.
    head = 0
    while head < min(len(first), len(second)) and first[head] == second[head]:
        head += 1
    tail = 0
    while tail < min(len(first), len(second)) - head and first[-1 - tail] == second[-1 - tail]:
        tail += 1
    pairs = [(place, place) for place in range(head)]
    middle = _middle(first[head : len(first) - tail], second[head : len(second) - tail])
    pairs += [(head + here, head + there) for here, there in middle]
    pairs += [(len(first) - tail + place, len(second) - tail + place) for place in range(tail)]
    return pairs


def _middle(first: Sequence[Signature], second: Sequence[Signature]) -> list[tuple[int, int]]:
    """Return a longest common subsequence of what common beginning and end leave over."""
    if not first or not second:
        return []
    furthest = {1: 0}
    history: list[dict[int, int]] = []
    for edits in range(min(len(first) + len(second), _MOST_EDITS) + 1):
        # Kept round by round: the furthest places give only the length of a path, and the walk back needs its steps.
        history.append(dict(furthest))
        # Every edit changes the diagonal by one, so that after `edits` of them only every second one is reachable.
        for diagonal in range(-edits, edits + 1, 2):
            here = _step(furthest, diagonal, edits)
            while here < len(first) and here - diagonal < len(second) and first[here] == second[here - diagonal]:
                here += 1
            furthest[diagonal] = here
            if here >= len(first) and here - diagonal >= len(second):
                return _walk_back(history, len(first), len(second))
    return []


def _step(furthest: dict[int, int], diagonal: int, edits: int) -> int:
    """Return where a path on this diagonal starts after one more difference."""
    if diagonal == -edits or (diagonal != edits and furthest[diagonal - 1] < furthest[diagonal + 1]):
        return furthest[diagonal + 1]
    return furthest[diagonal - 1] + 1


def _walk_back(history: list[dict[int, int]], here: int, there: int) -> list[tuple[int, int]]:
    """Return the pairs on the path that the search found, from its record of the furthest places."""
    pairs = []
    for edits in range(len(history) - 1, -1, -1):
        furthest, diagonal = history[edits], here - there
        down = diagonal == -edits or (diagonal != edits and furthest[diagonal - 1] < furthest[diagonal + 1])
        before = diagonal + 1 if down else diagonal - 1
        from_here = furthest[before]
        from_there = from_here - before
        while here > from_here and there > from_there:
            here, there = here - 1, there - 1
            pairs.append((here, there))
        here, there = from_here, from_there
    return pairs[::-1]
