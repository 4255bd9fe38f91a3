"""The whole of the measurement on recorded kernels, with the faults that real tracers have: none costs the whole."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("torch")

from fake_gpu import GAP, Counting, FakeModel
from replay_gpu import Layers, ReplayGpu, layers_of

from cnnstat.profile.cuda import measure
from cnnstat.profile.cuda.measure import measure_on
from cnnstat.profile.measurement import Measurement
from cnnstat.profile.profile_options import Options
from cnnstat.profile.profile_result import TimeBreakdown

SAMPLES = 4


@pytest.fixture(scope="module")
def layers() -> Layers:
    return layers_of("h100-bert-small-forward")


def measured(gpu: ReplayGpu, layers: Layers) -> Measurement:
    return measure_on(gpu, FakeModel(gpu, layers), Options(samples=SAMPLES), Counting())  # type: ignore[arg-type]


def breakdown(found: Measurement) -> TimeBreakdown:
    return TimeBreakdown(
        whole=found.whole.plain.median,
        layers=sum(row.forward[0] for row in found.rows.values() if row.forward),
        idle=found.idle,
        unattributed=found.unattributed,
        tracing=found.tracing,
        kernels=found.kernel_count,
    )


def has_layers(found: Measurement, layers: Layers) -> bool:
    return all(
        found.rows[row].forward == pytest.approx((sum(time for _, time in kernels) / 1e9,) * SAMPLES)
        for row, kernels in enumerate(layers)
    )


def whole_of(layers: Layers) -> Any:
    """What a pass takes: its kernels, one of no layer, and a gap behind each."""
    kernels = [time for row in layers for _, time in row] + [1000]
    return pytest.approx((sum(kernels) + len(kernels) * GAP) / 1e9, rel=0.02)


def test_a_sound_tracer_tells_everything(layers: Layers) -> None:
    found = measured(ReplayGpu(), layers)
    assert has_layers(found, layers) and not found.notes and found.tracing == 0
    assert found.kernel_count == sum(map(len, layers)) + 1
    assert breakdown(found).holds(0.01, 0.02)


@pytest.mark.parametrize("cost", [700, 1100])
def test_what_tracing_costs_is_a_line_of_its_own(layers: Layers, cost: int) -> None:
    found = measured(ReplayGpu(tracer_cost=cost), layers)
    kernels = sum(map(len, layers)) + 1
    assert has_layers(found, layers) and found.whole.plain.median == whole_of(layers)
    assert found.tracing == pytest.approx(-kernels * cost / 1e9, rel=0.05)
    without = breakdown(found)
    assert abs(without.residual) <= 0.03 * without.whole
    assert abs(without.residual + without.tracing) > 0.03 * without.whole, "it would have been drift"


def test_misdated_heads_cost_their_passes(layers: Layers) -> None:
    found = measured(ReplayGpu(misdated=5), layers)
    assert has_layers(found, layers)


def test_a_tracer_without_records_costs_only_the_layers(layers: Layers) -> None:
    found = measured(ReplayGpu(silent=True), layers)
    assert found.whole.plain.median == whole_of(layers) and found.whole.replayed
    assert found.peak_bytes is not None and found.rows[0].forward == () and found.rows[0].calls == 1
    (note,) = found.notes
    assert note.startswith("layers have no times: torch.profiler reported no pass")


def test_replays_without_records_leave_ordinary_passes(layers: Layers) -> None:
    found = measured(ReplayGpu(silent_replays=True), layers)
    assert has_layers(found, layers) and found.whole.replayed and found.whole.plain.median == whole_of(layers)
    assert any("recorded no whole replay of the CUDA graph" in note for note in found.notes)


def test_kernels_without_launches_are_unattributed(layers: Layers) -> None:
    found = measured(ReplayGpu(silent_launches=True), layers)
    assert not any(row.forward and row.forward[0] for row in found.rows.values())
    assert found.unattributed > 0.3 * found.whole.plain.median
    assert any("launch of" in note and "unattributed" in note for note in found.notes)


def test_a_session_that_never_returns_is_given_up(layers: Layers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "SESSION_SECONDS", 0.2)
    gpu = ReplayGpu(hangs=True)
    found = measured(gpu, layers)
    gpu.released.set()
    assert found.whole.plain.median == whole_of(layers) and found.rows[0].forward == ()
    assert found.is_stuck, "nothing more may be measured on this GPU"
    assert "was given up (it did not end within 0 s)" in found.notes[0]


def test_a_session_that_fails_costs_only_the_layers(layers: Layers) -> None:
    found = measured(ReplayGpu(fails=RuntimeError("CUDA error: an illegal memory access. More")), layers)
    assert found.whole.plain.median == whole_of(layers)
    assert "failed (CUDA error: an illegal memory access)" in found.notes[0]


def test_no_memory_for_a_graph_is_told_as_that(layers: Layers) -> None:
    found = measured(ReplayGpu(memory=3), layers)
    assert not found.whole.replayed and has_layers(found, layers)
    assert found.notes[0].startswith("no CUDA graph (out of memory)")


def test_a_full_launch_queue_is_no_slow_cpu() -> None:
    many: Layers = ((("kernel", 20_000),) * 3000,)
    whole = measured(ReplayGpu(queue=1024), many).whole
    assert whole.enqueue is not None and whole.enqueue.median > 0.6 * whole.plain.median
    assert not whole.cpu_bound
    short: Layers = ((("kernel", 500),) * 3000,)
    assert measured(ReplayGpu(queue=1024), short).whole.cpu_bound


LONG: Layers = tuple((("gemm", 30_000), ("bias", 4_000)) for _ in range(12))


@pytest.mark.parametrize("cost", [0, 900])
def test_rows_agree_with_events_inside_the_graph_whatever_tracing_costs(cost: int) -> None:
    check = measured(ReplayGpu(tracer_cost=cost), LONG).row_check
    assert check is not None and check.rows == 12 and check.agrees
    assert abs(check.worst_apart) < 0.03


def test_a_tracer_that_times_rows_wrong_is_told_by_events() -> None:
    check = measured(ReplayGpu(stretches=1.6), LONG).row_check
    assert check is not None and not check.agrees and check.worst_apart > 0.1


def test_rows_are_not_checked_where_there_are_no_events_or_only_short_rows(layers: Layers) -> None:
    old = ReplayGpu()
    old.has_graph_events = False
    found = measured(old, LONG)
    assert found.row_check is None and has_layers(found, LONG)
    assert found.notes == ("layers were not checked by events inside the graph (PyTorch before 2.8 records no events "
                           "in graphs)",)  # fmt: skip
    assert measured(ReplayGpu(), ((("tiny", 900),),) * 4).row_check is None
    assert measured(ReplayGpu(silent=True), LONG).row_check is None


@pytest.mark.parametrize("rename", [lambda name: name.replace("cuda", "hip"), lambda name: f"{name}_v10000_ptsz"])
def test_other_names_of_calls_are_read(layers: Layers, rename: Any) -> None:
    assert has_layers(measured(ReplayGpu(rename=rename), layers), layers)
