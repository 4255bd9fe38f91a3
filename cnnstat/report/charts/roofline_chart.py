"""Roofline chart: rate of work against work per byte, every layer a dot under what the device was measured to do.

Williams, Waterman & Patterson, Roofline: an insightful visual performance model, CACM 52(4), 2009.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from cnnstat import numbers
from cnnstat.draw.elements import element, number
from cnnstat.profile.profile_result import LayerTime, Profile
from cnnstat.report.charts.axes import BOTTOM, LEFT, RIGHT, TOP, WIDTH, Axis, grid, legend, titled
from cnnstat.report.charts.picture import COLOURS, Picture, hint, label
from cnnstat.report.profile_text import GIGA, RATES
from cnnstat.report.terminal_text import cut_end

HEIGHT = 400.0
BOUNDS = {"compute": COLOURS[0], "memory": COLOURS[1], "latency": COLOURS[2]}
"""The colour of the dots by what bounds them."""

NAMED = 5
"""Layers, the slowest, that are named."""

SMALLEST, LARGEST = 3.0, 16.0
"""Radius of the dot of a layer that takes no time, and of one that takes all, in pixels."""


class RooflineChart(NamedTuple):
    """The layers of a profile under the roofline of its device; a dot's area is its share of the time."""

    profile: Profile

    def picture(self) -> Picture:
        """Return the roof, and a dot for each layer that computes and moves anything."""
        profile, roofline = self.profile, self.profile.roofline
        layers = [each for each in profile.layers if each.intensity and each.forward.median]
        scale, unit = RATES[profile.environment.kind]
        ridge = roofline.flops_per_second / roofline.bandwidth
        x = _decades([*(layer.intensity for layer in layers), ridge / 10, ridge * 10], LEFT, WIDTH - RIGHT)
        rates = [*(layer.flops_per_second for layer in layers), roofline.flops_per_second]
        y = _decades(rates, HEIGHT - BOTTOM, TOP)
        across, up = ([(tick, f"{tick / each:,g}") for tick in axis.ticks()] for axis, each in ((x, 1), (y, scale)))
        parts = [*grid(x, y, across, up, ("floating-point operations per byte moved", unit)), *_roof(profile, x, y)]
        for layer in sorted(layers, key=lambda each: -each.seconds):
            parts.append(_dot(layer, profile, x, y))
        parts += _names(layers, x, y)
        bounds = {layer.bound for layer in layers}
        parts += legend({f"bound by {bound}": colour for bound, colour in BOUNDS.items() if bound in bounds})
        title = f"{profile.model}: roofline on {profile.environment.device_name}"
        about = (
            f"{len(layers)} of {numbers.plural(len(profile.layers), 'layer')}, those that compute; the whole model "
            f"reaches {numbers.rate_text(profile.flops_per_second, scale)} {unit}. Areas are shares of the time."
        )
        return titled(title, about, parts, HEIGHT)


def _decades(values: Sequence[float], start: float, end: float) -> Axis:
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)) + 0.05)
    return Axis(10.0**low, 10.0 ** max(high, low + 1), start, end, is_log=True)


def _roof(profile: Profile, x: Axis, y: Axis) -> Iterator[str]:
    """Yield the two ceilings with their rates: bandwidth up to the ridge, and work."""
    roofline, (scale, unit) = profile.roofline, RATES[profile.environment.kind]
    left = max(x.low, y.low / roofline.bandwidth)
    rate, ridge = roofline.flops_per_second, roofline.flops_per_second / roofline.bandwidth
    points = ((left, left * roofline.bandwidth), (ridge, rate), (x.high, rate))
    path = "L".join(f"{number(x.at(across))} {number(y.at(up))}" for across, up in points)
    yield element("path", d=f"M{path}", fill="none", stroke="currentColor", stroke_width=2)
    yield label(f"{numbers.rate_text(rate, scale)} {unit}", x.end - 4, y.at(rate) - 6, text_anchor="end")
    middle = math.sqrt(left * ridge)
    place, height = x.at(middle), y.at(middle * roofline.bandwidth)
    yield label(f"{numbers.rate_text(roofline.bandwidth, GIGA)} GB/s", place - 8, height - 8, text_anchor="end")


def _dot(layer: LayerTime, profile: Profile, x: Axis, y: Axis) -> str:
    share = profile.time_breakdown.share(layer.seconds)
    radius = max(SMALLEST, LARGEST * math.sqrt(min(1.0, share)))
    times = (
        f"{layer.name}: {numbers.seconds_text(layer.seconds)}, {numbers.whole_percent(layer.share_of_bound)} % floor"
    )
    return element(
        "circle", hint(times), cx=x.at(layer.intensity), cy=y.at(layer.flops_per_second), r=radius,
        fill=BOUNDS.get(layer.bound or "", COLOURS[3]), fill_opacity="0.75", stroke="currentColor", stroke_width=0.5,
    )  # fmt: skip


def _names(layers: Sequence[LayerTime], x: Axis, y: Axis) -> Iterator[str]:
    """Yield the names of the slowest layers, those that would lie on another left out."""
    taken: list[tuple[float, float]] = []
    for layer in sorted(layers, key=lambda each: -each.seconds)[:NAMED]:
        place, height = x.at(layer.intensity), y.at(layer.flops_per_second) + 4
        is_right = place > x.end - 120
        if all(abs(place - across) > 120 or abs(height - up) > 13 for across, up in taken):
            taken.append((place, height))
            side, anchor = (-18, "end") if is_right else (18, "start")
            yield label(cut_end(layer.name, 18), place + side, height, text_anchor=anchor)
