"""Memory chart: what is allocated while each layer runs, as measured and as predicted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cnnstat.draw.elements import element, number
from cnnstat.numbers import Unit, plural
from cnnstat.profile.profile_result import Profile
from cnnstat.report.charts.axes import HEIGHT, LEFT, RIGHT, TOP, WIDTH, Axis, grid, heading, ticked, upward
from cnnstat.report.charts.picture import COLOURS, PALE, Picture, hint, label


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
            said = f"{each.layer}: {size(each.measured)} measured, {size(each.predicted)} predicted"
            left, right = x.at(place), x.at(place + 1)
            parts.append(
                element("rect", hint(said), x=left, y=TOP, width=right - left, height=HEIGHT - TOP, fill_opacity="0")
            )
        parts.append(_steps([each.predicted for each in points], x, y, COLOURS[1], "5 4"))
        parts.append(_steps([each.measured for each in points], x, y, COLOURS[0], "none"))
        for text, beside, colour in (("measured", 180.0, COLOURS[0]), ("predicted", 90.0, COLOURS[1])):
            left = WIDTH - RIGHT - beside
            parts.append(element("rect", x=left, y=TOP - 17, width=16, height=3, fill=colour))
            parts.append(label(text, left + 22, TOP - 12, fill_opacity=PALE))
        title = f"{self.profile.model}: memory over one pass"
        about = f"{plural(len(points), 'layer')} in the order in which they run; inputs and parameters aside."
        return Picture(title, about, WIDTH, HEIGHT, heading(title) + "".join(parts))


def _steps(values: Sequence[int], x: Axis, y: Axis, colour: str, dash: str) -> str:
    """Return a line that is level over each layer."""
    corners = [
        f"{number(x.at(place + side))} {number(y.at(value))}" for place, value in enumerate(values) for side in (0, 1)
    ]
    return element("path", d=f"M{'L'.join(corners)}", fill="none", stroke=colour, stroke_width=2, stroke_dasharray=dash)
