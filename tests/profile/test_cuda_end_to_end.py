"""Real models through all of the CUDA measurement, on a stand-in that makes a kernel of every op that the CPU ran."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from fake_gpu import Counting, FakeGpu
from residual import residual
from torch.profiler import ProfilerActivity, profile, record_function

from cnnstat.ir.graph import Graph
from cnnstat.profile.cuda.measure import measure_on
from cnnstat.profile.measurement import assemble
from cnnstat.profile.profile_model import prepare_model
from cnnstat.profile.profile_options import Options
from cnnstat.profile.profile_result import Environment, Profile
from cnnstat.profile.roofline import Roofline
from cnnstat.sources.load import model_reference

COMPUTE = {
    "aten::mkldnn_convolution",
    "aten::_slow_conv2d_forward",
    "aten::thnn_conv2d",
    "aten::convolution_backward",
    "aten::native_batch_norm",
    "aten::native_batch_norm_backward",
    "aten::clamp_min",
    "aten::clamp_min_",
    "aten::threshold_backward",
    "aten::addmm",
    "aten::mm",
    "aten::add",
    "aten::add_",
    "aten::mean",
    "aten::max_pool2d_with_indices",
    "aten::max_pool2d_with_indices_backward",
}
"""Ops that are taken for kernels."""


class MirroredGpu(FakeGpu):
    """Runs on the CPU, and reports a kernel for each op there; time is that of the fake."""

    def __init__(self) -> None:
        super().__init__()
        self.replays = 0
        self._names: list[str] = []

    def now(self) -> int:
        self.clock += 20_000_000
        return self.clock

    def elapsed(self, run: Callable[[], object], repeats: int) -> float:
        # The replay's own length; running the model as often as events take would only cost time.
        return repeats * 1e-3

    def capture(self, run: Callable[[], object]) -> Callable[[], None]:
        run()

        def replay() -> None:
            self.replays += 1
            with record_function("cnnstat-graph"):
                pass

        return replay

    def graph_event(self) -> object:
        return self

    def between(self, first: object, second: object) -> float:
        # Too short to say anything of rows.
        return 1e-6

    def range(self, name: str) -> Any:
        return record_function(name)

    def record(self, script: Callable[[], None]) -> list[dict[str, Any]]:
        with profile(activities=[ProfilerActivity.CPU]) as profiler:
            script()
        with TemporaryDirectory() as folder:
            path = Path(folder) / "t.json"
            profiler.export_chrome_trace(str(path))
            events = json.loads(path.read_text(), parse_float=Decimal)["traceEvents"]
        return [*events, *self._mirrored([event for event in events if event.get("ph") == "X"])]

    def _mirrored(self, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Launches and kernels: of ops one each, of a graph as many as the first pass had."""
        first = next(event for event in events if event["name"] == "cnnstat#eager#0")
        inside = [
            event
            for event in events
            if event["name"] in COMPUTE and first["ts"] <= event["ts"] <= first["ts"] + first["dur"]
        ]
        names = [event["name"] for event in sorted(inside, key=lambda event: event["ts"])]
        made: list[dict[str, Any]] = []
        free = Decimal(0)
        for number, event in enumerate(sorted(events, key=lambda event: event["ts"])):
            if event["name"] in COMPUTE:
                kernels, call = [event["name"]], "cudaLaunchKernel"
            elif event["name"] == "cnnstat-graph":
                kernels, call = names, "cudaGraphLaunch"
            else:
                continue
            args = {"External id": event["args"]["External id"], "correlation": 5000 + number}
            common = {"ph": "X", "pid": 1, "tid": event["tid"], "ts": event["ts"], "dur": Decimal("0.5")}
            made.append({**common, "cat": "cuda_runtime", "name": call, "args": args})
            for node, name in enumerate(kernels):
                start = max(free + 1, event["ts"] + 3)
                free = start + 2
                place = {"stream": 7, "grid": [1, 1, 1], "block": [32, 1, 1]}
                graph = {"graph node id": (3 << 32) + node} if call == "cudaGraphLaunch" else {"graph node id": 0}
                kernel = {**common, "ts": start, "dur": 2, "cat": "kernel", "name": name}
                made.append({**kernel, "args": {**args, **place, **graph}})
        return made


def profiled(source: Graph | str, backward: bool) -> Profile:
    options = Options(device="cpu", backward=backward, samples=3)
    reference = model_reference(source, mode="train" if backward else "eval")
    model = prepare_model(reference, options, torch.device("cpu"))
    found = measure_on(MirroredGpu(), model, options, Counting())
    environment = Environment(device="cuda", device_name="mirror", dtype="float32", versions={}, settings={})
    roofline = Roofline(flops_per_second=1e14, bandwidth=1e12, launch=1e-6, measured="2026-01-01T00:00:00+00:00")
    training = model.training
    return assemble(model.analysis, "a test", found, roofline, environment, training=training, backward=backward)


@pytest.mark.parametrize("backward", [False, True])
def test_every_kernel_of_a_network_has_its_layer(backward: bool) -> None:
    found = profiled(residual(), backward)
    assert found.whole.replayed and not found.lost_kernels and not found.notes
    assert found.time_breakdown.unattributed == 0
    convolutions = [layer.kernels for layer in found.layers if layer.kind == "Conv2d"]
    # In training every block's two gradients are added while one of its convolutions is evaluated.
    assert Counter(convolutions) == ({2: 4, 3: 2} if backward else {1: 6})
    # In training a BatchNorm counts its batches too.
    norms = {layer.kernels for layer in found.layers if layer.kind == "BatchNorm2d"}
    assert norms == ({3} if backward else {1})
    assert all((layer.backward is not None) == backward for layer in found.layers)
    kernels = sum(layer.kernels or 0 for layer in found.layers)
    layers = sum(layer.seconds for layer in found.layers)
    assert layers == pytest.approx(kernels * 2e-6)
    assert found.time_breakdown.idle == pytest.approx((kernels - 1) * 1e-6)


def test_the_profile_can_be_printed_and_kept() -> None:
    found = profiled("lenet5", False)
    assert "lenet5 on cuda, mirror" in repr(found)
    assert found.to_dict()["layers"][0]["kernels"] == 1
