"""Lanes: routes that run the same way side by side, so that no two lie on one another."""

from __future__ import annotations

from collections.abc import Hashable, Sequence


def lanes_of(notes: Sequence[tuple[Hashable, float, float]]) -> dict[Hashable, int]:
    """Return a lane for each key, so that no two that overlap have the same; short ones get the first."""
    spans: dict[Hashable, tuple[float, float]] = {}
    for key, first, last in notes:
        before = spans.get(key, (first, last))
        spans[key] = min(first, before[0]), max(last, before[1])
    lanes: list[list[tuple[float, float]]] = []
    lane_of: dict[Hashable, int] = {}
    for key, (first, last) in sorted(spans.items(), key=lambda item: item[1][1] - item[1][0]):
        for number, taken in enumerate(lanes):
            if all(last < other_first - 2 or first > other_last + 2 for other_first, other_last in taken):
                taken.append((first, last))
                lane_of[key] = number
                break
        else:
            lanes.append([(first, last)])
            lane_of[key] = len(lanes) - 1
    return lane_of
