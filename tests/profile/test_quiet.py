"""Runs that other work disturbed are left out, of the model and of its layers alike."""

import pytest

torch = pytest.importorskip("torch")

from cpu_subjects import FakeClock, timed_subject  # noqa: E402

from cnnstat.profile import calibrate, rounds  # noqa: E402
from cnnstat.profile.cpu import measure_cpu  # noqa: E402
from cnnstat.profile.options import Options  # noqa: E402
from cnnstat.profile.progress import Silent  # noqa: E402
from cnnstat.profile.quiet import is_noisy, quiet_median, quiet_runs  # noqa: E402


def test_runs_near_the_quickest_are_kept_in_order():
    assert quiet_runs([5.0, 100.0, 4.8, 4.9, 300.0, 5.1]) == [0, 2, 3, 5]
    assert quiet_runs([1.0, 50.0, 40.0, 60.0]) == [0, 1, 2]
    assert quiet_runs([]) == []
    assert quiet_median([5.0, 100.0, 4.8, 4.9, 300.0, 5.1]) == pytest.approx(4.95)


def test_what_counts_as_noisy():
    assert not is_noisy([1.0, 1.1, 1.05, 1.0, 9.0, 1.02])
    assert is_noisy([1.0, 2.0, 1.0, 3.0, 1.1, 2.0])
    # Nearly every run was interrupted once, so that the quartiles lie close together.
    assert is_noisy([3.0, *[11.0] * 20])
    assert not is_noisy([1.0, 9.0, 5.0])


def test_layers_add_up_where_most_runs_are_interrupted(monkeypatch):
    monkeypatch.setattr(rounds, "MIN_SECONDS", 0.0)
    monkeypatch.setattr(rounds, "STEADY_SECONDS", 0.0)
    monkeypatch.setattr(calibrate, "ROUNDS", 3)
    clock = FakeClock()
    times = [500_000, 300_000, 700_000, 400_000]
    subject = timed_subject(clock, times)
    runs = 0

    def preempt(module, inputs):
        """In three runs of four another program has the processor, during one layer or another."""
        nonlocal runs
        runs += module is subject.model.layer0
        turn = runs * 7 % 16
        if turn < 12 and module is subject.model.get_submodule(f"layer{turn % 4}"):
            clock.now += 4_000_000

    for layer in subject.model.children():
        layer.register_forward_pre_hook(preempt)
    found = measure_cpu(subject, Options(samples=48), Silent(), clock)
    assert found.whole.plain.median == pytest.approx(sum(times) * 1e-9)
    assert found.whole.plain.count < 48
    layers = [sum(row.forward) / len(row.forward) for row in found.rows.values()]
    assert layers == pytest.approx([time * 1e-9 for time in times])
    assert any("least disturbed of 48 runs" in note for note in found.notes)
