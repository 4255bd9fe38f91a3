"""Rows: boxes one below the other and side by side, with the routes of tensors between them, from the inside out.

Rows are numbered; how high they are is found out later (`page_layout`). Along a row, 0 is the axis of a block, on which
its main chain of boxes stands. Between two rows there is a channel that no box reaches into, and to the right of all
boxes of a block there are rails, so that a route through channels and rails never meets a box.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from cnnstat.draw.parts import Part
from cnnstat.draw.places import Block, FramePlace, Place
from cnnstat.draw.routes import Router
from cnnstat.draw.scene import Box, Frame, Link, Scene

GAP = 28.0
"""Pixels between boxes that stand side by side."""
PADDING = 14.0
"""Pixels between a frame and what it holds."""
MOST_ABREAST = 5
"""Most chains of boxes side by side."""


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
        Router(block, children, [link for *_, link in links], self.places).run()
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
