"""Routes: the ways of tensors between the children of one frame, through channels and by rails, side by side."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence

from cnnstat.draw.places import PORT, Block, Place, Route, Way
from cnnstat.draw.scene import Link

RAIL = 12.0
"""Pixels between rails."""


class Router:
    """Finds the ways of the links between the children of one frame."""

    def __init__(self, block: Block, children: Sequence[Block], links: Sequence[Link], places: Sequence[Place]) -> None:
        self.block, self.links, self.places = block, links, places
        self.out_of = Counter(link.source for link in links)
        self.into = Counter(link.target for link in links)
        self.in_row: list[list[Place]] = [[] for _ in range(block.rows)]
        for place in block.places:
            self.in_row[place.row].append(place)
        self.extents: list[list[tuple[float, float]]] = [[] for _ in range(block.rows)]
        self.rightmost = [block.left] * block.rows
        for child in children:
            for row in range(child.row, child.row + child.rows):
                self.extents[row].append((child.left, child.right))
                self.rightmost[row] = max(self.rightmost[row], child.right)

    def run(self) -> None:
        """Add a route for each link to the block, and widen it where rails need room."""
        linked = {(link.source, link.target) for link in self.links}
        by_source: dict[int, list[Link]] = defaultdict(list)
        for link in self.links:
            route = self._direct(self.places[link.source], self.places[link.target], link.value, linked)
            if route is None:
                by_source[link.source].append(link)
            else:
                self.block.routes.append(route)
        # Short rails stand next to the boxes and longer ones outside, so that they cross as little as can be.
        nets = sorted(by_source.values(), key=lambda net: (self._span(net), net[0].source))
        for net in nets:
            self._add_rail(net)

    def _span(self, net: Sequence[Link]) -> int:
        return max(self.places[link.target].row for link in net) - self.places[net[0].source].row

    def _direct(self, source: Place, target: Place, value: int, linked: set[tuple[int, int]]) -> Route | None:
        """Return a route without a rail; None where something is in the way."""
        between = range(source.row + 1, target.row)
        if abs(source.x - target.x) < 1 and self._is_free(source.x, between):
            return Route(source, target, Way.STRAIGHT, value, source.x)
        entry = self._entry(source, target, linked)
        is_fork = self.out_of[source.box.number] > self.into[target.box.number]
        if self._is_free(source.x, between) and (between or not is_fork):
            return Route(source, target, Way.ABOVE_TARGET, value, entry)
        if self._is_free(entry, between):
            return Route(source, target, Way.BELOW_SOURCE, value, entry)
        return None

    def _entry(self, source: Place, target: Place, linked: set[tuple[int, int]]) -> float:
        """Return where a route with a bend enters its target from above: not below a box that is not read there."""
        above = [place for place in self.in_row[target.row - 1] if place.left <= target.x <= place.right]
        if all((place.box.number, target.box.number) in linked for place in above):
            return target.x
        return target.x + (PORT if source.x > target.x else -PORT)

    def _is_free(self, x: float, rows: Iterable[int]) -> bool:
        return not any(left - 4 <= x <= right + 4 for row in rows for left, right in self.extents[row])

    def _add_rail(self, net: Sequence[Link]) -> None:
        """Add the routes of one source by one rail, which stands to the right of all that it passes."""
        source = self.places[net[0].source]
        targets = [self.places[link.target] for link in net]
        first, last = source.row, max(place.row for place in targets)
        x = max(self.rightmost[first : last + 1]) + RAIL
        for row in range(first, last + 1):
            self.rightmost[row] = x
        self.block.right = max(self.block.right, x)
        leaves_side = self._is_rightmost(source)
        for link, target in zip(net, targets):
            enters_side = self._is_rightmost(target)
            self.block.routes.append(
                Route(source, target, Way.RAIL, link.value, x, leaves_side=leaves_side, enters_side=enters_side)
            )

    def _is_rightmost(self, place: Place) -> bool:
        return all(other is place or other.x < place.x for other in self.in_row[place.row])


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
