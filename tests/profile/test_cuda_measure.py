"""The way of measuring on a GPU, on one that only keeps time."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from fake_gpu import GAP, LAUNCH, Counting, FakeGpu, FakeModel

from cnnstat.profile.cuda.measure import measure_on
from cnnstat.profile.measurement import Measurement
from cnnstat.profile.profile_options import Options

LAYERS = ((("gemm", 40_000), ("epilogue", 5_000)), (("relu", 8_000),), ())
OPTIONS = Options(samples=5)


def measured(gpu: FakeGpu, options: Options = OPTIONS, layers: Any = LAYERS) -> Measurement:
    return measure_on(gpu, FakeModel(gpu, layers), options, Counting())  # type: ignore[arg-type]


def test_layers_gaps_and_the_rest_add_up_to_the_replay() -> None:
    found = measured(FakeGpu())
    assert found.rows[0].forward == pytest.approx((45e-6,) * 5)
    assert found.rows[1].forward == pytest.approx((8e-6,) * 5)
    assert found.unattributed == pytest.approx(1e-6)
    # Three between the kernels, and one before the next pass.
    assert found.idle == pytest.approx(4 * GAP / 1e9)
    layers = sum(row.forward[0] for row in found.rows.values())
    residual = found.whole.plain.median - layers - found.idle - found.unattributed
    assert abs(residual) <= 0.001 * found.whole.plain.median
    assert found.whole.replayed and found.complete and not found.notes


def test_rows_say_their_kernels_and_rows_without_any_are_there() -> None:
    found = measured(FakeGpu())
    assert found.rows[0].kernels == 2 and found.rows[0].kernel_names == ("gemm", "epilogue")
    assert found.rows[2].kernels == 0 and found.rows[2].calls == 1 and set(found.rows[2].forward) == {0.0}
    assert found.rows[0].backward is None


def test_enqueue_is_what_the_cpu_needs_and_eager_waits_for_the_gpu() -> None:
    small = measured(FakeGpu(), layers=((("tiny", 100),),) * 10)
    assert small.whole.enqueue is not None
    assert small.whole.enqueue.median == pytest.approx(11 * LAUNCH / 1e9)
    assert small.whole.eager.median == pytest.approx(11 * LAUNCH / 1e9, rel=0.01)
    assert small.whole.cpu_bound
    assert not measured(FakeGpu()).whole.cpu_bound


def test_events_span_ten_milliseconds_at_least() -> None:
    gpu = FakeGpu()
    found = measured(gpu)
    repeats = int(gpu.log[-2].removeprefix("elapsed "))
    # One graph holds 18 passes, so that it takes a millisecond.
    assert repeats * 18 * found.whole.plain.median >= 0.010
    assert 17 * found.whole.plain.median < 1e-3 <= 18 * found.whole.plain.median


def test_what_is_measured_takes_turns_and_the_profiler_comes_last() -> None:
    gpu = FakeGpu()
    measured(gpu, replace(OPTIONS, isolate=True, energy=True))
    assert gpu.log[-1] == "session" and gpu.log.count("session") == 1


def test_a_model_without_a_graph_is_measured_in_ordinary_passes() -> None:
    found = measured(FakeGpu(capturable=False))
    assert not found.whole.replayed
    assert found.rows[0].forward == pytest.approx((45e-6,) * 5)
    assert found.notes[0].startswith("no CUDA graph (operation not permitted when stream is capturing)")


def test_passes_that_lose_kernels_are_left_out_and_told() -> None:
    # Three ordinary passes of four kernels each, one replay beside the steps of 18 passes, then four that count.
    found = measured(FakeGpu(loses=(12 + 72 + 1, 12 + 72 + 72 + 9)))
    assert len(found.rows[0].forward) == 5 and found.lost_kernels == 0
    assert found.notes == ("2 of 4 profiled passes left out: the profiler lost 2 kernels",)


def test_a_long_model_has_a_graph_of_one_pass() -> None:
    found = measured(FakeGpu(loses=(3 * 2 + 2 + 3,)), layers=((("gemm", 3_000_000),),))
    assert found.rows[0].forward == pytest.approx((3e-3,) * 5)
    assert found.notes == ("1 of 8 profiled passes left out: the profiler lost 1 kernels",)
    assert found.idle == pytest.approx(GAP / 1e9)


def test_a_session_that_loses_everything_is_repeated() -> None:
    gpu = FakeGpu(loses=tuple(range(1, 12 + 5 * 72 + 1)))
    found = measured(gpu)
    assert gpu.sessions == 2 and found.rows[0].forward == pytest.approx((45e-6,) * 5)


def test_a_profiler_that_reports_nothing_costs_the_layers_times_with_a_remedy() -> None:
    found = measured(FakeGpu(loses=tuple(range(1, 20_000))))
    assert found.whole.plain.median == pytest.approx(54e-6 + 4 * GAP / 1e9, rel=0.01) and found.peak_bytes == 4096
    assert found.rows[0].forward == () and found.rows[0].calls == 1
    assert any("no pass with all of its kernels; run again" in note for note in found.notes)


def test_an_interrupt_after_a_round_leaves_a_table() -> None:
    gpu = FakeGpu()
    measured(gpu)
    last = gpu.pairs
    gpu = FakeGpu()
    gpu.interrupt_at = last - 1
    found = measured(gpu, replace(OPTIONS, isolate=True, energy=True))
    assert not found.complete
    assert found.whole.plain.count == 3 and len(found.rows[0].forward) == 3
    assert found.joules is None and found.rows[0].warm is None


def test_an_interrupt_before_that_is_an_interrupt() -> None:
    gpu = FakeGpu()
    gpu.interrupt_at = 2
    with pytest.raises(KeyboardInterrupt):
        measured(gpu)


def test_an_interrupt_while_layers_run_alone_costs_only_those() -> None:
    gpu = FakeGpu()
    measured(gpu)
    last = gpu.pairs
    gpu = FakeGpu()
    gpu.interrupt_at = last + 3
    found = measured(gpu, replace(OPTIONS, isolate=True))
    assert not found.complete and found.rows[0].warm is None and found.whole.plain.count == 5


def test_layers_alone_are_measured_warm_and_cold() -> None:
    found = measured(FakeGpu(), replace(OPTIONS, isolate=True))
    assert found.rows[0].warm == pytest.approx((45e-6 + 2 * GAP / 1e9,) * 5, rel=0.01)
    assert found.rows[0].cold == pytest.approx((45e-6 + 2 * GAP / 1e9,) * 5, rel=0.05)


def test_energy_is_that_of_one_pass() -> None:
    found = measured(FakeGpu(energy=200.0), replace(OPTIONS, energy=True))
    assert found.joules == pytest.approx(200 * 54e-6)


def test_energy_that_is_not_told_is_a_note() -> None:
    found = measured(FakeGpu(energy=None), replace(OPTIONS, energy=True))
    assert found.joules is None and found.notes == ("NVML does not tell this GPU's energy",)


def test_peak_and_clocks_are_handed_over() -> None:
    found = measured(FakeGpu())
    assert found.peak_bytes == 4096
    assert found.clocks["sm_MHz_before"] == 1980.0 and found.clocks["power_limit_W"] == 700.0


def test_trace_has_the_layers_names(tmp_path: Path) -> None:
    measured(FakeGpu(), replace(OPTIONS, trace=tmp_path / "t.json"))
    events = json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    layers = [event["name"] for event in events if event.get("cat") == "cnnstat" and event["args"].get("kernels")]
    assert layers == ["layer0", "layer1", "unattributed"] * 2, layers
    assert {e["name"] for e in events if e.get("cat") == "user_annotation"} >= {"layer0", "layer1", "layer2"}


def test_a_trace_that_cannot_be_written_costs_a_note(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = measured(FakeGpu(), replace(OPTIONS, trace=tmp_path / "file" / "t.json"))
    assert "cannot write the trace" in found.notes[0]


def test_progress_ends_every_stage() -> None:
    gpu, progress = FakeGpu(), Counting()
    options = replace(OPTIONS, isolate=True, energy=True)
    measure_on(gpu, FakeModel(gpu, LAYERS), options, progress)  # type: ignore[arg-type]
    assert [title for title, _ in progress.stages] == [
        "warming up",
        "whole model",
        "layers alone",
        "energy",
        "profiling",
    ]
    assert progress.steps == sum(steps for _, steps in progress.stages)


def test_ops_are_those_of_ordinary_passes() -> None:
    found = measured(FakeGpu(), replace(OPTIONS, ops=True))
    assert {(each.layer, each.op) for each in found.ops} == {
        ("layer0", "aten::op"),
        ("layer1", "aten::op"),
        ("unattributed", "aten::op"),
    }
    assert next(each for each in found.ops if each.layer == "layer0").seconds == pytest.approx(45e-6)
    assert not measured(FakeGpu()).ops
