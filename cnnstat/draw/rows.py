"""Rows: boxes one below the other and side by side, with the routes of tensors between them, from the inside out.

Rows are numbered; how high they are is found out later (`columns`). Along a row, 0 is the axis of a block, on which its
main chain of boxes stands. Between two rows there is a channel that no box reaches into, and to the right of all boxes
of a block there are rails, so that a route through channels and rails never meets a box.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from cnnstat.draw.parts import Part
from cnnstat.draw.scene import Box, Frame, Link, Scene

GAP = 28.0
"""Pixels between boxes that stand side by side."""
PADDING = 14.0
"""Pixels between a frame and what it holds."""
RAIL = 12.0
"""Pixels between rails."""
PORT = 26.0
"""Pixels between the middle of a box and where a route enters that must not meet the one from right above."""
MOST_ABREAST = 5
"""Most chains of boxes side by side."""


class Way(Enum):
    """How a route goes: straight down, with one bend in the channel below its source or above its target, by a rail."""

    STRAIGHT = "straight"
    BELOW_SOURCE = "below source"
    ABOVE_TARGET = "above target"
    RAIL = "rail"


@dataclass(eq=False)
class Place:
    """Where a box stands: its row and the middle of it, its width and height in pixels."""

    box: Box
    width: float
    height: float
    row: int = 0
    x: float = 0.0

    @property
    def left(self) -> float:
        """Its left edge."""
        return self.x - self.width / 2

    @property
    def right(self) -> float:
        """Its right edge."""
        return self.x + self.width / 2


@dataclass(eq=False)
class Route:
    """The way of a link; x: where a straight one runs, or the rail. leaves, enters: whether at the side of its box."""

    source: Place
    target: Place
    way: Way
    value: int
    x: float = 0.0
    leaves_side: bool = False
    enters_side: bool = False


@dataclass(eq=False)
class FramePlace:
    """Where a frame stands: its rows, the last one included, its sides, and the frame around it."""

    part: Part
    first: int
    last: int
    left: float
    right: float
    around: FramePlace | None = None


@dataclass(eq=False)
class Block:
    """What stands in a frame, or one box: so many rows, from `left` to `right`."""

    rows: int
    left: float
    right: float
    places: list[Place] = field(default_factory=list)
    routes: list[Route] = field(default_factory=list)
    frames: list[FramePlace] = field(default_factory=list)
    row: int = 0

    def shift(self, row: int, x: float) -> None:
        """Move everything down by rows and to the right by pixels."""
        self.row += row
        self.left += x
        self.right += x
        for place in self.places:
            place.row += row
            place.x += x
        for route in self.routes:
            route.x += x
        for frame in self.frames:
            frame.first += row
            frame.last += row
            frame.left += x
            frame.right += x


def arranged(scene: Scene, sizes: Sequence[tuple[float, float]]) -> Block:
    """Return all boxes in rows, with routes and frames; sizes: width and height of each box."""
    return _Arrangement(scene, sizes).block(scene.root)


class _Arrangement:
    """Puts the boxes of one scene in rows."""

    def __init__(self, scene: Scene, sizes: Sequence[tuple[float, float]]) -> None:
        self.places = [Place(box, *size) for box, size in zip(scene.boxes, sizes)]
        self.links: dict[int, list[tuple[int, int, Link]]] = defaultdict(list)
        """Links by the `id` of the innermost frame around both ends, with the places of these among its children."""
        paths: dict[int, list[tuple[int, int]]] = {}
        _walk(scene.root, [], paths)
        for link in scene.links:
            for one, other in zip(paths[link.source], paths[link.target]):
                if one != other:
                    self.links[one[0]].append((one[1], other[1], link))
                    break

    def block(self, child: Frame | Box) -> Block:
        """Return a box, or a frame with all that is in it."""
        if isinstance(child, Box):
            place = self.places[child.number]
            return Block(1, place.left, place.right, [place])
        children = [self.block(each) for each in child.children]
        links = self.links.get(id(child), [])
        rows = _stacked(children, {(source, target) for source, target, _ in links})
        block = Block(
            rows,
            min(each.left for each in children),
            max(each.right for each in children),
            [place for each in children for place in each.places],
            [route for each in children for route in each.routes],
            [frame for each in children for frame in each.frames],
        )
        _Router(block, children, [link for *_, link in links], self.places).run()
        if child.part is not None:
            _frame(block, child.part)
        return block


def _walk(frame: Frame, path: list[tuple[int, int]], paths: dict[int, list[tuple[int, int]]]) -> None:
    for index, child in enumerate(frame.children):
        here = [*path, (id(frame), index)]
        if isinstance(child, Box):
            paths[child.number] = here
        else:
            _walk(child, here, paths)


def _frame(block: Block, part: Part) -> None:
    block.left -= PADDING
    block.right += PADDING
    own = FramePlace(part, 0, block.rows - 1, block.left, block.right)
    for inner in block.frames:
        if inner.around is None:
            inner.around = own
    block.frames.append(own)


# Chains and levels ---------------------------------------------------------------------------------------------------


def _stacked(children: Sequence[Block], pairs: set[tuple[int, int]]) -> int:
    """Move the children of a frame to their rows, those that run in parallel side by side; return how many rows.

    pairs: which child reads which.
    """
    chains = _chains(len(children), pairs)
    row = 0
    for level in _levels(chains, pairs):
        for first in range(0, len(level), MOST_ABREAST):
            row += _side_by_side(
                [[children[index] for index in chain] for chain in level[first : first + MOST_ABREAST]], row
            )
    return row


def _chains(count: int, pairs: set[tuple[int, int]]) -> list[list[int]]:
    """Return children in chains: each member but the first reads only the one before, which nothing else reads."""
    readers: dict[int, list[int]] = defaultdict(list)
    read: dict[int, list[int]] = defaultdict(list)
    for source, target in pairs:
        readers[source].append(target)
        read[target].append(source)
    chains: list[list[int]] = []
    chain_of: dict[int, list[int]] = {}
    for index in range(count):
        before = read[index]
        if len(before) == 1 and len(readers[before[0]]) == 1:
            chain = chain_of[before[0]]
            chain.append(index)
        else:
            chain = [index]
            chains.append(chain)
        chain_of[index] = chain
    return chains


def _levels(chains: list[list[int]], pairs: set[tuple[int, int]]) -> list[list[list[int]]]:
    """Return chains by level: below all that each reads; what reads nothing just above its reader, and else last."""
    number = {index: place for place, chain in enumerate(chains) for index in chain}
    edges = {(number[a], number[b]) for a, b in pairs if number[a] != number[b]}
    before: dict[int, list[int]] = defaultdict(list)
    behind: dict[int, list[int]] = defaultdict(list)
    for source, target in edges:
        before[target].append(source)
        behind[source].append(target)
    # A chain is listed where its first member runs, which is before anything that reads it.
    level = [0] * len(chains)
    for place in sorted(range(len(chains)), key=lambda each: chains[each][0]):
        level[place] = 1 + max((level[each] for each in before[place]), default=-1)
    for place in range(len(chains)):
        if not before[place] and behind[place]:
            level[place] = max(level[place], min(level[each] for each in behind[place]) - 1)
    lowest = max(level)
    levels: dict[int, list[list[int]]] = defaultdict(list)
    for place, chain in enumerate(chains):
        is_alone = len(chain) == 1 and not before[place] and not behind[place]
        levels[lowest + 1 if is_alone else level[place]].append(chain)
    return [levels[each] for each in sorted(levels)]


def _side_by_side(chains: Sequence[Sequence[Block]], row: int) -> int:
    """Move chains of children to rows from `row` on; return how many rows they take."""
    lefts = [min(each.left for each in chain) for chain in chains]
    rights = [max(each.right for each in chain) for chain in chains]
    # Of two, the first keeps the axis and the other stands beside it, as a shortcut does; more are centred.
    width = sum(right - left for left, right in zip(lefts, rights)) + GAP * (len(chains) - 1)
    x = lefts[0] if len(chains) < 3 else -width / 2
    longest = 0
    for chain, left, right in zip(chains, lefts, rights):
        at = row
        for block in chain:
            block.shift(at, x - left)
            at += block.rows
        longest = max(longest, at - row)
        x += right - left + GAP
    return longest


# Routes --------------------------------------------------------------------------------------------------------------


class _Router:
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
