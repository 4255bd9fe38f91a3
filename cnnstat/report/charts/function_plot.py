"""Plot: the graph of a function in a terminal, drawn with braille dots."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from cnnstat.draw.elements import element, number
from cnnstat.report.charts.picture import COLOURS, FAINT, PALE, Picture, label
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

    name: str
    curve: Curve

    def lines(self, width: int) -> list[Line]:
        """Return both drawings."""
        function, derivative = plot(self.curve, "f(x)"), plot(slope(self.curve), "f′(x)", "magenta")
        if width < 2 * PLOT_WIDTH + 3:
            return [*function, BLANK, *derivative]
        return [(*left, ("   ", ""), *right) for left, right in zip(function, derivative)]

    def picture(self) -> Picture:
        """Return both as vector graphics."""
        return _picture({self.name: self.curve})


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
        for place, name in reversed(list(enumerate(values))):
            cells |= {(_row(value, low, high, rows), x): place for x, value in enumerate(values[name])}
        zero_row = _row(0, low, high, rows)
        lines: list[Line] = []
        for row in range(rows):
            spans = [(f"{_label(row, zero_row, rows, low, high):>{MARGIN}} ", "dim")]
            for x in range(columns):
                at = cells.get((row, x))
                axis = _character(0, row == zero_row, x == columns // 2)
                spans.append((axis, "") if at is None else (MARKS[at % len(MARKS)], STYLES[at % len(STYLES)]))
            lines.append(tuple(spans))
        lines.append(_ends(columns))
        names = [(f"{MARKS[i % len(MARKS)]} {name}  ", STYLES[i % len(STYLES)]) for i, name in enumerate(values)]
        return [*lines, ((" " * (MARGIN + 1), ""), *names)]

    def picture(self) -> Picture:
        """Return the functions, and beside them their derivatives, as vector graphics."""
        return _picture(self.curves)


def _row(value: float, low: float, high: float, rows: int) -> int:
    return max(0, min(rows - 1, round((high - value) / (high - low) * (rows - 1))))


def plot(curve: Curve, title: str, style: str = "cyan") -> list[Line]:
    """Return the lines of a plot, each PLOT_WIDTH columns wide; values beyond ±4 are cut off."""
    columns = 2 * WIDTH
    # Half a step aside, no point falls on 0 or another kink, where a derivative jumps.
    values = [_at(curve, -REACH + (i + 0.5) * 2 * REACH / columns) for i in range(columns)]
    low, high = _limits(values)
    dots = _dots(values, low, high)
    zero_row = _row(0, low, high, 4 * HEIGHT) // 4
    lines: list[Line] = [((title.ljust(PLOT_WIDTH), "bold"),)]
    for row in range(HEIGHT):
        label = _label(row, zero_row, HEIGHT, low, high)
        cells = "".join(_character(dots[row][column], row == zero_row, column == WIDTH // 2) for column in range(WIDTH))
        lines.append(((f"{label:>{MARGIN}} ", "dim"), (cells, style)))
    return [*lines, _ends(WIDTH)]


def _ends(columns: int) -> Line:
    """Return the line below a plot: its ends, and 0 in the middle."""
    ends = f"−{REACH:g}".ljust(columns // 2) + "0".ljust(columns // 2 - 1) + f"{REACH:g}"
    return ((" " * (MARGIN + 1) + ends, "dim"),)


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


def _dots(values: list[float], low: float, high: float) -> list[list[int]]:
    """Return the bits of each character; neighbouring values are joined by dots between them."""
    cells = [[0] * WIDTH for _ in range(HEIGHT)]
    before = _row(values[0], low, high, 4 * HEIGHT)
    for column, value in enumerate(values):
        row = _row(value, low, high, 4 * HEIGHT)
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


def _label(row: int, zero_row: int, rows: int, low: float, high: float) -> str:
    if row == zero_row:
        return "0"
    return f"{high if row == 0 else low:g}".replace("-", "−") if row in (0, rows - 1) else ""


# Vector graphics ------------------------------------------------------------------------------------------------------

UNIT, AROUND = 60.0, 30.0
"""Pixels of 1, and around a plot."""

DASHES = ("", "10 6", "3 3", "14 4 3 4")
"""How the lines of curves are broken, one after the other."""

STEPS = 20
"""Points for each unit; the ends and 0 are among them."""


def _picture(curves: Mapping[str, Curve]) -> Picture:
    """Return functions, and beside them their derivatives; both axes are on one scale, so that slopes are true."""
    slopes = {name: slope(curve) for name, curve in curves.items()}
    size = 2 * REACH * UNIT
    heights = [_bounds(each) for each in (curves, slopes)]
    low, high = min(low for low, _ in heights), max(high for _, high in heights)
    height = (high - low) * UNIT + 2 * AROUND
    plots = ((curves, 0.0, "f(x)", "polyline"), (slopes, size + 2 * AROUND, "f′(x)", "path"))
    parts = [part for each in plots for part in _vector_plot(*each, low=low, high=high)]
    parts += _vector_legend(curves)
    names = ", ".join(curves)
    description = f"Left the functions, right their derivatives, for x from −{REACH:g} to {REACH:g}."
    return Picture(f"{names} and derivatives", description, 2 * (size + 2 * AROUND), height, "".join(parts))


def _bounds(curves: Mapping[str, Curve]) -> tuple[int, int]:
    """Return whole numbers between which the curves lie, as far as these are within the reach."""
    values = [curve(x) for curve in curves.values() for x in _xs()]
    low, high = max(-REACH, min([0.0, *values])), min(REACH, max([1.0, *values]))
    return math.floor(low + 1e-6), math.ceil(high - 1e-6)


def _xs() -> list[float]:
    return [x / STEPS for x in range(-round(STEPS * REACH), round(STEPS * REACH) + 1)]


def _vector_plot(
    curves: Mapping[str, Curve], left: float, title: str, line: str, *, low: int, high: int
) -> Iterator[str]:
    """Yield the axes and the curves; what lies beyond the plot is left out."""
    zero, base = left + AROUND + REACH * UNIT, AROUND + high * UNIT
    for x in range(-round(REACH), round(REACH) + 1):
        at = number(zero + x * UNIT)
        yield element("path", d=f"M{at} {number(AROUND)}V{number(base - low * UNIT)}", stroke="currentColor",
                      stroke_opacity=FAINT if x else PALE)  # fmt: skip
        yield label(_signed(x), zero + x * UNIT + 3, base + 13, fill_opacity=PALE)
    for y in range(low, high + 1):
        at = number(base - y * UNIT)
        yield element("path", d=f"M{number(left + AROUND)} {at}h{number(2 * REACH * UNIT)}", stroke="currentColor",
                      stroke_opacity=FAINT if y else PALE)  # fmt: skip
        yield from [label(_signed(y), zero + 3, base - y * UNIT - 3, fill_opacity=PALE)] * (y != 0)
    yield label(title, left + AROUND, AROUND - 10, 13, font_weight="600")
    for place, curve in enumerate(curves.values()):
        points = [(zero + x * UNIT, base - curve(x) * UNIT) for x in _xs() if low <= curve(x) <= high]
        drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        shape = {"points": drawn} if line == "polyline" else {"d": f"M{drawn}" * bool(drawn)}
        # Dashes let a curve that lies below be seen, and tell curves apart without colours.
        yield element(line, **shape, **_look(place))


def _vector_legend(curves: Mapping[str, Curve]) -> Iterator[str]:
    for place, name in enumerate(curves):
        y = AROUND + 18 + 18 * place
        yield element("path", d=f"M{number(AROUND + 10)} {number(y - 6)}h28", **_look(place))
        yield label(name, AROUND + 46, y - 2, 13)


def _look(place: int) -> dict[str, Any]:
    colour, dashes = COLOURS[place % len(COLOURS)], DASHES[place % len(DASHES)] or None
    return {"fill": "none", "stroke": colour, "stroke_dasharray": dashes, "stroke_width": 2.5}


def _signed(value: int) -> str:
    return str(value).replace("-", "−")
