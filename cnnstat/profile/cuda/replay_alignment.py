"""Matching: which kernel of an ordinary pass each kernel of a CUDA-graph replay is, and so which row it works for.

A replay is one launch of many kernels, so that nothing in its records tells what launched them. But it runs what an
ordinary pass launches, in the same order; only where a library chooses its algorithm anew may the two differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cnnstat.profile.cuda.kineto_trace import Signature
from cnnstat.profile.cuda.launch_owners import Owner

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
    return Match(owners=tuple(owners), same=len(pairs), placed=placed, unmatched=len(replay) - len(pairs) - placed)


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
        history.append(dict(furthest))
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
