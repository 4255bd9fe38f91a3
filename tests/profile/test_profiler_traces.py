"""Traces that torch.profiler writes here: ranges, ops and autograd's numbers are read as they really are.

Without a GPU nothing is launched; each op is taken for a launch instead.
"""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from residual import residual
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

from cnnstat.profile.cuda.measure import one_pass
from cnnstat.profile.profile_model import prepare_model
from cnnstat.profile.profile_options import Options
from cnnstat.profile.profiler_session import RangeObserver, script
from cnnstat.profile.runnable_model import RunnableModel
from cnnstat.profile.traces.kernel_owners import LaunchOwners, Owner
from cnnstat.profile.traces.kineto_trace import Launch, Trace, read_trace
from cnnstat.sources.load import model_reference


class Ranges:
    """What a session needs of a GPU to run ordinary passes."""

    def range(self, name: str) -> Any:
        return record_function(name)

    def synchronize(self) -> None:
        pass


def recorded(model: RunnableModel, folder: Path) -> Trace:
    run = one_pass(model)
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        script(Ranges(), model, run, None, 2)  # type: ignore[arg-type]
    profiler.export_chrome_trace(str(folder / "trace.json"))
    return read_trace(json.loads((folder / "trace.json").read_text(), parse_float=Decimal)["traceEvents"])


def owners(trace: Trace, *names: str) -> list[Owner | None]:
    """Owners of the ops of these names in the first pass, as if each launched a kernel."""
    launch_owners = LaunchOwners(trace)
    step = trace.pass_ranges[0]
    return [
        launch_owners.owner(
            Launch(
                kind="kernel",
                start=found.start,
                end=found.end,
                thread=found.thread,
                correlation=0,
                operation=found.external_id,
            )
        )
        for found in trace.operations
        if found.name in names and step.start <= found.start <= step.end
    ]


def rows_of(model: RunnableModel, *kinds: str) -> list[int]:
    return [row for row, node in enumerate(model.analysis.graph.nodes) if node.op.kind in kinds]


def model_of(source: Any, backward: bool, **keywords: Any) -> RunnableModel:
    options = Options(device="cpu", backward=backward)
    return prepare_model(model_reference(source, **keywords), options, torch.device("cpu"))


def test_forward_ops_of_a_network_are_their_rows(tmp_path: Path) -> None:
    model = model_of("lenet5", backward=False)
    trace = recorded(model, tmp_path)
    assert [step.kind for step in trace.pass_ranges] == ["eager"] * 5
    convolutions = rows_of(model, "Conv2d")
    assert convolutions
    assert owners(trace, "aten::conv2d") == [Owner(row, False) for row in convolutions]
    assert owners(trace, "aten::linear") == [Owner(row, False) for row in rows_of(model, "Linear")]


def test_backward_ops_of_a_network_are_their_rows_from_the_end(tmp_path: Path) -> None:
    model = model_of(residual(), backward=True)
    trace = recorded(model, tmp_path)
    convolutions = rows_of(model, "Conv2d")
    assert owners(trace, "aten::convolution") == [Owner(row, False) for row in convolutions]
    gradients = owners(trace, "aten::convolution_backward")
    assert sorted(gradients) == [Owner(row, True) for row in convolutions]  # type: ignore[type-var]
    norms = owners(trace, "aten::native_batch_norm_backward")
    assert sorted(norms) == [Owner(row, True) for row in rows_of(model, "BatchNorm2d")]  # type: ignore[type-var]
    # Where a block's input is read twice, its two gradients are added while one reader is evaluated.
    assert None not in owners(trace, "aten::add_", "aten::add", "aten::threshold_backward")


class Shared(nn.Module):
    """One layer called twice, and ops that are no module."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.tanh(self.layer(x))
        return torch.sigmoid(self.layer(x))


@pytest.mark.parametrize("backward", [False, True])
def test_shared_modules_and_functions_of_a_pytorch_model(tmp_path: Path, backward: bool) -> None:
    model = model_of(Shared(), backward, input=torch.rand(2, 6))
    trace = recorded(model, tmp_path)
    names = {"aten::linear": "AddmmBackward0", "aten::tanh": "TanhBackward0", "aten::sigmoid": "SigmoidBackward0"}
    for name, node in names.items():
        forward = owners(trace, name)
        assert forward and all(owner is not None and not owner.backward for owner in forward)
        if backward:
            rows = [owner.row for owner in forward if owner is not None]
            assert owners(trace, node) == [Owner(row, True) for row in reversed(rows)]
            assert None not in owners(trace, "torch::autograd::AccumulateGrad")


def test_ranges_close_in_the_order_they_were_opened(tmp_path: Path) -> None:
    observer = RangeObserver(Ranges().range)
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        observer.enter(0, 0)
        observer.enter(1, 2)
        observer.leave(1, 2)
        observer.leave(0, 0)
    profiler.export_chrome_trace(str(tmp_path / "t.json"))
    outer, inner = read_trace(json.loads((tmp_path / "t.json").read_text())["traceEvents"]).layer_ranges
    assert (outer.row, inner.row, inner.call) == (0, 1, 2)
    assert outer.start <= inner.start and inner.end <= outer.end
