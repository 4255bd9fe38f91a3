"""Plot: the graph of a function in a terminal, drawn with braille dots."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

from cnnstat.report.terminal_text import BLANK, Line

REACH = 4.0
"""Plots go from x = −4 to x = 4."""

WIDTH, HEIGHT = 32, 9
"""Characters of the drawing itself; each holds 2 × 4 dots."""

MARGIN = 5
"""Characters to the left of the drawing, for the numbers of the vertical axis."""

PLOT_WIDTH = MARGIN + 1 + WIDTH

_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""Bits of a braille character, by column and row."""

Curve = Callable[[float], float]


class Plots(NamedTuple):
    """A function and its derivative, beside each other if they fit."""

    curve: Curve

    def lines(self, width: int) -> list[Line]:
        """Return both drawings."""
        function, derivative = plot(self.curve, "f(x)"), plot(slope(self.curve), "f′(x)", "magenta")
        if width < 2 * PLOT_WIDTH + 3:
            return [*function, BLANK, *derivative]
        return [(*left, ("   ", ""), *right) for left, right in zip(function, derivative)]


STYLES = ("cyan", "magenta", "yellow", "green", "blue", "red")
MARKS = "●○▲△■□◆◇"
"""What the curves of a common plot are drawn with, one after the other."""


class CurvesPlot(NamedTuple):
    """Several functions in one drawing, each with a mark and a colour of its own."""

    curves: Mapping[str, Curve]

    def lines(self, width: int) -> list[Line]:
        """Return the drawing, and below it which mark is whose; of curves that meet in a cell the first is seen."""
        columns, rows = min(2 * WIDTH, max(WIDTH, width - MARGIN - 1)), 2 * HEIGHT + 1
        columns -= columns % 2
        xs = [-REACH + (i + 0.5) * 2 * REACH / columns for i in range(columns)]
        values = {name: [_at(curve, x) for x in xs] for name, curve in self.curves.items()}
        low, high = _limits([value for each in values.values() for value in each])
        cells: dict[tuple[int, int], int] = {}
        for number, name in reversed(list(enumerate(values))):
            cells |= {(_row(value, low, high, rows), x): number for x, value in enumerate(values[name])}
        zero_row = _row(0, low, high, rows)
        lines: list[Line] = []
        for row in range(rows):
            label = "0" if row == zero_row else f"{high if row == 0 else low:g}" if row in (0, rows - 1) else ""
            spans = [(f"{label.replace('-', '−'):>{MARGIN}} ", "dim")]
            for x in range(columns):
                at = cells.get((row, x))
                axis = _character(0, row == zero_row, x == columns // 2)
                spans.append((axis, "") if at is None else (MARKS[at % len(MARKS)], STYLES[at % len(STYLES)]))
            lines.append(tuple(spans))
        ends = f"−{REACH:g}".ljust(columns // 2) + "0".ljust(columns // 2 - 1) + f"{REACH:g}"
        lines.append(((" " * (MARGIN + 1) + ends, "dim"),))
        names = [(f"{MARKS[i % len(MARKS)]} {name}  ", STYLES[i % len(STYLES)]) for i, name in enumerate(values)]
        return [*lines, ((" " * (MARGIN + 1), ""), *names)]


def _row(value: float, low: float, high: float, rows: int) -> int:
    return max(0, min(rows - 1, round((high - value) / (high - low) * (rows - 1))))


def plot(curve: Curve, title: str, style: str = "cyan") -> list[Line]:
    """Return the lines of a plot, each PLOT_WIDTH columns wide; values beyond ±4 are cut off."""
    columns = 2 * WIDTH
    # Half a step aside, no point falls on 0 or another kink, where a derivative jumps.
    values = [_at(curve, -REACH + (i + 0.5) * 2 * REACH / columns) for i in range(columns)]
    low, high = _limits(values)
    dots = _dots(values, low, high)
    zero_row = _row_of(0, low, high) // 4
    lines: list[Line] = [((title.ljust(PLOT_WIDTH), "bold"),)]
    for row in range(HEIGHT):
        label = _label(row, zero_row, low, high)
        cells = "".join(_character(dots[row][column], row == zero_row, column == WIDTH // 2) for column in range(WIDTH))
        lines.append(((f"{label:>{MARGIN}} ", "dim"), (cells, style)))
    ends = f"−{REACH:g}".ljust(WIDTH // 2) + "0".ljust(WIDTH // 2 - 1) + f"{REACH:g}"
    return [*lines, ((" " * (MARGIN + 1) + ends, "dim"),)]


def slope(curve: Curve) -> Curve:
    """Return the derivative, by central differences."""
    step = 1e-5
    return lambda x: (curve(x + step) - curve(x - step)) / (2 * step)


def _at(curve: Curve, x: float) -> float:
    return max(-REACH, min(REACH, curve(x)))


def _limits(values: list[float]) -> tuple[float, float]:
    """Return the range of the vertical axis: halves, with 0 and at least 1 in it."""
    low = math.floor(2 * min(0.0, *values) + 0.02) / 2
    high = math.ceil(2 * max(0.0, *values) - 0.02) / 2
    return (low, high) if high - low >= 1 else (low, low + 1)


def _row_of(value: float, low: float, high: float) -> int:
    return max(0, min(4 * HEIGHT - 1, round((high - value) / (high - low) * (4 * HEIGHT - 1))))


def _dots(values: list[float], low: float, high: float) -> list[list[int]]:
    """Return the bits of each character; neighbouring values are joined by dots between them."""
    cells = [[0] * WIDTH for _ in range(HEIGHT)]
    before = _row_of(values[0], low, high)
    for column, value in enumerate(values):
        row = _row_of(value, low, high)
        first, last = sorted((before, row))
        for dot in range(first + (first == before != row), last + 1 - (last == before != row)):
            cells[dot // 4][column // 2] |= _DOTS[column % 2][dot % 4]
        before = row
    return cells


def _character(bits: int, is_horizontal: bool, is_vertical: bool) -> str:
    """Return the curve where there is some, an axis or a blank elsewhere."""
    if bits:
        return chr(0x2800 + bits)
    if is_horizontal:
        return "┼" if is_vertical else "─"
    return "│" if is_vertical else " "


def _label(row: int, zero_row: int, low: float, high: float) -> str:
    if row == zero_row:
        return "0"
    number = high if row == 0 else low if row == HEIGHT - 1 else None
    return "" if number is None else f"{number:g}".replace("-", "−")
