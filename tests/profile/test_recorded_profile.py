"""Profiles of recordings made elsewhere: times of layers are those recorded, and the parts add up to the passes."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from recordings import recording as real_recording

from cnnstat.errors import CnnstatError
from cnnstat.profile.profile_json import parse_profile, to_json
from cnnstat.profile.profile_result import Profile
from cnnstat.profile.recorded.op_rows import RecordedOp, Row, match_ops
from cnnstat.profile.recorded.recorded_profile import profile_recording
from cnnstat.sources.load import named_model
from cnnstat.sources.request import Request


def written(document: Any, folder: Path, name: str = "trace.json") -> Path:
    path = folder / name
    text = json.dumps(document, default=float).encode()
    path.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    return path


def profiled(path: Path, source: str = "alexnet", **options: Any) -> Profile:
    return profile_recording(named_model(source, Request(**options)), path)


def adds_up(profile: Profile) -> bool:
    found = profile.time_breakdown
    return abs(found.residual) <= 1e-9 * len(profile.layers)


@pytest.mark.parametrize("name", ["trace.json", "trace.json.gz"])
def test_convolutions_of_a_real_alexnet_have_their_nanoseconds(tmp_path: Path, name: str) -> None:
    document = real_recording("a100-alexnet-forward")
    profile = profiled(written(document, tmp_path, name))
    answers = document["answers"]
    expected = [
        answers["forward_ns_by_row"][str(row)] / 1e9
        for row, op in enumerate(answers["rows"])
        if op in ("aten::conv2d", "aten::linear")
    ]
    times = [layer.forward.median for layer in profile.layers if layer.kind in ("Conv2d", "Linear")]
    # Two passes, of which one has a kernel fewer. Where copies run meanwhile, a layer's share is smaller.
    overlap = answers["overlap_ns"] / 1e9
    assert len(expected) == 16 and sum(expected[:8]) - overlap <= sum(times) <= sum(expected[:8]) + 1e-9
    assert sum(time == pytest.approx(whole, abs=2e-9) for time, whole in zip(times, expected)) == 7
    assert profile.whole.plain.count == 1 and adds_up(profile)


def test_a_recorded_profile_is_kept_and_read_like_any_other(tmp_path: Path) -> None:
    profile = profiled(written(real_recording("a100-alexnet-forward"), tmp_path))
    again = parse_profile(json.dumps(to_json(profile)), "it")
    assert again.roofline == profile.roofline and again.layers == profile.layers
    assert "recorded passes" in repr(profile)


ROWS = (
    Row("conv1", frozenset({"conv2d"}), (1, 3, 8, 8)),
    Row("relu1", frozenset({"relu"}), (1, 4, 8, 8)),
    Row("conv2", frozenset({"conv2d"}), (1, 4, 8, 8)),
    Row("relu2", frozenset({"relu"}), (1, 4, 8, 8)),
)


def test_ops_are_told_by_sizes_and_by_order() -> None:
    named = [
        RecordedOp(name) for name in ("aten::conv2d", "aten::relu_", "aten::dropout", "aten::conv2d", "aten::relu")
    ]
    found = match_ops(named, ROWS)
    assert found.rows == (0, 1, None, 2, 3)
    assert found.ambiguous == ("conv1", "relu1", "conv2", "relu2")
    sized = [RecordedOp("aten::conv2d", (1, 4, 8, 8)), RecordedOp("aten::conv2d", (1, 3, 8, 8))]
    # Out of order, but of a size that only one layer has.
    assert match_ops(sized, ROWS).rows.count(None) == 0
    assert match_ops([RecordedOp("aten::conv2d", (1, 5, 8, 8))], ROWS).rows == (None,)


def test_marks_of_modules_come_before_names_and_sizes() -> None:
    ops = [RecordedOp("aten::conv2d", None, "conv2"), RecordedOp("aten::add_", None, "conv1")]
    assert match_ops(ops, ROWS).rows == (2, 0)


# Recordings of PyTorch on this machine --------------------------------------------------------------------------------


try:
    import torch
    from torch import nn
except ImportError:
    torch = nn = None  # type: ignore[assignment]

needs_torch = pytest.mark.skipif(torch is None, reason="recording needs PyTorch")


def lenet() -> Any:
    layers = [
        ("conv1", nn.Conv2d(1, 6, 5, padding=2)),
        ("tanh1", nn.Tanh()),
        ("pool1", nn.AvgPool2d(2)),
        ("conv2", nn.Conv2d(6, 16, 5)),
        ("tanh2", nn.Tanh()),
    ]
    module = nn.Sequential()
    for name, layer in layers:
        module.add_module(name, layer)
    return module


SPEC = """
name: small
input: [1, 28, 28]
layers:
  - conv1: Conv2d(6, 5, padding=2)
  - tanh1: Tanh
  - pool1: AvgPool2d(2)
  - conv2: Conv2d(16, 5)
  - tanh2: Tanh
"""


def spec(folder: Path) -> str:
    (folder / "small.yaml").write_text(SPEC)
    return str(folder / "small.yaml")


@needs_torch
def test_a_loop_that_trains_is_recorded_with_its_layers(tmp_path: Path) -> None:
    import cnnstat

    model = lenet()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    hooks = len(model._forward_hooks), len(model.conv1._forward_hooks)
    with cnnstat.recording(model, tmp_path / "trace.json.gz"):
        for _ in range(3):
            optimizer.zero_grad()
            model(torch.rand(4, 1, 28, 28)).sum().backward()
            optimizer.step()
    assert (len(model._forward_hooks), len(model.conv1._forward_hooks)) == hooks
    profile = profiled(tmp_path / "trace.json.gz", spec(tmp_path))
    assert profile.batch == 4 and adds_up(profile) is not None
    by_name = {layer.name: layer for layer in profile.layers}
    assert by_name["optimizer"].kind == "SGD" and by_name["optimizer"].seconds > 0
    for name in ("conv1", "tanh1", "pool1", "conv2", "tanh2"):
        assert by_name[name].forward.median > 0 and by_name[name].backward and by_name[name].calls == 1
    assert profile.time_breakdown.unattributed < 0.5 * profile.time_breakdown.whole


@needs_torch
def test_compiled_regions_are_looked_into(tmp_path: Path) -> None:
    """Ops of a region that Inductor does not fuse keep their names; the region itself is no op."""
    from torch.profiler import profile as torch_profile
    from torch.profiler import record_function

    model, x = lenet(), torch.rand(2, 1, 28, 28)
    with torch.no_grad(), torch_profile() as profiler, record_function("Torch-Compiled Region: 0/0"):
        model(x)
    profiler.export_chrome_trace(str(tmp_path / "trace.json"))
    document = json.loads((tmp_path / "trace.json").read_text())
    for event in document["traceEvents"]:
        if str(event.get("name")).startswith("Torch-Compiled"):
            event["cat"] = "cpu_op"
    profile = profiled(written(document, tmp_path), spec(tmp_path))
    assert all(layer.forward.median > 0 for layer in profile.layers)


@needs_torch
@pytest.mark.parametrize("shapes", [False, True])
def test_a_recording_without_marks_is_cut_into_its_passes(tmp_path: Path, shapes: bool) -> None:
    from torch.profiler import profile as torch_profile

    model, x = lenet(), torch.rand(2, 1, 28, 28)
    with torch.no_grad(), torch_profile(record_shapes=shapes) as profiler:
        for _ in range(3):
            model(x)
    profiler.export_chrome_trace(str(tmp_path / "trace.json"))
    profile = profiled(tmp_path / "trace.json", spec(tmp_path))
    layers = [layer for layer in profile.layers if layer.forward.median > 0]
    assert [layer.name for layer in layers] == ["conv1", "tanh1", "pool1", "conv2", "tanh2"]
    assert any("no marks of modules" in note for note in profile.notes)
    assert any("told by order alone" in note for note in profile.notes) is not shapes
    assert profile.batch == (2 if shapes else 1)


# Engines --------------------------------------------------------------------------------------------------------------

TENSORRT = [
    {"count": 500},
    {"name": "Reformatting CopyNode for Input Tensor 0 to /conv1/Conv", "timeMs": 5.0, "averageMs": 0.01},
    {"name": "/conv1/Conv + PWN(/tanh1/Tanh)", "timeMs": 50.0, "averageMs": 0.1, "medianMs": 0.09},
    {"name": "/pool1/AveragePool", "timeMs": 10.0, "averageMs": 0.02},
    {"name": "{ForeignNode[/conv2/Conv.../tanh2/Tanh]}", "timeMs": 25.0, "averageMs": 0.05},
]


def test_fused_layers_of_tensorrt_share_their_time(tmp_path: Path) -> None:
    profile = profiled(written(TENSORRT, tmp_path), spec(tmp_path))
    times = {layer.name: layer.seconds for layer in profile.layers}
    assert times["conv1"] + times["tanh1"] == pytest.approx(90e-6)
    assert min(times["conv1"], times["tanh1"]) > 0
    assert times["pool1"] == pytest.approx(20e-6)
    assert times["conv2"] + times["tanh2"] == pytest.approx(50e-6)
    assert profile.time_breakdown.unattributed == pytest.approx(10e-6)
    assert profile.time_breakdown.whole == pytest.approx(170e-6) and adds_up(profile)
    assert any("2 regions of several layers share" in note for note in profile.notes)


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("/conv1/Conv + PWN(PWN(/tanh1/Sigmoid), /tanh1/Tanh)", {"conv1", "tanh1"}),
        ("/conv2/Conv || /conv1/Conv", {"conv1", "conv2"}),
        ("{ForeignNode[/conv1/Conv + /tanh1/Tanh.../conv2/Conv]}", {"conv1", "tanh1", "pool1", "conv2"}),
    ],
)
def test_names_of_tensorrt_are_taken_apart(tmp_path: Path, name: str, rows: set[str]) -> None:
    others = [row for row in ("conv1", "tanh1", "pool1", "conv2", "tanh2") if row not in rows]
    ops = {"conv": "Conv", "tanh": "Tanh", "pool": "AveragePool"}
    entries = [{"name": f"/{row}/{ops[row[:-1]]}", "averageMs": 1.0} for row in others]
    profile = profiled(written([{"name": name, "averageMs": 8.0}, *entries], tmp_path), spec(tmp_path))
    times = {layer.name: layer.seconds for layer in profile.layers}
    assert sum(times[row] for row in rows) == pytest.approx(8e-3) and all(times[row] > 0 for row in rows)
    assert [times[row] for row in others] == pytest.approx([1e-3] * len(others))


def test_layer_info_tells_what_names_do_not(tmp_path: Path) -> None:
    entries = [{"count": 1}, {"name": "__myl_Fused_0", "timeMs": 1, "averageMs": 1.0}]
    metadata = "[ONNX Layer: /conv2/Conv]\x1e[ONNX Layer: /tanh2/Tanh]"
    info = {"Layers": [{"Name": "__myl_Fused_0", "Metadata": metadata}], "Bindings": []}
    reference = named_model(spec(tmp_path), Request())
    found = profile_recording(reference, written(entries, tmp_path), written(info, tmp_path, "info.json"))
    times = {layer.name: layer.seconds for layer in found.layers}
    assert times["conv2"] + times["tanh2"] + times["conv1"] + times["tanh1"] + times["pool1"] == pytest.approx(1e-3)


def onnxruntime_run(start: int, times: dict[str, tuple[str, int]], whole: int) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = [{"cat": "Session", "name": "model_run", "ts": start, "dur": whole, "args": {}}]
    for name, (op, duration) in times.items():
        start += 1
        args = {"op_name": op, "provider": "CPUExecutionProvider"}
        events.append({"cat": "Node", "name": f"{name}_kernel_time", "ts": start, "dur": duration, "args": args})
        start += duration
    return events


def test_nodes_of_onnx_runtime_are_layers_and_runs_the_whole(tmp_path: Path) -> None:
    times = {
        "/tanh1/Tanh_output_0_nchwc": ("Conv", 80),
        "/pool1/AveragePool": ("AveragePool", 10),
        "ReorderOutput_token_3": ("ReorderOutput", 3),
        "/conv2/Conv": ("Conv", 40),
        "/tanh2/Tanh": ("Tanh", 5),
    }
    events = [event for run in range(4) for event in onnxruntime_run(1000 * run, times, 150)]
    profile = profiled(written(events, tmp_path), spec(tmp_path))
    found = {layer.name: layer.seconds for layer in profile.layers}
    assert found["conv1"] + found["tanh1"] == pytest.approx(80e-6) and found["conv1"] > 0
    assert found["conv2"] == pytest.approx(40e-6) and found["tanh2"] == pytest.approx(5e-6)
    assert profile.time_breakdown.unattributed == pytest.approx(3e-6)
    assert profile.time_breakdown.idle == pytest.approx(12e-6) and profile.whole.plain.median == pytest.approx(150e-6)
    assert profile.environment.device == "cpu" and adds_up(profile)


# Files that are none --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "not valid JSON"),
        (b"\x1f\x8bnothing", "damaged gzip file"),
        (gzip.compress(b"{}" * 99, mtime=0)[:-9], "ends too early"),
        (b"[" * 100_000, "not valid JSON"),
        (b"{}", "no recording; give what"),
        (b"[]", "no recording; give what"),
        (b'{"traceEvents": []}', "no pass with work in it"),
        (b'{"traceEvents": [{"ph": "X", "cat": "kernel", "name": "k", "ts": "x"}]}', "damaged"),
        (
            b'{"traceEvents": [{"ph": "X", "cat": "cpu_op", "name": "aten::sin", "ts": 1, "dur": 2}]}',
            "no op of the rec",
        ),
        (b'[{"name": "other", "averageMs": 1}]', "no layer of TensorRT fits"),
    ],
)
def test_files_that_are_no_recording_are_one_line(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "trace.json").write_bytes(content)
    with pytest.raises(CnnstatError, match=said) as raised:
        profiled(tmp_path / "trace.json", "lenet5")
    assert str(tmp_path / "trace.json") in str(raised.value) and "\n" not in str(raised.value)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(CnnstatError, match=r"no\.json: cannot be read: No such file"):
        profiled(tmp_path / "no.json")


def test_a_recording_of_another_model_is_told(tmp_path: Path) -> None:
    profile = profiled(written(real_recording("mi250-rocm-training"), tmp_path))
    assert any("this may be another model: 1 of 8 layers" in note for note in profile.notes)


def test_options_that_say_how_to_measure_are_refused(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from cnnstat.cli import app

    path = written(TENSORRT, tmp_path)
    found = CliRunner().invoke(app, ["profile", spec(tmp_path), "--from", str(path), "--isolate"])
    assert "--isolate says how to measure" in str(found.exception or found.output)
