"""On the CPU: what a pass was spent on adds up to the nanosecond, interrupted or not."""

import pytest

torch = pytest.importorskip("torch")

from cpu_models import FakeClock, model_of, timed_model  # noqa: E402

from cnnstat.errors import CnnstatError  # noqa: E402
from cnnstat.profile import calibration, interleaved, isolation  # noqa: E402
from cnnstat.profile.cpu import measure_cpu  # noqa: E402
from cnnstat.profile.interleaved import LEAST  # noqa: E402
from cnnstat.profile.profile_options import Options, Silent  # noqa: E402
from cnnstat.profile.profile_result import UNATTRIBUTED  # noqa: E402
from cnnstat.profile.stopwatch import Costs, Lap, break_down  # noqa: E402


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Measure no longer than asked for."""
    monkeypatch.setattr(interleaved, "MIN_SECONDS", 0.0)
    monkeypatch.setattr(interleaved, "STEADY_SECONDS", 0.0)
    monkeypatch.setattr(calibration, "ROUNDS", 3)
    monkeypatch.setattr(isolation, "MAX_CPU_COPIES", 4)


def test_a_pass_is_its_layers_and_gaps():
    laps = [Lap(0, 100, 400), Lap(1, 500, 1500), Lap(0, 1600, 1700), Lap(UNATTRIBUTED, 1700, 1750)]
    found = break_down(laps, [], span=2000)
    assert found.forward == {0: 400e-9, 1: 1000e-9}
    assert found.unattributed == pytest.approx(50e-9)
    assert found.idle == pytest.approx(550e-9)
    assert found.instrumentation == 0


@pytest.mark.parametrize("span", [2000, 1500, 100_000])
def test_costs_are_taken_off_and_nothing_is_lost(span):
    laps = [Lap(row, 10 * row, 10 * row + 100 * row) for row in range(5)]
    backward = [Lap(row, 0, 30 * row) for row in range(5)]
    costs = Costs(mark_inside=120, mark_outside=7, hook_inside=20, hook_outside=9)
    found = break_down(laps, backward, span=span, bookkeeping=11, following=13, costs=costs)
    parts = [*found.forward.values(), *found.backward.values(), found.idle, found.unattributed]
    assert all(part >= 0 for part in parts)
    assert sum(parts) + found.instrumentation == pytest.approx(span * 1e-9)
    assert found.forward[1] == 0
    assert found.forward[4] == pytest.approx(280e-9)
    assert found.backward[2] == pytest.approx(40e-9)


def test_layers_take_what_the_clock_says():
    clock = FakeClock()
    times = [5_000, 70_000, 1_000, 300]
    found = measure_cpu(timed_model(clock, times, gap=900), Options(samples=4), Silent(), clock)
    assert [found.rows[row].forward for row in range(4)] == [(pytest.approx(time * 1e-9),) * 4 for time in times]
    assert found.idle == pytest.approx(900e-9)
    assert found.unattributed == 0
    assert found.whole.plain.median == pytest.approx((sum(times) + 900) * 1e-9)
    assert found.complete


def test_the_cost_of_reading_the_clock_is_taken_off():
    clock = FakeClock(tick=50)
    times = [5_000, 70_000, 1_000, 300]
    found = measure_cpu(timed_model(clock, times), Options(samples=4), Silent(), clock)
    layers = sum(row.forward[0] for row in found.rows.values())
    assert layers == pytest.approx(sum(times) * 1e-9, abs=5e-9)
    assert found.whole.plain.median - layers - found.idle == pytest.approx(0, abs=60e-9)


class Interrupted(Silent):
    """Presses Ctrl-C at a step of a stage."""

    def __init__(self, title, step):
        self.title, self.at, self.now = title, step, ""

    def stage(self, title, steps):
        self.now, self.done = title, 0

    def step(self):
        self.done += 1
        if self.now == self.title and self.done == self.at:
            raise KeyboardInterrupt


def test_complete_rounds_survive_an_interrupt():
    clock = FakeClock()
    found = measure_cpu(timed_model(clock, [500, 600]), Options(samples=9), Interrupted("measuring", 3), clock)
    assert not found.complete
    assert {len(row.forward) for row in found.rows.values()} == {3}
    assert found.whole.plain.count == 3
    assert any("3 measurements instead of 9" in note for note in found.notes)


def test_an_interrupt_before_the_first_round_is_an_interrupt():
    clock = FakeClock()
    with pytest.raises(KeyboardInterrupt):
        measure_cpu(timed_model(clock, [500]), Options(samples=9), Interrupted("warm-up", 1), clock)


def test_an_interrupt_within_a_round_drops_that_round():
    clock = FakeClock()
    model = timed_model(clock, [500, 600])
    runs = 0

    def stop(module, inputs):
        nonlocal runs
        runs += 1
        if runs == 42:
            raise KeyboardInterrupt

    model.module.register_forward_pre_hook(stop)
    found = measure_cpu(model, Options(samples=1000), Silent(), clock)
    assert not found.complete
    assert {len(row.forward) for row in found.rows.values()} == {found.whole.plain.count}


def test_layers_alone_keep_what_was_measured_before_an_interrupt():
    model = model_of("lenet5")
    options = Options(samples=5, isolate=True)
    found = measure_cpu(model, options, Interrupted("layers alone", 2))
    assert not found.complete
    assert {len(row.warm) for row in found.rows.values()} == {2}
    (kept,) = {len(row.forward) for row in found.rows.values()}
    assert LEAST <= kept <= 5


def test_layers_alone_are_measured_warm_and_cold():
    found = measure_cpu(model_of("lenet5"), Options(samples=3, isolate=True), Silent())
    assert all(len(row.warm) == len(row.cold) == 3 for row in found.rows.values())
    assert all(min(row.warm) > 0 for row in found.rows.values())


def test_a_model_that_changes_its_path_in_every_run_is_refused():
    class Fickle(torch.nn.Module):
        runs = 0

        def forward(self, x):
            Fickle.runs += 1
            return torch.relu(x) if Fickle.runs % 2 else torch.sigmoid(torch.tanh(x))

    model = model_of(Fickle(), 1, 4)
    model.module.forward = lambda x: torch.neg(x)
    with pytest.raises(CnnstatError, match="another path"):
        measure_cpu(model, Options(samples=3), Silent())


def test_threads_and_the_garbage_collector_are_left_as_they_were():
    import gc

    from cnnstat.profile.device import threads

    before = torch.get_num_threads()
    with threads(3):
        assert torch.get_num_threads() == 3
    assert torch.get_num_threads() == before
    measure_cpu(model_of("lenet5"), Options(samples=2), Silent())
    assert gc.isenabled()
