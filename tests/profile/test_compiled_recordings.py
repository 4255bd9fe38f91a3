"""Recordings of torch.compile: kernels that it fused share their time among the layers they come from, exactly.

Names, order and sizes are those that PyTorch 2.14 recorded of this network; durations are made up.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cnnstat.profile.profile_result import Profile
from cnnstat.profile.recorded.op_rows import RecordedOp, Row, match_ops
from cnnstat.profile.recorded.recorded_profile import profile_recording
from cnnstat.sources.load import named_model
from cnnstat.sources.request import Request

SPEC = """
name: small
input: [3, 32, 32]
layers:
  - stem: Conv2d(16, 3, padding=1)
  - relu: ReLU
  - add:
      - - conv1: Conv2d(16, 3, padding=1, bias=false)
        - bn1: BatchNorm2d
        - relu1: ReLU
        - conv2: Conv2d(16, 3, padding=1, bias=false)
        - bn2: BatchNorm2d
      - []
    name: add
  - relu2: ReLU
  - pool: AdaptiveAvgPool2d(1)
  - flatten: Flatten
  - fc: Linear(10)
"""

IMAGE, MAP = [[4, 3, 32, 32], [16, 3, 3, 3]], [[4, 16, 32, 32], [16, 16, 3, 3]]
NORM = "_native_batch_norm_legit_no_training"
FORWARD: list[tuple[str, list[list[int]], int]] = [
    ("{}_fused_convolution_0", [], 100),
    ("aten::convolution", IMAGE, 1000),
    ("{}_fused_convolution_relu_1", [], 200),
    ("aten::convolution", MAP, 2000),
    (f"{{}}_fused_{NORM}_convolution_relu_2", [], 301),
    ("aten::convolution", MAP, 2000),
    (f"{{}}_fused_{NORM}_add_mean_relu_4", [], 703),
    ("aten::addmm", [[10], [4, 16], [16, 10]], 50),
]
BACK = [[4, 16, 32, 32], *MAP]
BACKWARD: list[tuple[str, list[list[int]], int]] = [
    ("aten::mm", [[4, 10], [10, 16]], 60),
    ("{}_fused_convolution_backward_div_expand_native_batch_norm_backward_threshold_backward_view_0", [], 400),
    ("aten::convolution_backward", BACK, 4000),
    ("{}_fused_convolution_backward_native_batch_norm_backward_threshold_backward_1", [], 500),
    ("aten::convolution_backward", BACK, 4000),
    ("{}_fused_add_convolution_backward_div_expand_threshold_backward_view_3", [], 600),
    ("aten::convolution_backward", [[4, 16, 32, 32], *IMAGE], 3000),
    ("{}_fused_sum_4", [], 20),
    ("aten::mm", [[10, 4], [4, 16]], 70),
]
SHARED = {
    ("relu",): 200,
    ("bn1", "relu1"): 301,
    ("bn2", "add", "relu2", "pool"): 703,
}
"""Nanoseconds of fused kernels by their layers; the first kernel, of a convolution alone, is that layer's."""


class Made:
    """A recording under way: ops of one thread behind one another, 10 ns apart, each with its kernel on a GPU."""

    def __init__(self, prefix: str, on_gpu: bool) -> None:
        self.events: list[dict[str, Any]] = []
        self.now = 1_000_000
        self.prefix, self.on_gpu = prefix, on_gpu

    def event(self, category: str, name: str, start: int, end: int, **arguments: Any) -> None:
        entry = {"ph": "X", "cat": category, "name": name, "pid": 1, "tid": 1, "ts": start / 1000,
                 "dur": (end - start) / 1000, "args": arguments}  # fmt: skip
        self.events.append(entry)

    def ops(self, listed: list[tuple[str, list[list[int]], int]]) -> None:
        for name, dims, duration in listed:
            name, start, number = name.format(self.prefix), self.now, len(self.events) + 1
            self.now += duration
            self.event("cpu_op", name, start, self.now, **{"External id": number, "Input Dims": dims})
            if self.on_gpu:
                self.event("cuda_runtime", "cudaLaunchKernel", start, start + 1, correlation=number)
                kernel = name if "fused" in name else "sm80_xmma_fprop_implicit_gemm"
                self.event("kernel", kernel, start + 5, self.now + 5, correlation=number, stream=7)
            self.now += 10

    def around(self, category: str, name: str, start: int, **arguments: Any) -> None:
        self.event(category, name, start, self.now, **arguments)
        self.now += 10

    def document(self) -> dict[str, Any]:
        return {"traceEvents": self.events}


def made(prefix: str, on_gpu: bool, backward: bool = False, passes: int = 2) -> dict[str, Any]:
    recording = Made(prefix, on_gpu)
    for _ in range(passes):
        start = recording.now
        recording.ops(FORWARD)
        recording.around("cpu_op", "Torch-Compiled Region: 0/0", start)
        recording.around("user_annotation", "cnnstat@", start)
        if backward:
            start = recording.now
            recording.ops(BACKWARD)
            around = {"Sequence number": 5, "Fwd thread id": 1}
            recording.around("cpu_op", "CompiledFunctionBackward", start, **around)
    return recording.document()


def profiled(document: dict[str, Any], folder: Path) -> Profile:
    (folder / "small.yaml").write_text(SPEC)
    (folder / "trace.json").write_text(json.dumps(document))
    return profile_recording(named_model(str(folder / "small.yaml"), Request()), folder / "trace.json")


@pytest.mark.parametrize(("prefix", "on_gpu"), [("triton_poi", True), ("graph_0_cpp", False)])
def test_fused_kernels_share_their_time_among_their_layers(tmp_path: Path, prefix: str, on_gpu: bool) -> None:
    profile = profiled(made(prefix, on_gpu), tmp_path)
    times = {layer.name: round(1e9 * layer.seconds) for layer in profile.layers}
    for layers, nanoseconds in SHARED.items():
        own = [times["add." + name if f"add.{name}" in times else name] for name in layers]
        assert sum(own) == nanoseconds and min(own) > 0
    convolutions = [layer.name for layer in profile.layers if layer.kind == "Conv2d"]
    assert [times[name] for name in convolutions] == [1100, 2000, 2000] and times["fc"] == 50
    found = profile.time_breakdown
    assert found.unattributed == 0 and abs(found.residual) < 1e-12
    assert "4 kernels that torch.compile fused share their time among 8 layers" in "\n".join(profile.notes)
    if on_gpu:
        assert found.kernels == len(FORWARD), "a shared kernel is one kernel"
        assert sum(kernel.count for kernel in profile.kernels) == len(FORWARD)


@pytest.mark.parametrize(("prefix", "on_gpu"), [("triton_red", True), ("graph_1_cpp", False)])
def test_a_compiled_backward_pass_runs_from_the_last_layer_to_the_first(
    tmp_path: Path, prefix: str, on_gpu: bool
) -> None:
    profile = profiled(made(prefix, on_gpu, backward=True), tmp_path)
    times = {
        layer.name.rpartition(".")[2]: round(1e9 * layer.backward.median) for layer in profile.layers if layer.backward
    }
    assert times["relu2"] + times["bn2"] + times["pool"] == 400
    assert times["bn1"] + times["relu1"] == 500 and times["relu"] == 600
    assert (times["conv2"], times["conv1"], times["stem"]) == (4000, 4000, 3000)
    assert times["fc"] == 130 and profile.time_breakdown.unattributed == pytest.approx(20e-9)
    assert any("1 kernel that torch.compile fused are of no layer" in note for note in profile.notes)


def test_a_norm_in_training_is_in_two_kernels(tmp_path: Path) -> None:
    document = made("triton_poi", True)
    listed = list(FORWARD)
    listed[4:5] = [("triton_red_fused__native_batch_norm_legit_functional_2", [], 80), *listed[4:5]]
    recording = Made("triton_poi", True)
    start = recording.now
    recording.ops([(name.replace("_no_training", "_functional"), dims, time) for name, dims, time in listed])
    recording.around("user_annotation", "cnnstat@", start)
    profile = profiled(recording.document(), tmp_path)
    times = {layer.name.rpartition(".")[2]: round(1e9 * layer.seconds) for layer in profile.layers}
    assert document and times["bn1"] + times["relu1"] == 301 + 80 and times["bn1"] > 80


def test_kernels_of_graphs_that_nothing_tells_apart_are_said(tmp_path: Path) -> None:
    document = made("triton_poi", True)
    launches = [event for event in document["traceEvents"] if event["cat"] == "cuda_runtime"]
    kept = [event for event in document["traceEvents"] if event["cat"] not in ("cuda_runtime", "cpu_op")]
    for event in kept:
        if event["cat"] == "kernel":
            event["args"]["correlation"] = 1
    name = {"ph": "X", "cat": "cuda_runtime", "name": "cudaGraphLaunch", "tid": 1, "ts": launches[0]["ts"], "dur": 1}
    op = {"ph": "X", "cat": "cpu_op", "name": "aten::relu", "tid": 1, "ts": launches[0]["ts"] - 0.01, "dur": 0.001}
    kept += [{**name, "args": {"correlation": 1}}, {**op, "args": {}}]
    profile = profiled({"traceEvents": kept}, tmp_path)
    assert any("16 kernels of CUDA graphs are of no layer" in note for note in profile.notes)
    assert profile.time_breakdown.layers == 0 and abs(profile.time_breakdown.residual) < 1e-12


def test_code_for_a_cpu_that_is_not_recorded_is_said(tmp_path: Path) -> None:
    document = made("graph_0_cpp", False)
    events = [event for event in document["traceEvents"] if "fused" not in event["name"]]
    call = {
        "ph": "X",
        "cat": "user_annotation",
        "name": "## Call CompiledFxGraph f5 ##",
        "tid": 1,
        "ts": 1000,
        "dur": 1,
    }
    profile = profiled({"traceEvents": [*events, call]}, tmp_path)
    assert any("enable_kernel_profile = True" in note for note in profile.notes)


def test_products_of_sequences_are_told_with_their_axes_as_one() -> None:
    row = Row("mlp.0", frozenset({"linear", "addmm"}), (2, 197, 768), (768, 3072))
    assert match_ops([RecordedOp("aten::addmm", (394, 768), None, (768, 3072))], [row]).rows == (0,)
    assert match_ops([RecordedOp("aten::addmm", (394, 768), None, (768, 768))], [row]).rows == (None,)
    assert match_ops([RecordedOp("aten::addmm", (197, 768), None, (768, 3072))], [row]).rows == (None,)


def test_passes_that_are_disturbed_in_other_layers_each_do_not_miss_the_whole(tmp_path: Path) -> None:
    recording = Made("graph_0_cpp", False)
    for disturbed in (1, 3, 5):
        start = recording.now
        recording.ops(
            [(name, dims, time + 900 * (place == disturbed)) for place, (name, dims, time) in enumerate(FORWARD)]
        )
        recording.around("user_annotation", "cnnstat@", start)
    profile = profiled(recording.document(), tmp_path)
    # The medians of the layers would be those of a pass that nothing disturbs, 900 ns less than any that was recorded.
    assert abs(profile.time_breakdown.residual) < 1e-12 and profile.whole.plain.count == 1
    assert any("times are of the 1 least disturbed of 3 recorded passes" in note for note in profile.notes)
