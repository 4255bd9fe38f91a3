"""Memory over a pass, as torch.profiler records it and as it is predicted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cnnstat.profile.profile_json import parse_profile, to_json
from cnnstat.profile.traces.kineto_trace import LayerRange, PassRange
from cnnstat.profile.traces.timeline import memory_by_row
from cnnstat.report.subjects.profile import document

STEP = PassRange(kind="eager", index=0, start=1000, end=9000, thread=1)


def allocation(moment: int, size: int, total: int, device: int = 1) -> dict[str, Any]:
    args = {"Total Allocated": total, "Bytes": size, "Device Type": device, "Device Id": 0}
    return {"ph": "i", "name": "[memory]", "ts": moment / 1000, "tid": 1, "args": args}


def ranged(row: int, start: int, end: int) -> LayerRange:
    return LayerRange(row=row, call=0, start=start, end=end, thread=1)


EVENTS = [
    allocation(500, 100, 1100),
    allocation(2000, 400, 1500),
    allocation(2500, 64, 64, device=0),
    allocation(3000, 800, 2300),
    allocation(3500, -800, 1500),
    allocation(5000, 200, 1700),
    allocation(6000, -400, 1300),
]


def test_a_row_has_the_most_that_is_allocated_while_it_runs() -> None:
    ranges = [ranged(0, 1500, 4000), ranged(1, 4500, 5500), ranged(2, 6500, 7000), ranged(-1, 7000, 7500)]
    found = memory_by_row(EVENTS, ranges, STEP, is_cpu=False)
    # Over the 1,100 bytes from before; row 2 allocates nothing, and has what is there.
    assert found == {-1: 1200, 0: 1200, 1: 600, 2: 200}


def test_what_was_there_before_the_first_record_and_other_devices_do_not_count() -> None:
    assert memory_by_row(EVENTS[1:], [ranged(0, 1500, 2500)], STEP, is_cpu=False)[0] == 400
    assert memory_by_row(EVENTS, [], STEP, is_cpu=True) == {-1: 64}
    assert memory_by_row([{"name": "[memory]", "ts": 1, "args": None}], [], STEP, is_cpu=True) == {}


def test_measured_and_predicted_memory_of_layers_without_a_workspace_are_the_same() -> None:
    pytest.importorskip("torch")
    import cnnstat

    found = cnnstat.profile("alexnet", device="cpu", threads=1, samples=3, ops=True)
    plain = [each for each in found.memory if each.layer.startswith(("relu", "dropout", "flatten"))]
    assert len(plain) == 10 and all(each.measured == each.predicted for each in plain)
    assert all(each.measured >= each.predicted for each in found.memory)
    assert found.peak_bytes is not None and found.peak_bytes >= max(each.measured for each in found.memory)
    assert parse_profile(json.dumps(to_json(found)), "it").memory == found.memory
    picture = document(found).picture(["memory"])
    assert "memory over one pass" in picture.title and "relu6: 16.0 KiB measured" in picture.standalone()


def test_a_recording_has_it(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    import cnnstat
    from cnnstat.profile.recorded.recorded_profile import profile_recording
    from cnnstat.sources.load import named_model
    from cnnstat.sources.request import Request

    (tmp_path / "m.yaml").write_text("input: [3, 8, 8]\nlayers:\n  - '0': Conv2d(4, 3, padding=1)\n  - '1': ReLU\n")
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.ReLU()).eval()
    x = torch.rand(1, 3, 8, 8)
    with torch.no_grad(), cnnstat.recording(model, tmp_path / "trace.json"):
        for _ in range(3):
            model(x)
    found = profile_recording(named_model(str(tmp_path / "m.yaml"), Request()), tmp_path / "trace.json")
    relu = next(each for each in found.memory if each.layer == "1")
    assert relu.measured == relu.predicted == 2 * 4 * 4 * 8 * 8
