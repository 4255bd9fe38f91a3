"""Timeline chart: which layer ran when in one pass, a lane for each stream or thread; what is blank is a gap."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from cnnstat import numbers
from cnnstat.draw.elements import element
from cnnstat.profile.profile_result import Profile
from cnnstat.report.charts.axes import BOTTOM, LEFT, RIGHT, TOP, WIDTH, Axis, grid, legend, ticked, titled
from cnnstat.report.charts.picture import COLOURS, PALE, Picture, hint, label
from cnnstat.report.terminal_text import cut_end

LANE = 34.0
"""Pixels from one lane to the next; a slice takes two thirds of it."""

KINDS = 6
"""Operations, those that take longest, that have a colour of their own."""

OTHERS = "other"


class TimelineChart(NamedTuple):
    """The slices of a profile's timeline, coloured by operation; those of the backward pass are paler."""

    profile: Profile

    def picture(self) -> Picture:
        """Return the lanes over a common axis of time."""
        profile, slices = self.profile, self.profile.timeline
        tracks = list(dict.fromkeys(each.track for each in slices))
        end = max((each.start + each.seconds for each in slices), default=0.0) or 1e-6
        height = TOP + LANE * len(tracks) + BOTTOM
        x, y = Axis(0, end, LEFT, WIDTH - RIGHT), Axis(0, max(1, len(tracks)), TOP, height - BOTTOM)
        kinds = self._colours()
        parts = [
            *grid(x, Axis(0, 1, height - BOTTOM, TOP), ticked(x, numbers.seconds_text), [], ("time of the pass", ""))
        ]
        parts += [label(cut_end(track, 9), LEFT - 6, y.at(lane + 0.6), text_anchor="end", fill_opacity=PALE)
                  for lane, track in enumerate(tracks)]  # fmt: skip
        kind_of = {layer.name: layer.kind for layer in profile.layers}
        for each in slices:
            name = each.layer + " (backward)" * each.backward
            kind = kind_of.get(each.layer, OTHERS)
            times = f"{name}: {numbers.seconds_text(each.seconds)}, from {numbers.seconds_text(each.start)}"
            parts.append(
                element(
                    "rect", hint(times),
                    x=x.at(each.start), y=y.at(tracks.index(each.track) + 1 / 6),
                    width=max(0.25, x.at(each.start + each.seconds) - x.at(each.start)), height=LANE * 2 / 3,
                    fill=kinds.get(kind, COLOURS[-1]), fill_opacity="0.55" if each.backward else "0.95",
                )
            )  # fmt: skip
        parts += legend({cut_end(kind, 16): colour for kind, colour in kinds.items()} | {OTHERS: COLOURS[-1]})
        title = f"{profile.model}: one pass on {profile.environment.device_name}"
        about = (
            f"{numbers.plural(len(slices), 'slice')} on {numbers.plural(len(tracks), 'lane')} in "
            f"{numbers.seconds_text(end)}; what is blank is a gap."
        )
        return titled(title, about, parts, height)

    def _colours(self) -> Mapping[str, str]:
        times: dict[str, float] = {}
        for layer in self.profile.layers:
            times[layer.kind] = times.get(layer.kind, 0.0) + layer.seconds
        longest = sorted(filter(times.get, times), key=lambda kind: -times[kind])[:KINDS]
        return dict(zip(longest, COLOURS))
