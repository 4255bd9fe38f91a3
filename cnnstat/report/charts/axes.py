"""Axes: what a value is in pixels, where ticks stand, and the frame and grid of a chart."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from cnnstat.draw.elements import element, number
from cnnstat.report.charts.picture import FAINT, PALE, Picture, label

WIDTH, HEIGHT = 720.0, 290.0
"""Pixels of a chart."""
LEFT, RIGHT, TOP, BOTTOM = 64.0, 16.0, 54.0, 40.0
"""Pixels around the plot itself: numbers and titles of axes stand there."""
CHARACTER = 6.6
"""Pixels that a character of a label takes at most, but for the widest letters."""


class Axis(NamedTuple):
    """Values from low to high, in pixels from start to end; a logarithmic one has powers of ten."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    def at(self, value: float) -> float:
        """Return the pixel of a value."""
        low, high, here = (math.log10(each) if self.is_log else each for each in (self.low, self.high, value))
        return self.start + (self.end - self.start) * (here - low) / ((high - low) or 1)

    def ticks(self, step_of: float = 1.0) -> list[float]:
        """Return values at which a number stands: round ones in a unit of `step_of`, or powers of ten."""
        if self.is_log:
            first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            if last - first < 2:  # too few powers to read values off
                between = (factor * 10.0**power for power in range(first - 1, last + 1) for factor in (1, 2, 5))
                return [value for value in between if self.low * (1 - 1e-9) <= value <= self.high * (1 + 1e-9)]
            skipped = 1 + (last - first) // 7
            return [10.0**power for power in range(first, last + 1, skipped)]
        step = step_of * round_step((self.high - self.low) / step_of / 5)
        first = math.ceil(self.low / step - 1e-9)
        return [step * place for place in range(first, math.floor(self.high / step + 1e-9) + 1)]


def round_step(least: float) -> float:
    """Return 1, 2 or 5 times a power of ten that is no less."""
    power = 10.0 ** math.floor(math.log10(least)) if least > 0 else 1.0
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))


def upward(high: float, step_of: float = 1.0) -> Axis:
    """Return the vertical axis from 0 to a tick clearly above a value, so that a name fits over it."""
    step = step_of * round_step(high / step_of / 4) if high else 1.0
    return Axis(0, step * max(1, math.ceil(1.06 * high / step)), HEIGHT - BOTTOM, TOP)


def grid(
    x: Axis,
    y: Axis,
    x_ticks: Sequence[tuple[float, str]],
    y_ticks: Sequence[tuple[float, str]],
    titles: tuple[str, str],
) -> Iterator[str]:
    """Yield lines, numbers and titles of both axes; ticks are values with what stands beside them."""
    for value, text in y_ticks:
        place = y.at(value)
        line = f"M{number(x.start)} {number(place)}H{number(x.end)}"
        yield element("path", d=line, stroke="currentColor", stroke_opacity=PALE if not value else FAINT)
        yield label(text, x.start - 6, place + 4, text_anchor="end", fill_opacity=PALE)
    for value, text in x_ticks:
        place = x.at(value)
        line = f"M{number(place)} {number(y.start)}V{number(y.end)}"
        yield element("path", d=line, stroke="currentColor", stroke_opacity=FAINT)
        inside = min(place, WIDTH - CHARACTER * len(text) / 2)
        yield label(text, inside, y.start + 16, text_anchor="middle", fill_opacity=PALE)
    if titles[0]:
        yield label(titles[0], (x.start + x.end) / 2, y.start + 34, text_anchor="middle", fill_opacity=PALE)
    yield label(titles[1], x.start, y.end - 10, fill_opacity=PALE)


def titled(title: str, description: str, parts: Iterable[str], height: float = HEIGHT) -> Picture:
    """Return a chart below its title."""
    heading = label(title, 0, 14, 13, font_weight="600")
    return Picture(title, description, WIDTH, height, heading + "".join(parts))


def ticked(axis: Axis, text: Callable[[float], str], step_of: float = 1.0) -> list[tuple[float, str]]:
    """Return the ticks of an axis with their numbers."""
    return [(value, text(value)) for value in axis.ticks(step_of)]


def steps(values: Sequence[float | None], x: Axis, y: Axis) -> str:
    """Return the path of a line that is level along each place; where there is no value there is a gap."""
    parts = []
    for place, value in enumerate(values):
        if value is not None:
            start = "L" if place and values[place - 1] is not None else "M"
            parts.append(f"{start}{number(x.at(place))} {number(y.at(value))}H{number(x.at(place + 1))}")
    return "".join(parts)


def legend(colours: Mapping[str, str]) -> Iterator[str]:
    """Yield texts with their colours above a chart, from its right side."""
    place = WIDTH - RIGHT
    for text, colour in reversed([*colours.items()]):
        yield label(text, place, TOP - 12, text_anchor="end", fill_opacity=PALE)
        place -= CHARACTER * len(text) + 8
        yield element("rect", x=place - 8, y=TOP - 20, width=8, height=8, fill=colour)
        place -= 18
