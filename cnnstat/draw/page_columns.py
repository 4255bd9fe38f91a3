"""Columns: where the rows of a drawing are cut so that it fits on a page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cnnstat.draw.places import Block

GUTTER = 34.0
"""Pixels between columns, without what routes need."""
MOST_COLUMNS = 12
MOST_CROSSING = 16.0
"""Highest cost of routes across a cut: of very many, a few more make a drawing no worse."""
LARGE = 8
"""Rows of a frame that may well be cut in two."""


@dataclass(frozen=True)
class Page:
    """What a drawing is to fit on.

    top: room for a title. least_width: of the whole. tallest: pixels up to which it is one column. ratio: width by
    height that several columns come close to.
    """

    top: float = 0.0
    least_width: float = 0.0
    tallest: float = 900.0
    ratio: float = 1.0


def columns_of(block: Block, heights: Sequence[float], page: Page) -> list[tuple[int, int]]:
    """Return the first and last row of each column; heights: pixels of each row, with what stands around its boxes.

    There are as many as bring the page closest to its ratio without wasting room, cut where few routes cross.
    """
    rows, total, width = block.rows, sum(heights), block.right - block.left
    if total <= page.tallest:
        return [(0, rows - 1)]
    costs = _costs(block)
    best: list[int] = []
    best_value = math.inf
    for count in range(1, min(MOST_COLUMNS, rows) + 1):
        cuts = _cuts(heights, count, costs)
        if cuts is None:
            continue
        tallest = max(sum(heights[a:b]) for a, b in zip([0, *cuts], [*cuts, rows]))
        ratio = count * (width + GUTTER) / tallest
        waste = math.log(count * tallest / total)
        value = abs(math.log(ratio / page.ratio)) + 1.5 * waste + 0.02 * sum(costs[cut] for cut in cuts)
        if value < best_value:
            best, best_value = cuts, value
    return [(first, end - 1) for first, end in zip([0, *best], [*best, rows])]


def _costs(block: Block) -> list[float]:
    """Return for each row how bad a cut above it is: routes beyond one, and frames, that it crosses."""
    crossing = [0] * (block.rows + 1)
    frames = [0.0] * (block.rows + 1)
    for route in block.routes:
        crossing[route.source.row + 1] += 1
        crossing[route.target.row + 1] -= 1
    for frame in block.frames:
        cost = 2.0 if frame.last - frame.first > LARGE else 8.0
        frames[frame.first + 1] += cost
        frames[frame.last + 1] -= cost
    costs, routes, around = [], 0, 0.0
    for row in range(block.rows):
        routes += crossing[row]
        around += frames[row]
        costs.append(min(max(0, routes - 1) * 2.0, MOST_CROSSING) + around)
    return costs


def _cuts(step: Sequence[float], count: int, costs: Sequence[float]) -> list[int] | None:
    """Return the rows at which columns begin that are about as tall as one another; None where rows are too high."""
    total = sum(step)
    reached, sums = 0.0, []
    for height in step:
        sums.append(reached)
        reached += height
    cuts: list[int] = []
    for number in range(1, count):
        wanted = total * number / count
        reach = 0.35 * total / count
        near = [row for row in range((cuts[-1] if cuts else 0) + 1, len(step)) if abs(sums[row] - wanted) <= reach]
        if not near:
            return None
        cuts.append(min(near, key=lambda row: (costs[row] + 6 * abs(sums[row] - wanted) / reach, row)))
    return cuts
