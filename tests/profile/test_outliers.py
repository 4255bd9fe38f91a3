"""Runs that other work disturbed are left out, of the model and of its layers alike."""

import pytest

torch = pytest.importorskip("torch")

from cpu_models import FakeClock, timed_model  # noqa: E402

from cnnstat.profile import calibration, interleaved  # noqa: E402
from cnnstat.profile.cpu import measure_cpu  # noqa: E402
from cnnstat.profile.interleaved import has_outliers, inlier_places, median_without_outliers  # noqa: E402
from cnnstat.profile.profile_options import Options, Silent  # noqa: E402


def test_runs_near_the_quickest_are_kept_in_order():
    assert inlier_places([5.0, 100.0, 4.8, 4.9, 300.0, 5.1]) == [0, 2, 3, 5]
    assert inlier_places([1.0, 50.0, 40.0, 60.0]) == [0, 1, 2]
    assert inlier_places([]) == []
    assert median_without_outliers([5.0, 100.0, 4.8, 4.9, 300.0, 5.1]) == pytest.approx(4.95)


def test_what_counts_as_noisy():
    assert not has_outliers([1.0, 1.1, 1.05, 1.0, 9.0, 1.02])
    assert has_outliers([1.0, 2.0, 1.0, 3.0, 1.1, 2.0])
    # Nearly every run was interrupted once, so that the quartiles lie close together.
    assert has_outliers([3.0, *[11.0] * 20])
    assert not has_outliers([1.0, 9.0, 5.0])


def test_layers_add_up_where_most_runs_are_interrupted(monkeypatch):
    monkeypatch.setattr(interleaved, "MIN_SECONDS", 0.0)
    monkeypatch.setattr(interleaved, "STEADY_SECONDS", 0.0)
    monkeypatch.setattr(calibration, "ROUNDS", 3)
    clock = FakeClock()
    times = [500_000, 300_000, 700_000, 400_000]
    model = timed_model(clock, times)
    runs = 0

    def preempt(module, inputs):
        """In three runs of four another program has the processor, during one layer or another."""
        nonlocal runs
        runs += module is model.module.layer0
        turn = runs * 7 % 16
        if turn < 12 and module is model.module.get_submodule(f"layer{turn % 4}"):
            clock.now += 4_000_000

    for layer in model.module.children():
        layer.register_forward_pre_hook(preempt)
    found = measure_cpu(model, Options(samples=48), Silent(), clock)
    assert found.whole.plain.median == pytest.approx(sum(times) * 1e-9)
    assert found.whole.plain.count < 48
    layers = [sum(row.forward) / len(row.forward) for row in found.rows.values()]
    assert layers == pytest.approx([time * 1e-9 for time in times])
    assert any("least disturbed of 48 runs" in note for note in found.notes)
