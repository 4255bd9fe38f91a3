"""Profiles on a GPU; skipped where there is none. `python benchmarks/gpu.py` runs these and prints the figures."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from torch import nn

import cnnstat.profile
from cnnstat.errors import CnnstatError
from cnnstat.profile.cuda.gpu import CaptureError, Graph, capture_passes
from cnnstat.profile.cuda.torch_gpu import TorchGpu, explained
from cnnstat.profile.device import environment, kernel_settings
from cnnstat.profile.instrumentation import Observer
from cnnstat.profile.profile_model import profile_model
from cnnstat.profile.profile_options import Options, Silent
from cnnstat.profile.profile_result import Profile
from cnnstat.profile.profiler_session import script
from cnnstat.profile.roofline_measurement import measure_roofline
from cnnstat.profile.traces.kernel_attribution import attribute, attribute_replays
from cnnstat.profile.traces.kineto_trace import read_trace
from cnnstat.sources.load import model_reference

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU"),
    # Drivers and libraries warn of what no test here is about; the summary shows it.
    pytest.mark.filterwarnings("default"),
]

OPTIONS = Options(device="cuda", samples=10)


def profiled(
    source: Any, batch: int | None = None, options: Options = OPTIONS, mode: str = "eval", **keywords: Any
) -> Profile:
    reference = model_reference(source, batch=batch, mode=mode, **keywords)
    return profile_model(reference, options, Silent(), refresh=False)


def works() -> None:
    """CUDA still does what it is asked to."""
    a = torch.randn(64, 64, device="cuda")
    assert torch.allclose((a @ a).cpu(), a.cpu() @ a.cpu(), atol=1e-3)


def test_layers_of_a_busy_model_add_up_to_its_replay() -> None:
    found = profiled("resnet18", batch=64)
    assert found.whole.replayed and found.complete
    assert abs(found.time_breakdown.residual) <= 0.03 * found.time_breakdown.whole
    assert found.time_breakdown.unattributed <= 0.01 * found.time_breakdown.whole
    assert found.lost_kernels == 0
    convolutions = [layer for layer in found.layers if layer.kind == "Conv2d"]
    assert convolutions and all(layer.kernels and layer.forward.median > 0 for layer in convolutions)


def test_a_small_model_adds_up_too() -> None:
    found = profiled("lenet5", batch=1)
    assert found.whole.replayed and abs(found.time_breakdown.residual) <= 0.05 * found.time_breakdown.whole


def test_nothing_is_faster_than_the_arithmetic_allows() -> None:
    found = profiled("resnet18", batch=64)
    assert (
        found.whole.plain.median >= 0.95 * sum(layer.flops for layer in found.layers) / found.roofline.flops_per_second
    )
    assert found.whole.eager.median >= 0.9 * found.whole.plain.median


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_with_channels_last(dtype: str) -> None:
    found = profiled("resnet18", 32, replace(OPTIONS, dtype=dtype, channels_last=True))
    assert found.environment.dtype == dtype and found.adds_up


def test_backward_kernels_belong_to_layers() -> None:
    found = profiled("resnet18", 64, replace(OPTIONS, backward=True), mode="train")
    assert found.whole.replayed
    convolutions = [layer for layer in found.layers if layer.kind == "Conv2d"]
    assert all(layer.backward and layer.backward.median > 0 for layer in convolutions)
    assert found.time_breakdown.unattributed <= 0.01 * found.time_breakdown.whole
    assert abs(found.time_breakdown.residual) <= 0.05 * found.time_breakdown.whole


def test_random_numbers_are_drawn_inside_graphs() -> None:
    model = nn.Sequential(nn.Linear(512, 512), nn.Dropout(), nn.Linear(512, 512)).train()
    found = profiled(model, input=torch.rand(256, 512), mode="train")
    assert found.whole.replayed
    assert next(layer for layer in found.layers if layer.kind == "Dropout").kernels


class Waiting(nn.Module):
    """Reads a number back from the GPU, which no graph can record."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(512, 512)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layer(x)
        return x * 2 if x.sum().item() > 0 else x * 3


def test_a_model_that_cannot_be_captured_is_measured_in_ordinary_passes() -> None:
    found = profiled(Waiting(), input=torch.rand(64, 512))
    assert not found.whole.replayed
    assert any("no CUDA graph" in note for note in found.notes)
    assert found.layers[0].forward.median > 0
    works()


def test_a_failed_capture_leaves_cuda_and_the_stream_usable() -> None:
    gpu = TorchGpu(torch.device("cuda"))
    with gpu.active():
        x = torch.randn(8, device="cuda")
        stream = torch.cuda.current_stream()
        with pytest.raises(CaptureError):
            gpu.capture(lambda: x.sum().item())
        assert torch.cuda.current_stream() == stream
        works()
        replay = gpu.capture(lambda: x.neg_())
        before = x.clone()
        replay()
        assert torch.equal(x, -before)
    works()


def test_switches_are_put_back() -> None:
    before = torch.backends.cudnn.benchmark
    with kernel_settings(True):
        works_in_tf32 = torch.randn(256, 256, device="cuda") @ torch.randn(256, 256, device="cuda")
        assert torch.isfinite(works_in_tf32).all()
    assert torch.backends.cudnn.benchmark == before


def test_memory_that_runs_out_is_one_line() -> None:
    with pytest.raises(CnnstatError, match="the GPU's memory is too small"), explained():
        torch.empty(2**45, device="cuda")
    works()


def test_layers_alone_bracket_themselves() -> None:
    found = profiled("resnet18", 16, replace(OPTIONS, isolate=True, samples=5))
    alone = [layer for layer in found.layers if layer.warm and layer.cold and layer.kernels]
    assert len(alone) >= 0.9 * sum(bool(layer.kernels) for layer in found.layers)
    slower = sum(layer.cold.median >= 0.95 * layer.warm.median for layer in alone if layer.cold and layer.warm)
    assert slower >= 0.9 * len(alone)


def test_energy_is_that_of_a_gpu() -> None:
    found = profiled("resnet18", 64, replace(OPTIONS, energy=True))
    if found.joules is None:
        pytest.skip("NVML does not tell this GPU's energy")
    watts = found.joules / found.whole.plain.median
    assert 20 <= watts <= 2000


def test_predicted_peak_is_near_the_measured_one() -> None:
    found = profiled("resnet50", batch=64)
    assert found.peak_bytes and found.predicted_peak_bytes
    assert found.predicted_peak_bytes <= 1.1 * found.peak_bytes


def test_the_roofline_is_that_of_a_gpu() -> None:
    cuda = torch.device("cuda")
    around = environment(cnnstat.load("lenet5"), Options(), cuda, "eval")
    found = measure_roofline(replace(around, dtype="float16"), cuda)
    single = measure_roofline(around, cuda)
    assert found.flops_per_second > single.flops_per_second > 0
    assert found.bandwidth > 0 and found.launch > 0


def test_trace_opens_with_the_names_of_layers(tmp_path: Path) -> None:
    profiled("lenet5", 8, replace(OPTIONS, trace=tmp_path / "t.json"))
    events = json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    assert any(event.get("cat") == "kernel" for event in events)
    assert any(event.get("cat") == "cnnstat" for event in events)


class TwoStreams:
    """Two layers on two streams that meet again; marks them as rows 0 and 1."""

    def __init__(self) -> None:
        self.inputs = [torch.randn(2048, 2048, device="cuda") for _ in range(2)]
        self.side = torch.cuda.Stream()
        self.observer: Observer | None = None

    def run(self) -> None:
        main = torch.cuda.current_stream()
        self.side.wait_stream(main)
        for row, stream in enumerate((main, self.side)):
            if self.observer:
                self.observer.enter(row, 0)
            with torch.cuda.stream(stream):
                torch.mm(self.inputs[row], self.inputs[row])
            if self.observer:
                self.observer.leave(row, 0)
        main.wait_stream(self.side)

    def observing(self, observer: Observer) -> Any:
        @contextmanager
        def marked() -> Any:
            self.observer = observer
            yield
            self.observer = None

        return marked()


def test_two_streams_overlap_and_add_up_exactly() -> None:
    gpu = TorchGpu(torch.device("cuda"))
    with gpu.active(), torch.inference_mode():
        model = TwoStreams()
        for _ in range(3):
            model.run()
        graph = Graph(gpu.capture(model.run), 1)
        trace = read_trace(gpu.record(lambda: script(gpu, model, model.run, graph, 5)))
    ordinary = attribute(trace)
    replays = attribute_replays(trace, ordinary.passes[0], ordinary.calls)
    assert replays.passes and replays.match is not None and replays.match.unmatched == 0
    for one in (*ordinary.passes, *replays.passes):
        assert sum(one.forward.values()) + one.unattributed + one.idle == one.span
        assert set(one.forward) == {0, 1}
    assert len({piece.kernel.stream for piece in ordinary.passes[0].pieces}) == 2


def test_every_kernel_of_a_replay_is_found_in_the_ordinary_pass() -> None:
    gpu = TorchGpu(torch.device("cuda"))
    layers = nn.Sequential(nn.Conv2d(3, 64, 3), nn.BatchNorm2d(64), nn.ReLU(), nn.Conv2d(64, 64, 3)).cuda().eval()
    x = torch.rand(8, 3, 64, 64, device="cuda")
    with gpu.active(), torch.inference_mode():
        for _ in range(3):
            layers(x)
        graph = capture_passes(gpu, lambda: layers(x))
        model = TwoStreams()
        trace = read_trace(gpu.record(lambda: script(gpu, model, lambda: layers(x), graph, 5)))
    ordinary = attribute(trace)
    replays = attribute_replays(trace, ordinary.passes[0], ordinary.calls, graph.passes)
    assert graph.passes > 1 and len(replays.passes) >= 5 and replays.match is not None
    assert replays.match.unmatched == 0 and replays.match.same >= 0.5 * len(replays.match.owners)
    # Nodes of the graph in order of capture are the kernels in order of time, for there is one stream.
    for one in replays.passes:
        starts = [piece.kernel.start for piece in one.pieces]
        assert starts == sorted(starts)
