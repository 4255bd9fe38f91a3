"""A training step: forward and backward pass, mixed precision, and the optimizer as a row of its own."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from residual import residual  # noqa: E402

import cnnstat  # noqa: E402
from cnnstat.errors import CnnstatError  # noqa: E402
from cnnstat.profile import interleaved  # noqa: E402
from cnnstat.profile.profile_model import prepare_model  # noqa: E402
from cnnstat.profile.profile_options import Options, make_options  # noqa: E402
from cnnstat.sources.load import model_reference  # noqa: E402


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interleaved, "MIN_SECONDS", 0.0)
    monkeypatch.setattr(interleaved, "STEADY_SECONDS", 0.0)


def model_of(source: Any, **options: Any) -> Any:
    chosen = make_options(device="cpu", **options)
    return prepare_model(model_reference(source, mode="train"), chosen, torch.device("cpu"))


@pytest.mark.parametrize(("step", "kind"), [("sgd", "SGD"), ("adam", "Adam")])
def test_the_optimizer_is_a_row_behind_the_layers(step: str, kind: str) -> None:
    profile = cnnstat.profile("lenet5", device="cpu", threads=1, samples=5, step=step)
    *layers, last = profile.layers
    assert (last.name, last.kind, last.calls) == ("optimizer", kind, 1) and last.seconds > 0
    assert last.backward is None and last.bound is None and not last.moved
    assert len(layers) == len(cnnstat.analyze("lenet5").layers) and all(layer.backward for layer in layers)
    assert profile.environment.settings["step"] == step and profile.environment.settings["backward"] == "true"


def test_weights_stay_as_they_are_however_often_it_steps() -> None:
    model = model_of(residual(), step="sgd")
    before = [parameter.clone() for parameter in model.module.parameters()]
    for _ in range(3):
        model.clear_gradients()
        model.train_step()
    assert all(map(torch.equal, before, model.module.parameters()))


def test_marks_of_the_step_reach_a_trace() -> None:
    model = model_of("lenet5", step="sgd")
    rows = len(model.analysis.graph.nodes)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        model.train_step()
    events = profiler.events()
    (mark,) = [event for event in events if event.name == f"cnnstat#{rows}#0"]
    (step,) = [event for event in events if event.name == "Optimizer.step#SGD.step"]
    assert mark.time_range.start <= step.time_range.start and step.time_range.end <= mark.time_range.end


def test_mixed_precision_computes_in_the_smaller_dtype() -> None:
    assert model_of("lenet5", autocast="bfloat16").run().dtype is torch.bfloat16
    assert model_of("lenet5").run().dtype is torch.float32
    profile = cnnstat.profile("lenet5", device="cpu", threads=1, samples=3, autocast="bfloat16")
    assert profile.environment.dtype == "float32" and "autocast bfloat16" in repr(profile)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"step": "sgb"}, "--step sgb: there is no such choice; did you mean sgd"),
        ({"autocast": "int8"}, "--autocast int8: there is no such choice; use bfloat16 or float16"),
        ({"autocast": "float16", "dtype": "bfloat16"}, "exclude each other"),
    ],
)
def test_options_that_cannot_be_are_one_line(options: dict[str, str], said: str) -> None:
    with pytest.raises(CnnstatError, match=said):
        make_options(**options)  # type: ignore[arg-type]
    assert make_options(step="adam").backward and not Options().backward
