"""Memory chart: what is allocated while each layer runs, as measured and as predicted."""

from __future__ import annotations

from typing import NamedTuple

from cnnstat.draw.elements import element
from cnnstat.numbers import Unit, plural
from cnnstat.profile.profile_result import Profile
from cnnstat.report.charts.axes import (
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Axis,
    grid,
    legend,
    steps,
    ticked,
    titled,
    upward,
)
from cnnstat.report.charts.picture import COLOURS, Picture, hint


class MemoryChart(NamedTuple):
    """Two lines over the layers in the order in which they run: measured and predicted bytes."""

    profile: Profile

    def picture(self) -> Picture:
        """Return both lines, with the sizes over each layer."""
        points = self.profile.memory
        high = max((max(each.measured, each.predicted) for each in points), default=0)
        step_of = 1024.0 ** ((max(1, high).bit_length() - 1) // 10)
        x, y = Axis(0, max(1, len(points)), LEFT, WIDTH - RIGHT), upward(high, step_of)
        size = Unit.BYTES.brief
        ticks = ticked(y, lambda value: size(round(value)), step_of)
        parts = list(grid(x, y, [], ticks, ("", "allocated")))
        for place, each in enumerate(points):
            sizes = f"{each.layer}: {size(each.measured)} measured, {size(each.predicted)} predicted"
            left, right = x.at(place), x.at(place + 1)
            parts.append(
                element("rect", hint(sizes), x=left, y=TOP, width=right - left, height=HEIGHT - TOP, fill_opacity="0")
            )
        for line, colour, dashes in (("predicted", COLOURS[1], "5 4"), ("measured", COLOURS[0], None)):
            path = steps([getattr(each, line) for each in points], x, y)
            parts.append(element("path", d=path, fill="none", stroke=colour, stroke_width=2, stroke_dasharray=dashes))
        parts += legend({"measured": COLOURS[0], "predicted": COLOURS[1]})
        title = f"{self.profile.model}: memory over one pass"
        about = f"{plural(len(points), 'layer')} in the order in which they run; inputs and parameters aside."
        return titled(title, about, parts)
