"""Ops inside layers: together they take what the layers take, on real recordings to the nanosecond."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from recordings import NAMES, recording

from cnnstat.profile.profile_json import parse_profile, to_json
from cnnstat.profile.recorded.recorded_profile import profile_recording
from cnnstat.profile.traces.kernel_times import op_times
from cnnstat.profile.traces.kineto_trace import read_trace
from cnnstat.sources.load import named_model
from cnnstat.sources.request import Request


@pytest.mark.parametrize("name", NAMES)
def test_ops_of_a_row_take_its_nanoseconds(name: str) -> None:
    document = recording(name)
    trace = read_trace(document["traceEvents"])
    rows = [str(row) for row in range(len(document["answers"]["rows"]))]
    found = op_times(trace, [step for step in trace.pass_ranges if step.kind == "eager"], rows)
    for key, backward in (("forward_ns_by_row", False), ("backward_ns_by_row", True)):
        times: Counter[int] = Counter()
        for each in found:
            if each.layer != "unattributed" and each.backward is backward:
                times[int(each.layer)] += round(1e9 * each.seconds)
        assert times == {int(row): time for row, time in document["answers"][key].items()}
    assert any(each.op.startswith("aten::") for each in found)


def event(category: str, name: str, start: int, end: int, **arguments: Any) -> dict[str, Any]:
    return {"ph": "X", "cat": category, "name": name, "tid": 1, "ts": start / 1000, "dur": (end - start) / 1000,
            "args": arguments}  # fmt: skip


MARKED = [
    event("user_annotation", "cnnstat#eager#0", 0, 1000),
    event("user_annotation", "cnnstat#0#0", 100, 500),
    event("cpu_op", "aten::conv2d", 120, 480),
    event("cpu_op", "aten::empty", 130, 150),
    event("cpu_op", "aten::mkldnn_convolution", 150, 450),
    event("cpu_op", "aten::empty", 200, 210),
    event("cpu_op", "aten::relu", 600, 700),
]


def test_on_a_cpu_an_op_takes_what_those_inside_it_do_not() -> None:
    trace = read_trace(MARKED)
    found = {(each.layer, each.op): (each.calls, round(1e9 * each.seconds))
             for each in op_times(trace, trace.pass_ranges, ["conv"])}  # fmt: skip
    assert found == {
        ("conv", "aten::mkldnn_convolution"): (1, 290),
        ("conv", "aten::conv2d"): (1, 40),
        ("conv", "aten::empty"): (2, 30),
        ("unattributed", "aten::relu"): (1, 100),
    }


def test_on_a_gpu_it_is_the_op_that_launches() -> None:
    launch = event("cuda_runtime", "cudaLaunchKernel", 220, 230, correlation=7)
    kernel = event("kernel", "implicit_gemm", 300, 1300, correlation=7, stream=7)
    trace = read_trace([*MARKED, launch, kernel])
    (one,) = op_times(trace, trace.pass_ranges, ["conv"])
    assert (one.layer, one.op, one.calls, one.seconds) == ("conv", "aten::mkldnn_convolution", 1, 1e-6)


def test_a_recording_has_them_where_they_are_asked_for(tmp_path: Path) -> None:
    (tmp_path / "trace.json").write_text(json.dumps(recording("a100-alexnet-forward"), default=float))
    reference = named_model("alexnet", Request())
    assert not profile_recording(reference, tmp_path / "trace.json").ops
    found = profile_recording(reference, tmp_path / "trace.json", has_ops=True)
    own = [each for each in found.ops if each.layer == "conv1"]
    assert {"aten::cudnn_convolution", "aten::add_"} <= {each.op for each in own}
    assert "ops inside the layers" in repr(found)
    assert parse_profile(json.dumps(to_json(found)), "it").ops == found.ops


def test_a_profile_on_a_cpu_has_them() -> None:
    pytest.importorskip("torch")
    import cnnstat

    found = cnnstat.profile("lenet5", device="cpu", threads=1, samples=3, ops=True)
    layers = {each.layer for each in found.ops}
    assert {layer.name for layer in found.layers if layer.macs} <= layers
    assert all(each.seconds >= 0 and each.calls > 0 for each in found.ops)
