"""Recordings of real GPUs: each row has the nanoseconds that an independent script found, and mutations are told."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import Any

import pytest
from recordings import NAMES, REPLAYS, mutated, recording

from cnnstat.profile.traces.kernel_attribution import Attribution, Pass, Piece, attribute, attribute_replays
from cnnstat.profile.traces.kernel_owners import Owner, match
from cnnstat.profile.traces.kernel_times import MOST, gap_causes, kernel_times
from cnnstat.profile.traces.kineto_trace import Kernel, Signature, read_trace


def the_pass(events: list[dict[str, Any]]) -> tuple[Pass, Attribution]:
    found = attribute(read_trace(events))
    (one,) = found.passes
    assert one.span == one.idle + one.unattributed + sum(one.forward.values()) + sum(one.backward.values())
    return one, found


def durations(one: Pass) -> Counter[Owner | None]:
    """Nanoseconds of kernels by owner, those that overlap counted in full, as in the answers."""
    times: Counter[Owner | None] = Counter()
    for piece in one.pieces:
        times[piece.owner] += piece.kernel.end - piece.kernel.start
    return times


@pytest.mark.parametrize("name", NAMES)
def test_every_row_has_its_nanoseconds(name: str) -> None:
    document = recording(name)
    answers = document["answers"]
    one, _ = the_pass(document["traceEvents"])
    assert len(one.pieces) == answers["kernels"]
    assert (one.span, one.idle) == (answers["span_ns"], answers["gaps_ns"])
    times = durations(one)
    for key, backward in (("forward_ns_by_row", False), ("backward_ns_by_row", True)):
        found = {owner.row: time for owner, time in times.items() if owner is not None and owner.backward is backward}
        assert found == {int(row): time for row, time in answers[key].items()}
    assert times[None] == answers["durations_ns"]["of_no_row"]


def test_replays_of_real_graphs_have_their_kernels() -> None:
    document = recording(REPLAYS)
    trace = read_trace(document["traceEvents"])
    starts = {step.index: step for step in trace.pass_ranges}
    by_correlation: dict[int, list[Any]] = {}
    for kernel in trace.kernels:
        by_correlation.setdefault(kernel.correlation, []).append(kernel)
    assert sorted(starts) == sorted(int(index) for index in document["answers"])
    for answer in document["answers"].values():
        kernels = by_correlation[answer["correlation"]]
        assert Counter(kernel.work for kernel in kernels) == answer["kinds"]
        span = max(kernel.end for kernel in kernels) - min(kernel.start for kernel in kernels)
        assert span == answer["span_ns"]


def one_graph(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first three replays, all of one graph."""
    answers = recording(REPLAYS)["answers"]
    own = {answers[str(index)]["correlation"] for index in range(3)}

    def is_other(event: dict[str, Any]) -> bool:
        name = str(event["name"])
        if name.startswith("cnnstat#replay#"):
            return int(name.rpartition("#")[2]) >= 3
        return event["args"].get("correlation") not in own

    return mutated(events, drop=is_other)


NOTHING = Pass(pieces=(), span=0, idle=0, unattributed=0, forward={}, backward={})


def test_replays_add_up_and_a_lost_kernel_costs_only_its_replay() -> None:
    events = one_graph(recording(REPLAYS)["traceEvents"])
    answers = recording(REPLAYS)["answers"]
    found = attribute_replays(read_trace(events), NOTHING, {})
    assert [(one.span, one.idle) for one in found.passes] == [
        (answers[str(index)]["span_ns"], answers[str(index)]["gaps_ns"]) for index in range(3)
    ]
    lost = next(event for event in events if event["cat"] == "kernel")
    less = attribute_replays(read_trace([event for event in events if event is not lost]), NOTHING, {})
    assert len(less.passes) == 2 and (less.rejected, less.lost) == (1, 1)


def test_node_numbers_put_kernels_in_order_whatever_their_starts() -> None:
    events = one_graph(recording(REPLAYS)["traceEvents"])
    kernels = [event for event in events if event["cat"] in ("kernel", "gpu_memset", "gpu_memcpy")]
    plain = attribute_replays(read_trace(events), NOTHING, {})
    names = [[piece.kernel.name for piece in one.pieces] for one in plain.passes]
    place: Counter[int] = Counter()
    for number, event in enumerate(sorted(kernels, key=lambda event: event["ts"])):
        correlation = event["args"]["correlation"]
        place[correlation] += 1
        event["args"]["graph node id"] = (9 << 32) | place[correlation]
        event["ts"] += Decimal("0.001") * (-1) ** number
    shuffled = attribute_replays(read_trace(events), NOTHING, {})
    assert [[piece.kernel.name for piece in one.pieces] for one in shuffled.passes] == names


def test_kernels_without_a_launch_are_unattributed_and_counted() -> None:
    """CUPTI records only some of the driver's launches: without any, 221 of 929 kernels would vanish into gaps."""
    document = recording("b200-eager-driver-launches")
    whole, _ = the_pass(document["traceEvents"])
    one, found = the_pass(mutated(document["traceEvents"], drop=lambda event: event["cat"] == "cuda_driver"))
    assert (one.span, one.idle) == (document["answers"]["span_ns"], document["answers"]["gaps_ns"])
    assert len(one.pieces) == document["answers"]["kernels"] and found.unlaunched == 221
    assert one.unattributed > whole.unattributed
    assert durations(one)[None] - durations(whole)[None] == sum(
        piece.kernel.end - piece.kernel.start
        for piece in whole.pieces
        if piece.owner is not None
        and piece.kernel.correlation not in {p.kernel.correlation for p in one.pieces if p.owner is not None}
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_lost_kernel_rejects_the_pass_and_can_be_shown_all_the_same(name: str) -> None:
    events = recording(name)["traceEvents"]
    launches = {event["args"]["correlation"] for event in events if "LaunchKernel" in event["name"]}
    lost = next(e for e in events if e["cat"] == "kernel" and e["args"]["correlation"] in launches)
    trace = read_trace([event for event in events if event is not lost])
    found = attribute(trace)
    assert not found.passes and found.lost == 1
    shown = attribute(trace, needs_all=False)
    assert len(shown.passes) == 1 and shown.kept_lost == 1


@pytest.mark.parametrize("heads", [1, 5])
def test_kernels_of_another_clock_reject_their_pass(heads: int) -> None:
    events = mutated(recording("b200-eager-driver-launches")["traceEvents"])
    kernels = sorted((event for event in events if event["cat"] == "kernel"), key=lambda event: event["ts"])
    for event in kernels[:heads]:
        event["ts"] -= Decimal(10**11)
    trace = read_trace(events)
    assert not attribute(trace).passes and not attribute(trace, needs_all=False).passes


@pytest.mark.parametrize("suffix", ["_v7000", "_ptsz", "_v11060_ptsz"])
@pytest.mark.parametrize("name", NAMES)
def test_suffixes_of_cupti_change_nothing(name: str, suffix: str) -> None:
    def renamed(event: dict[str, Any]) -> dict[str, Any]:
        is_call = event["cat"] in ("cuda_runtime", "cuda_driver")
        return {**event, "name": event["name"] + suffix} if is_call else event

    document = recording(name)
    one, _ = the_pass(mutated(document["traceEvents"], change=renamed))
    plain, _ = the_pass(document["traceEvents"])
    assert one == plain


def test_a_fill_belongs_to_the_kernel_behind_it() -> None:
    relu, fill, gemm = (Signature(name, (1,)) for name in ("relu", "Memset (Device)", "gemm"))
    ordinary = [(relu, Owner(0, False)), (gemm, Owner(1, False))]
    found = match([relu, fill, gemm], ordinary)
    assert found.owners == (Owner(0, False), Owner(1, False), Owner(1, False))
    assert (found.same, found.placed, found.unmatched) == (2, 1, 0)


@pytest.mark.parametrize("name", NAMES)
def test_gaps_have_a_cause_to_the_nanosecond(name: str) -> None:
    document = recording(name)
    one, _ = the_pass(document["traceEvents"])
    launches = {launch.correlation: launch for launch in read_trace(document["traceEvents"]).launches}
    causes = gap_causes(one.pieces, launches)
    assert sum(causes.values()) == one.idle == document["answers"]["gaps_ns"]
    # These are ordinary passes of small work: the host is what the GPU waits for.
    assert causes["host"] > 0.5 * one.idle


@pytest.mark.parametrize("name", NAMES)
def test_kernels_by_name_are_all_there_and_say_their_grid(name: str) -> None:
    document = recording(name)
    one, _ = the_pass(document["traceEvents"])
    found = kernel_times((one,), document["answers"]["rows"])
    assert found[0].seconds == max(kernel.seconds for kernel in found)
    if len(found) < MOST:
        assert sum(kernel.count for kernel in found) == document["answers"]["kernels"]
        assert round(sum(kernel.seconds for kernel in found) * 1e9) == sum(durations(one).values())
    if name != "mi250-rocm-training":
        assert all(len(kernel.grid) == 3 for kernel in found if not kernel.name.startswith(("Mem", "nccl")))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n_tilesize128x128x64_warpgroupsize1x1x1_execute", True),
        ("ampere_fp16_s16816gemm_fp16_128x64_ldg8_f2f_stages_32x6_tn", True),
        ("cutlass_80_tensorop_bf16_s16816gemm_relu_bf16_256x128_32x3_nn_align8", True),
        ("volta_fp16_s884cudnn_fp16_256x64_ldg8_relu_exp_interior_nhwc_tn_v1", True),
        ("nvjet_tst_128x64_64x9_2x1_v_bz_TNN", True),
        ("volta_sgemm_128x64_tn", False),
        ("ampere_scudnn_128x64_relu_interior_nn_v1", False),
        ("void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<float>>", False),
        ("void cudnn::bn_fw_inf_1C11_kernel_NCHW<float, float, true, 1>", False),
    ],
)
def test_names_tell_tensor_cores(name: str, expected: bool) -> None:
    kernel = Kernel(signature=Signature(name, (1,) * 6), work="kernel", start=0, end=5, stream=7, correlation=1)
    one = Pass(pieces=(Piece(kernel, None),), span=5, idle=0, unattributed=5, forward={}, backward={})
    (found,) = kernel_times((one,), ())
    assert found.tensor_cores is expected
