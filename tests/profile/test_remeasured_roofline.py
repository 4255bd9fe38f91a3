"""Ceilings that layers beat are measured again where a trial shows that the machine can do more, and only there."""

from contextlib import nullcontext
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

import cnnstat  # noqa: E402
from cnnstat.profile import interleaved, profile, roofline, roofline_measurement  # noqa: E402
from cnnstat.profile.profile_options import Options, Silent  # noqa: E402
from cnnstat.profile.profile_result import Environment  # noqa: E402
from cnnstat.profile.roofline import Roofline  # noqa: E402
from cnnstat.sources.load import model_reference  # noqa: E402

LOW = Roofline(flops_per_second=1e3, bandwidth=1e3, launch=1.0, measured="2026-01-01T00:00:00+00:00")
HIGH = Roofline(flops_per_second=1e15, bandwidth=1e15, launch=1e-9, measured="2026-02-02T00:00:00+00:00")


@pytest.fixture
def measured(monkeypatch):
    """The ceilings that measuring finds, one after the other."""
    answers = []
    monkeypatch.setattr(roofline_measurement, "measure_on", lambda *arguments: answers.pop(0))
    monkeypatch.setattr(roofline_measurement, "last_level_cache_bytes", lambda: 2**20)
    monkeypatch.setattr(interleaved, "MIN_SECONDS", 0.0)
    monkeypatch.setattr(interleaved, "STEADY_SECONDS", 0.0)
    return answers


def profiled():
    return profile(model_reference("lenet5"), Options(device="cpu", samples=3, threads=1), Silent())


def test_ceilings_of_a_busy_moment_are_raised_and_remembered(measured):
    measured += [LOW, replace(HIGH, bandwidth=1.0)]
    found = profiled()
    assert not measured
    assert found.roofline == replace(HIGH, bandwidth=1e3), "the best of both"
    assert any("ceilings of 2026-01-01, which were measured again and raised" in note for note in found.notes)
    by_name = {layer.name: layer for layer in cnnstat.analyze("lenet5").layers}
    for layer in found.layers:
        if layer.bound is not None:
            expected = max(by_name[layer.name].flops / 1e15, layer.moved / 1e3, 1e-9)
            assert layer.bound_seconds == pytest.approx(expected)
    kept = [entry["ceilings"]["flops_per_second"] for entry in roofline._entries()]
    assert kept == [1e15]


def test_ceilings_that_no_trial_beats_stay(measured, monkeypatch):
    # Layers beat these, as they do from a cache, but a trial does not.
    monkeypatch.setattr(roofline_measurement, "_is_low", lambda *arguments: False)
    measured.append(LOW)
    found = profiled()
    assert found.roofline == LOW
    assert not any("measured again" in note for note in found.notes)
    assert any(layer.share_of_bound > 1 for layer in found.layers)


def test_ceilings_that_nothing_beats_are_not_looked_at_again(measured, monkeypatch):
    monkeypatch.setattr(roofline_measurement, "_is_low", lambda *arguments: pytest.fail("no layer beats a ceiling"))
    measured.append(HIGH)
    assert profiled().roofline == HIGH


@pytest.mark.parametrize("bound", ["compute", "memory", "latency"])
def test_a_trial_tells_what_is_far_too_low_from_what_is_not(bound, monkeypatch):
    from cnnstat.profile.device import environment

    monkeypatch.setattr(roofline_measurement, "last_level_cache_bytes", lambda: 2**20)
    cpu = torch.device("cpu")
    around = environment(cnnstat.load("lenet5"), Options(), cpu, "eval")
    assert roofline_measurement._is_low(bound, LOW, around, cpu)
    assert not roofline_measurement._is_low(bound, HIGH, around, cpu)


def test_a_profile_survives_ctrl_c_at_its_last_step(measured, monkeypatch):
    def stop(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(roofline_measurement, "_is_low", stop)
    measured.append(LOW)
    found = profiled()
    assert not found.complete
    assert found.roofline == LOW
    assert all(layer.forward.count for layer in found.layers)


def test_a_gpu_whose_l2_cache_beats_its_memory_is_not_measured_again(measured, monkeypatch):
    """Only the rate that was beaten is tried, and here it holds."""
    tried = []

    class Timed:
        def best(self, run):
            tried.append("product")
            return 1.0

        def copy_sizes(self):
            return (1024,)

    monkeypatch.setattr(roofline_measurement, "timed_device", lambda *arguments: nullcontext(Timed()))
    monkeypatch.setattr(roofline_measurement, "copy_rates", lambda timed: tried.append("copy") or [HIGH.bandwidth])
    around = Environment(device="cuda", device_name="GPU", dtype="float32", versions={}, settings={"tf32": "false"})
    assert not roofline_measurement._is_low("memory", HIGH, around, torch.device("cuda"))
    assert tried == ["copy"]
