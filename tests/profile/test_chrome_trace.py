"""The timeline that `--trace` writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")

from cnnstat.errors import CnnstatError
from cnnstat.profile.chrome_trace import Slice, chrome_trace, slices_of, write_trace
from cnnstat.profile.traces.kernel_attribution import attribute
from cnnstat.profile.traces.kineto_trace import read_trace

TRACE = Path(__file__).parent / "traces" / "backward.json"


def tracks(document: dict) -> dict[int, str]:
    return {
        event["tid"]: event["args"]["name"]
        for event in document["traceEvents"]
        if event["ph"] == "M" and event["name"] == "thread_name" and event["pid"] >= 2_000_000_000
    }


def test_layers_have_a_track_above_the_streams(tmp_path: Path) -> None:
    events = json.loads(TRACE.read_text())["traceEvents"]
    passes = attribute(read_trace(events)).passes
    write_trace(tmp_path / "t.json", slices_of(passes[:1], ["conv1", "relu1"]), events)
    document = json.loads((tmp_path / "t.json").read_text())
    assert tracks(document) == {0: "layers", 1: "stream 7"}
    ours = [event for event in document["traceEvents"] if event.get("cat") == "cnnstat"]
    layers = [event["name"] for event in ours if event["tid"] == 0]
    assert layers == ["conv1", "relu1", "unattributed", "relu1 (backward)", "conv1 (backward)"]
    assert len([event for event in ours if event["tid"] == 1]) == 9
    assert [event for event in document["traceEvents"] if event.get("cat") == "kernel"]


def test_times_of_layers_are_those_of_their_kernels() -> None:
    events = json.loads(TRACE.read_text())["traceEvents"]
    (first, *_) = attribute(read_trace(events)).passes
    layer = next(piece for piece in slices_of([first], ["conv1", "relu1"]) if piece.track == "layers")
    assert layer.start == first.pieces[0].kernel.start
    assert layer.end == first.pieces[1].kernel.end


def test_what_overlaps_is_put_side_by_side() -> None:
    document = chrome_trace([Slice("layers", "a", 0, 10), Slice("layers", "b", 5, 12), Slice("layers", "c", 12, 20)])
    assert tracks(document) == {0: "layers", 1: "layers"}
    placed = {event["name"]: event["tid"] for event in document["traceEvents"] if event["ph"] == "X"}
    assert placed == {"a": 0, "b": 1, "c": 0}


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CnnstatError, match=r"cannot write the trace .*name another file"):
        write_trace(tmp_path / "file" / "t.json", [])
