"""Scatter plot: points by two figures, those on a Pareto front marked, in characters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from cnnstat.report.terminal_text import BLANK, Line, cut_end, plain

HEIGHT = 16
MARGIN = 9
"""Characters to the left of the drawing, for the numbers of the vertical axis."""


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
        columns = max(20, min(width, 120) - MARGIN - 1)
        x_scale, y_scale = Scale.of([p.x for p in self.points]), Scale.of([p.y for p in self.points])
        cells: dict[tuple[int, int], list[ScatterPoint]] = {}
        for point in self.points:
            row = HEIGHT - 1 - round(y_scale.place(point.y) * (HEIGHT - 1))
            cells.setdefault((row, round(x_scale.place(point.x) * (columns - 1))), []).append(point)
        lines: list[Line] = [plain(cut_end(f"{self.y_title}{y_scale.note}", width), "bold")]
        for row in range(HEIGHT):
            label = self.y_ends[1] if row == 0 else self.y_ends[0] if row == HEIGHT - 1 else ""
            spans = [(f"{cut_end(label, MARGIN - 1):>{MARGIN - 1}} │", "dim")]
            for column in range(columns):
                spans.append(_mark(cells.get((row, column), [])))
            lines.append(tuple(spans))
        lines.append((((" " * MARGIN) + "└" + "─" * columns, "dim"),))
        left, right = self.x_ends
        title = cut_end(f"{self.x_title}{x_scale.note}", max(4, columns - len(left) - len(right) - 2))
        gap = columns - len(left) - len(right) - len(title)
        before = max(1, gap // 2)
        lines.append(
            (
                (" " * (MARGIN + 1) + left, "dim"),
                (" " * before + title, "bold"),
                (" " * max(1, gap - before) + right, "dim"),
            )
        )
        if any(point.on_front for point in self.points):
            lines += [BLANK, plain("● on the Pareto front, · not", "dim")]
        return lines


class Scale(NamedTuple):
    """An axis: its ends, and whether it is logarithmic."""

    low: float
    high: float
    is_logarithmic: bool

    @classmethod
    def of(cls, values: Sequence[float]) -> Scale:
        """Return the scale that shows all values."""
        low, high = min(values, default=0.0), max(values, default=1.0)
        return cls(low, high, low > 0 and high / low > 30)

    @property
    def note(self) -> str:
        """What the axis' title says of a logarithmic scale."""
        return " (log)" if self.is_logarithmic else ""

    def place(self, value: float) -> float:
        """Return where a value lies, from 0 to 1."""
        low, high = self.low, self.high
        if self.is_logarithmic:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return 0.5 if high == low else (value - low) / (high - low)


def _mark(points: Sequence[ScatterPoint]) -> tuple[str, str]:
    if not points:
        return (" ", "")
    if any(point.on_front for point in points):
        return ("●", "green")
    return ("·" if len(points) == 1 else str(len(points)) if len(points) < 10 else "#", "cyan")
