"""Layout: rows cut into columns of a page, and every box, frame and route in pixels."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field

from cnnstat.draw.page_columns import GUTTER, Page, columns_of
from cnnstat.draw.places import (
    PORT,
    Block,
    FrameArea,
    FramePlace,
    Label,
    Layout,
    Line,
    Place,
    Point,
    Rectangle,
    Route,
    Way,
)
from cnnstat.draw.routes import RAIL, lanes_of
from cnnstat.draw.rows import arranged
from cnnstat.draw.scene import Scene

MARGIN = 24.0
"""Pixels around everything."""
HEADER = 22.0
"""Pixels for the name of a frame."""
BELOW_FRAME = 10.0
LABEL = 15.0
"""Pixels below a box for the size of its output."""
BESIDE = 6.0
"""Pixels between the middle of a box and the size."""
ARROW = 11.0
"""Pixels above a box for the heads of arrows."""
LANE = 9.0
"""Pixels between routes that run side by side in a channel."""


@dataclass(eq=False)
class _Column:
    """Rows from `first` to `last`, where they stand, and the lanes of the channels above and below them."""

    number: int
    first: int
    last: int
    left: float = 0.0
    right: float = 0.0
    x: float = 0.0
    lanes: dict[int, list[tuple[Hashable, float, float]]] = field(default_factory=lambda: defaultdict(list))
    lane_of: dict[tuple[int, Hashable], int] = field(default_factory=dict)


def laid_out(scene: Scene, sizes: Sequence[tuple[float, float]], page: Page) -> Layout:
    """Return a scene in pixels; sizes: width and height of each box."""
    return _Columns(arranged(scene, sizes), page).layout()


class _Columns:
    """The columns of one drawing."""

    def __init__(self, block: Block, page: Page) -> None:
        self.block, self.page = block, page
        self.heights = [0.0] * block.rows
        for place in block.places:
            self.heights[place.row] = max(self.heights[place.row], place.height)
        self.in_row: list[list[Place]] = [[] for _ in range(block.rows)]
        for place in block.places:
            self.in_row[place.row].append(place)
        heights = [height + LABEL + ARROW + LANE for height in self.heights]
        for frame in block.frames:
            heights[frame.first] += HEADER
        cut = columns_of(block, heights, page)
        self.columns = [_Column(number, first, last) for number, (first, last) in enumerate(cut)]
        self.column_of = [column for column in self.columns for _ in range(column.first, column.last + 1)]
        self.parts = [list(self._frames_in(column)) for column in self.columns]
        self.tops = [0] * (block.rows + 1)
        self.bottoms = [0] * (block.rows + 1)
        self.top_rank: dict[tuple[int, int], int] = {}
        self.bottom_rank: dict[tuple[int, int], int] = {}
        for column, parts in zip(self.columns, self.parts):
            self._rank(column, parts)
        self.gutters: list[list[tuple[Hashable, float, float]]] = [[] for _ in self.columns]
        self.band: list[tuple[Hashable, float, float]] = []
        self.row_y = [0.0] * block.rows

    def _frames_in(self, column: _Column) -> Iterator[tuple[FramePlace, int, int]]:
        for frame in self.block.frames:
            first, last = max(frame.first, column.first), min(frame.last, column.last)
            if first <= last:
                yield frame, first, last

    def _rank(self, column: _Column, parts: list[tuple[FramePlace, int, int]]) -> None:
        """Find out how many frames begin above each other at a row, and how many end below each other."""
        ends = {id(frame): (first, last) for frame, first, last in parts}
        key = column.number
        for frame, first, last in parts:  # inner frames come before those around them
            top = self.top_rank.setdefault((key, id(frame)), 1)
            bottom = self.bottom_rank.setdefault((key, id(frame)), 1)
            self.tops[first] = max(self.tops[first], top)
            self.bottoms[last] = max(self.bottoms[last], bottom)
            around = frame.around
            if around is not None:
                outer = ends[id(around)]
                if outer[0] == first:
                    name = (key, id(around))
                    self.top_rank[name] = max(self.top_rank.get(name, 1), top + 1)
                if outer[1] == last:
                    name = (key, id(around))
                    self.bottom_rank[name] = max(self.bottom_rank.get(name, 1), bottom + 1)

    # Channels and gutters --------------------------------------------------------------------------------------------

    def layout(self) -> Layout:
        """Return everything in pixels."""
        self._measure_columns()
        self._assign_lanes()
        height = self._place_rows()
        lines = self._draw_routes()
        boxes = tuple((place.box, self._rectangle(place)) for place in self.block.places)
        frames = [
            self._frame_area(column, frame, first, last)
            for column, parts in zip(self.columns, self.parts)
            for frame, first, last in reversed(parts)
        ]
        last = self.columns[-1]
        width = max(last.x + last.right - last.left + MARGIN, self.page.least_width)
        return Layout(width, height, boxes, tuple(frames), tuple(lines), tuple(self._labels()))

    def _measure_columns(self) -> None:
        for column, parts in zip(self.columns, self.parts):
            inside = [place for row in range(column.first, column.last + 1) for place in self.in_row[row]]
            rails = [r.x for r in self.block.routes if r.way is Way.RAIL and self._stays(r) and self._home(r) is column]
            column.left = min([place.left for place in inside] + [frame.left for frame, *_ in parts])
            column.right = max([place.right for place in inside] + [frame.right for frame, *_ in parts] + rails)

    def _stays(self, route: Route) -> bool:
        return self.column_of[route.source.row] is self.column_of[route.target.row]

    def _home(self, route: Route) -> _Column:
        return self.column_of[route.source.row]

    def _assign_lanes(self) -> None:
        """Note which routes run along which channel, so that each gets a lane of its own."""
        for route in self.block.routes:
            source, target = route.source, route.target
            column = self._home(route)
            if self._stays(route):
                if route.way is Way.ABOVE_TARGET:
                    _note(column, target.row, ("in", id(target)), source.x, route.x)
                elif route.way is Way.BELOW_SOURCE:
                    _note(column, source.row + 1, ("out", id(source)), source.x, route.x)
                elif route.way is Way.RAIL:
                    if not route.leaves_side:
                        _note(column, source.row + 1, ("out", id(source)), source.x, route.x)
                    if not route.enters_side:
                        _note(column, target.row, ("in", id(target)), target.x, route.x)
                continue
            other = self.column_of[target.row]
            if not self._leaves_to_gutter(route):
                _note(column, source.row + 1, ("out", id(source)), source.x, math.inf)
            if not self._enters_from_gutter(route):
                _note(other, target.row, ("in", id(target)), -math.inf, target.x)
        for column in self.columns:
            for channel, notes in column.lanes.items():
                for key, lane in lanes_of(notes).items():
                    column.lane_of[channel, key] = lane

    def _leaves_to_gutter(self, route: Route) -> bool:
        """Whether a route to another column leaves its box at the side, not to the top of the next column."""
        source = route.source
        is_flow = source.row == self._home(route).last and route.target.row == self.column_of[route.target.row].first
        return not is_flow and all(other is source or other.x < source.x for other in self.in_row[source.row])

    def _enters_from_gutter(self, route: Route) -> bool:
        target = route.target
        is_first = target.row == self.column_of[target.row].first
        return not is_first and all(other is target or other.x > target.x for other in self.in_row[target.row])

    def _place_rows(self) -> float:
        """Find out where rows and columns stand, and what runs in the gutters; return the height of the page."""
        crossing = [route for route in self.block.routes if not self._stays(route)]
        jumps = [r for r in crossing if self.column_of[r.target.row].number > self._home(r).number + 1]
        for route in jumps:
            self.band.append(
                (
                    (id(route.source), id(route.target)),
                    self._home(route).number,
                    self.column_of[route.target.row].number,
                )
            )
        self.band_lane = lanes_of(self.band)
        bands = 1 + max(self.band_lane.values(), default=-1)
        start = MARGIN + self.page.top + bands * LANE
        self.channel_y: dict[tuple[int, int], float] = {}
        height = start
        for column in self.columns:
            counts: dict[int, int] = defaultdict(int)
            for (channel, _), lane in column.lane_of.items():
                counts[channel] = max(counts[channel], lane + 1)
            y = start
            for row in range(column.first, column.last + 2):
                is_first, is_end = row == column.first, row == column.last + 1
                y += 0 if is_first else self.bottoms[row - 1] * BELOW_FRAME + LABEL
                self.channel_y[column.number, row] = y + LANE / 2
                y += counts[row] * LANE
                if is_end:
                    break
                y += self.tops[row] * HEADER + ARROW
                self.row_y[row] = y
                y += self.heights[row]
            height = max(height, y)
        x = MARGIN
        for column in self.columns:
            column.x = x
            self._fill_gutter(column, crossing)
            lanes = 1 + max(lanes_of(self.gutters[column.number]).values(), default=-1)
            x += column.right - column.left + GUTTER + lanes * RAIL
        return height + MARGIN

    def _fill_gutter(self, column: _Column, crossing: Sequence[Route]) -> None:
        """Note what runs down the gutter to the right of a column."""
        number = column.number
        notes = self.gutters[number]
        for route in crossing:
            first, last = self._home(route).number, self.column_of[route.target.row].number
            key = (id(route.source), id(route.target) if last > first + 1 else 0)
            leaves, enters = self._leave_y(route), self._enter_y(route)
            band = self._band_y(route)
            if first == number:
                end = enters if last == first + 1 else band
                notes.append(((key, "out"), min(leaves, end), max(leaves, end)))
            elif last == number + 1:
                notes.append(((key, "in"), min(band, enters), max(band, enters)))

    def _band_y(self, route: Route) -> float:
        lane = self.band_lane.get((id(route.source), id(route.target)), 0)
        return MARGIN + self.page.top + lane * LANE

    def _gutter_x(self, column: int, key: Hashable) -> float:
        lane = self._gutter_lanes[column][key]
        own = self.columns[column]
        return own.x + own.right - own.left + GUTTER / 2 + lane * RAIL

    # Pixels ----------------------------------------------------------------------------------------------------------

    def _x(self, row: int, x: float) -> float:
        column = self.column_of[row]
        return column.x + x - column.left

    def _rectangle(self, place: Place) -> Rectangle:
        y = self.row_y[place.row] + (self.heights[place.row] - place.height) / 2
        return Rectangle(self._x(place.row, place.left), y, place.width, place.height)

    def _frame_area(self, column: _Column, frame: FramePlace, first: int, last: int) -> FrameArea:
        top = self.row_y[first] - ARROW - self.top_rank[column.number, id(frame)] * HEADER + 4
        bottom = self.row_y[last] + self.heights[last] + self.bottom_rank[column.number, id(frame)] * BELOW_FRAME
        place = Rectangle(self._x(first, frame.left), top, frame.right - frame.left, bottom - top)
        around = "" if frame.around is None else frame.around.part.path
        return FrameArea(frame.part, around, place, first > frame.first)

    def _channel(self, row: int, key: Hashable, column: _Column) -> float:
        return self.channel_y[column.number, row] + column.lane_of[row, key] * LANE

    def _side_y(self, place: Place, share: float) -> float:
        return self._rectangle(place).y + share * place.height

    def _leave_y(self, route: Route) -> float:
        """Return where a route to another column reaches the gutter."""
        if self._leaves_to_gutter(route):
            return self._side_y(route.source, 0.7)
        return self._channel(route.source.row + 1, ("out", id(route.source)), self._home(route))

    def _enter_y(self, route: Route) -> float:
        if self._enters_from_gutter(route):
            return self._side_y(route.target, 0.3)
        return self._channel(route.target.row, ("in", id(route.target)), self.column_of[route.target.row])

    def _draw_routes(self) -> list[Line]:
        self._gutter_lanes = [lanes_of(notes) for notes in self.gutters]
        return [
            Line(route.source.box.number, route.target.box.number, route.value, _cleaned(self._points(route)))
            for route in self.block.routes
        ]

    def _points(self, route: Route) -> list[Point]:
        if not self._stays(route):
            return self._points_between_columns(route)
        column = self._home(route)
        source, target = self._rectangle(route.source), self._rectangle(route.target)
        x, from_x, to_x = (self._x(route.source.row, each) for each in (route.x, route.source.x, route.target.x))
        bottom, top = source.y + source.height, target.y
        if route.way is Way.STRAIGHT:
            return [(x, bottom), (x, top)]
        if route.way is Way.RAIL:
            return [*self._leaving(route, x, from_x), *self._entering(route, x, to_x)]
        if route.way is Way.ABOVE_TARGET:
            y = self._channel(route.target.row, ("in", id(route.target)), column)
        else:
            y = self._channel(route.source.row + 1, ("out", id(route.source)), column)
        return [(from_x, bottom), (from_x, y), (x, y), (x, top)]

    def _leaving(self, route: Route, x: float, from_x: float) -> list[Point]:
        box = self._rectangle(route.source)
        if route.leaves_side:
            y = box.y + 0.7 * box.height
            return [(box.x + box.width, y), (x, y)]
        y = self._channel(route.source.row + 1, ("out", id(route.source)), self._home(route))
        return [(from_x, box.y + box.height), (from_x, y), (x, y)]

    def _entering(self, route: Route, x: float, to_x: float) -> list[Point]:
        box = self._rectangle(route.target)
        if route.enters_side:
            y = box.y + 0.3 * box.height
            return [(x, y), (box.x + box.width, y)]
        y = self._channel(route.target.row, ("in", id(route.target)), self.column_of[route.target.row])
        return [(x, y), (to_x + PORT, y), (to_x + PORT, box.y)]

    def _points_between_columns(self, route: Route) -> list[Point]:
        first, last = self._home(route).number, self.column_of[route.target.row].number
        source, target = self._rectangle(route.source), self._rectangle(route.target)
        leaves, enters = self._leave_y(route), self._enter_y(route)
        from_x, to_x = self._x(route.source.row, route.source.x), self._x(route.target.row, route.target.x)
        if self._leaves_to_gutter(route):
            points = [(source.x + source.width, leaves)]
        else:
            points = [(from_x, source.y + source.height), (from_x, leaves)]
        key = (id(route.source), id(route.target) if last > first + 1 else 0)
        x = self._gutter_x(first, (key, "out"))
        points.append((x, leaves))
        if last > first + 1:
            band = self._band_y(route)
            far = self._gutter_x(last - 1, (key, "in"))
            points += [(x, band), (far, band)]
            x = far
        points.append((x, enters))
        if self._enters_from_gutter(route):
            return [*points, (target.x, enters)]
        return [*points, (to_x, enters), (to_x, target.y)]

    def _labels(self) -> Iterator[Label]:
        """Yield where the sizes of outputs stand: below each box, to the right of what leaves its middle."""
        for place in self.block.places:
            box = self._rectangle(place)
            row = place.row
            y = self.row_y[row] + self.heights[row] + self.bottoms[row] * BELOW_FRAME + LABEL - 4
            x = box.x + box.width / 2 + BESIDE
            yield Label(place.box, x, y, box.width / 2 - BESIDE, box.y + box.height, place.box.is_output)


def _note(column: _Column, channel: int, key: Hashable, one: float, other: float) -> None:
    column.lanes[channel].append((key, min(one, other), max(one, other)))


def _cleaned(points: Sequence[Point]) -> tuple[Point, ...]:
    """Return corner points without those that a straight line passes."""
    corners: list[Point] = []
    for point in points:
        if corners and abs(corners[-1][0] - point[0]) < 0.01 and abs(corners[-1][1] - point[1]) < 0.01:
            continue
        if len(corners) > 1 and (
            corners[-2][0] == corners[-1][0] == point[0] or corners[-2][1] == corners[-1][1] == point[1]
        ):
            corners[-1] = point
            continue
        corners.append(point)
    return tuple(corners)
