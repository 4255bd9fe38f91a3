"""Scatter plot: points by two figures, those on a Pareto front marked, in characters."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from cnnstat.draw.elements import element, number
from cnnstat.numbers import brief_count, plural
from cnnstat.report.charts.axes import (
    BOTTOM,
    CHARACTER,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Axis,
    grid,
    round_step,
    ticked,
    titled,
)
from cnnstat.report.charts.axes import HEIGHT as CHART_HEIGHT
from cnnstat.report.charts.picture import COLOURS, PALE, Picture, hint, label
from cnnstat.report.terminal_text import BLANK, Line, cut_end, plain

HEIGHT = 16
MARGIN, WIDEST_MARGIN = 9, 16
"""Fewest and most characters to the left of the drawing, for the numbers of the vertical axis."""


MOST_NAMES, LONGEST_NAME = 40, 32
"""Most points that are named, and most characters of a name."""


class ScatterPoint(NamedTuple):
    """One point: its two figures, the texts that say them, and whether it lies on the Pareto front."""

    x: float
    y: float
    label: str
    on_front: bool = False


class ScatterPlot(NamedTuple):
    """Points under two axes; an axis whose positive numbers span more than a factor of 30 is logarithmic.

    x_ends, y_ends: the least and the largest number of each axis as text.
    """

    points: Sequence[ScatterPoint]
    x_title: str
    y_title: str
    x_ends: tuple[str, str]
    y_ends: tuple[str, str]

    def lines(self, width: int) -> list[Line]:
        """Return the drawing; where several points meet, their number up to 9, or # for more."""
        margin = min(WIDEST_MARGIN, max(MARGIN, 2 + max(map(len, self.y_ends))))
        columns = max(20, min(width, 120) - margin - 1)
        x = _between_ends([point.x for point in self.points], 0, columns - 1)
        y = _between_ends([point.y for point in self.points], HEIGHT - 1, 0)
        cells: dict[tuple[int, int], list[ScatterPoint]] = {}
        for point in self.points:
            cells.setdefault((round(y.at(point.y)), round(x.at(point.x))), []).append(point)
        lines: list[Line] = [plain(cut_end(f"{self.y_title}{_note(y)}", width), "bold")]
        for row in range(HEIGHT):
            label = self.y_ends[1] if row == 0 else self.y_ends[0] if row == HEIGHT - 1 else ""
            spans = [(f"{cut_end(label, margin - 1):>{margin - 1}} │", "dim")]
            for column in range(columns):
                spans.append(_mark(cells.get((row, column), [])))
            lines.append(tuple(spans))
        lines.append((((" " * margin) + "└" + "─" * columns, "dim"),))
        left, right = self.x_ends
        title = cut_end(f"{self.x_title}{_note(x)}", max(4, columns - len(left) - len(right) - 2))
        gap = columns - len(left) - len(right) - len(title)
        before = max(1, gap // 2)
        lines.append(
            (
                (" " * (margin + 1) + left, "dim"),
                (" " * before + title, "bold"),
                (" " * max(1, gap - before) + right, "dim"),
            )
        )
        if any(point.on_front for point in self.points):
            lines += [BLANK, plain("● on the Pareto front, · not", "dim")]
        return lines

    def picture(self) -> Picture:
        """Return the same as vector graphics, the points with their labels; those on the front are joined by a line."""
        x = _axis([point.x for point in self.points], LEFT, WIDTH - RIGHT)
        y = _axis([point.y for point in self.points], CHART_HEIGHT - BOTTOM, TOP)
        parts = [*grid(x, y, ticked(x, _tick), ticked(y, _tick), (self.x_title, self.y_title))]
        front = sorted((point.x, point.y) for point in self.points if point.on_front)
        if front:
            path = "L".join(f"{number(x.at(across))} {number(y.at(up))}" for across, up in front)
            parts.append(element("path", d=f"M{path}", fill="none", stroke=COLOURS[2], stroke_opacity="0.6"))
            parts.append(label("joined: the Pareto front", WIDTH - RIGHT, TOP - 10, text_anchor="end"))
        for point in self.points:
            colour, radius = (COLOURS[2], 5) if point.on_front else (COLOURS[0], 3.5)
            place = {"cx": x.at(point.x), "cy": y.at(point.y), "r": radius}
            parts.append(element("circle", hint(point.label), **place, fill=colour, fill_opacity="0.8"))
        parts += _names(self.points, x, y) if front else ()
        title = f"{self.y_title} against {self.x_title}"
        of_front = f", {len(front):,} of them on the Pareto front" if front else ""
        description = f"{plural(len(self.points), 'point')}{of_front}."
        return titled(title, description, parts)


_Edges = tuple[float, float, float, float]
"""Left, top, right and bottom, in pixels."""


def _names(points: Sequence[ScatterPoint], x: Axis, y: Axis) -> Iterator[str]:
    """Yield names of points, first of those on the front, as far as they lie on no point and no other name."""
    taken: list[_Edges] = [(x.at(p.x) - 4, y.at(p.y) - 4, x.at(p.x) + 4, y.at(p.y) + 4) for p in points]
    for point in sorted(points, key=lambda each: not each.on_front)[:MOST_NAMES]:
        text, across, up = cut_end(point.label, LONGEST_NAME), x.at(point.x), y.at(point.y)
        length = CHARACTER * len(text)
        above, right, left_of = (across - length / 2, up - 9), (across + 8, up + 4), (across - 8 - length, up + 4)
        for left, base in (above, right, left_of) if point.on_front else (right, left_of, above):
            edges = (left, base - 9, left + length, base + 2)
            is_inside = left >= x.start and edges[2] <= WIDTH and edges[1] >= TOP - 4
            if is_inside and not any(_overlap(edges, other) for other in taken):
                taken.append(edges)
                yield label(text, left + length / 2, base, text_anchor="middle", fill_opacity=PALE)
                break


def _overlap(one: _Edges, other: _Edges) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _between_ends(values: Sequence[float], start: float, end: float) -> Axis:
    """Return an axis from the least to the largest value, logarithmic where these are far apart."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    if low == high:  # a single value stands in the middle
        return Axis(low - 1, high + 1, start, end)
    return Axis(low, high, start, end, is_log=low > 0 and high / low > 30)


def _axis(values: Sequence[float], start: float, end: float) -> Axis:
    """Return an axis with room around all values, logarithmic where the plot in characters is."""
    if _between_ends(values, start, end).is_log:
        # From the power of ten below to the 1, 2 or 5 above, with room for the largest point.
        least = min(values) / 1.1
        low = 10.0 ** math.floor(math.log10(least))
        low *= max(factor for factor in (1, 2, 5) if factor * low <= least)
        return Axis(low, round_step(max(values) * 1.1), start, end, is_log=True)
    low, high = min(values, default=0.0), max(values, default=1.0)
    room = (high - low) / 15 or max(1.0, abs(high) / 15)
    return Axis(0.0 if low >= 0 > low - room else low - room, high + room, start, end)


def _note(axis: Axis) -> str:
    return " (log)" if axis.is_log else ""


def _tick(value: float) -> str:
    return brief_count(round(value)) if abs(value) >= 1000 else f"{value:,g}"


def _mark(points: Sequence[ScatterPoint]) -> tuple[str, str]:
    if not points:
        return (" ", "")
    if any(point.on_front for point in points):
        return ("●", "green")
    return ("·" if len(points) == 1 else str(len(points)) if len(points) < 10 else "#", "cyan")
