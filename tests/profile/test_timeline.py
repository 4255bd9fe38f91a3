"""Timelines: what ran when, without what stands still; the same nanoseconds as the rows have."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from recordings import NAMES, recording

from cnnstat.errors import CnnstatError
from cnnstat.profile.profile_json import parse_profile, to_json
from cnnstat.profile.recorded.recorded_profile import profile_recording
from cnnstat.profile.traces.kernel_attribution import attribute
from cnnstat.profile.traces.kineto_trace import read_trace
from cnnstat.profile.traces.timeline import TOGETHER, timeline
from cnnstat.report.subjects.profile import document
from cnnstat.sources.load import named_model
from cnnstat.sources.request import Request


@pytest.mark.parametrize("name", NAMES)
def test_slices_hold_all_kernels_and_no_gap_that_is_longer_than_a_launch(name: str) -> None:
    found = recording(name)
    (one,) = attribute(read_trace(found["traceEvents"])).passes
    slices = timeline(one, [str(row) for row in range(len(found["answers"]["rows"]))])
    assert min(each.start for each in slices) == 0
    assert max(each.start + each.seconds for each in slices) == pytest.approx(one.span / 1e9)
    busy = sum(piece.kernel.end - piece.kernel.start for piece in one.pieces)
    most = busy + TOGETHER * len(one.pieces)
    assert busy <= 1.000001e9 * sum(each.seconds for each in slices) <= most
    streams = {f"stream {piece.kernel.stream}" for piece in one.pieces}
    assert {each.track for each in slices} == streams
    for track in streams:
        own = [each for each in slices if each.track == track]
        assert all(before.start <= after.start for before, after in zip(own, own[1:]))


def test_laps_of_a_stopwatch_are_slices() -> None:
    pytest.importorskip("torch")
    from cnnstat.profile.stopwatch import Lap, Stopwatch, timeline_of

    watch = Stopwatch(lambda: 0)
    watch.laps += [Lap(0, 100, 300), Lap(-1, 300, 350)]
    watch.backward_laps.append(Lap(0, 500, 900))
    first, second, third = timeline_of(watch, ["conv"])
    assert (first.layer, first.start, first.seconds) == ("conv", 0, 200e-9)
    assert second.layer == "unattributed" and third.backward and third.start == 400e-9


def test_a_recorded_profile_is_drawn_lane_by_lane(tmp_path: Path) -> None:
    (tmp_path / "trace.json").write_text(json.dumps(recording("a100-ddp-training-step"), default=float))
    profile = profile_recording(named_model("alexnet", Request()), tmp_path / "trace.json")
    assert parse_profile(json.dumps(to_json(profile)), "it").timeline == profile.timeline
    picture = document(profile).picture(["timeline"])
    text = picture.standalone()
    assert {"stream 7", "stream 40"} <= set(re.findall(r"stream \d+", text))
    assert text.count("<rect") >= len(profile.timeline) and "what is blank is a gap" in picture.description
    with pytest.raises(CnnstatError, match="there is no chart timelin; did you mean timeline"):
        document(profile).picture(["timelin"])


def test_a_profile_on_a_cpu_has_one() -> None:
    pytest.importorskip("torch")
    import cnnstat

    found = cnnstat.profile("lenet5", device="cpu", threads=1, samples=3)
    assert [each.layer for each in found.timeline if each.layer != "unattributed"] == [
        layer.name for layer in found.layers
    ]
