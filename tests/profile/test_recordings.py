"""Recordings of real GPUs: each row has the nanoseconds that an independent script found, and mutations are told."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import Any

import pytest
from recordings import NAMES, REPLAYS, mutated, recording

from cnnstat.profile.cuda.kernel_attribution import Attribution, Pass, attribute, attribute_replays
from cnnstat.profile.cuda.kernel_owners import Owner, match
from cnnstat.profile.cuda.kineto_trace import Signature, read_trace


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
