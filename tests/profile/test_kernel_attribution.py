"""Attribution on traces: every kernel finds its row, and the parts of each pass add up to it exactly."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kineto import Recording

from cnnstat.profile.traces.kernel_attribution import Attribution, Pass, attribute, attribute_replays
from cnnstat.profile.traces.kernel_owners import Owner
from cnnstat.profile.traces.kineto_trace import Trace, nanoseconds, read_trace

TRACES = sorted((Path(__file__).parent / "traces").glob("*.json"))


def load(name: str) -> Trace:
    path = Path(__file__).parent / "traces" / f"{name}.json"
    return read_trace(json.loads(path.read_text())["traceEvents"])


def adds_up(found: Pass) -> bool:
    parts = sum(found.forward.values()) + sum(found.backward.values()) + found.unattributed + found.idle
    return parts == found.span


def owners(found: Pass) -> list[int | None]:
    return [None if piece.owner is None else piece.owner.row for piece in found.pieces]


@pytest.mark.parametrize("path", TRACES, ids=lambda path: path.stem)
def test_traces_say_where_they_come_from_and_add_up(path: Path) -> None:
    document = json.loads(path.read_text())
    assert ("hand-made" in document) != ("recorded" in document)
    trace = read_trace(document["traceEvents"])
    ordinary = attribute(trace)
    assert ordinary.passes
    replays = attribute_replays(trace, ordinary.passes[0], ordinary.calls)
    assert all(map(adds_up, (*ordinary.passes, *replays.passes)))


def test_functional_ops_and_kernels_without_an_op_find_their_rows() -> None:
    found = attribute(load("functional"))
    assert len(found.passes) == 2 and found.rejected == found.lost == 0
    for one in found.passes:
        assert owners(one) == [0, 0, 1, 2, None, None]
        assert one.forward == {0: 3100 + 21400, 1: 4200, 2: 5000}
        assert one.unattributed == 2000 + 1000
        assert not one.backward


def test_calls_of_a_shared_module_are_added_up() -> None:
    found = attribute(load("shared"))
    assert found.calls == {0: 2, 1: 2}
    assert found.passes[0].forward == {0: 2 * (3100 + 21400), 1: 2 * 4200}


def test_overlapping_streams_share_the_time_and_lose_none() -> None:
    (one,) = attribute(load("streams")).passes
    # Both run from 105000 to 110001 ns: 5001 ns, of which the earlier one gets the odd nanosecond.
    assert one.forward == {0: 5000 + 2501, 1: 2500 + 4999, 2: 2000}
    assert one.idle == 5000 and one.span == 22000


def test_passes_that_lost_a_kernel_are_left_out_and_told() -> None:
    found = attribute(load("dropped"))
    assert len(found.passes) == 2
    assert found.rejected == found.lost == 1


def test_replayed_kernels_are_those_of_the_ordinary_pass() -> None:
    trace = load("replay")
    ordinary = attribute(trace)
    found = attribute_replays(trace, ordinary.passes[0], ordinary.calls)
    assert len(found.passes) == 3 and found.rejected == 1 and found.lost == 1
    assert [owners(one) for one in found.passes] == [[0, 0, 1, 2, 2, 3]] * 3
    assert found.match is not None
    assert (found.match.same, found.match.placed, found.match.unmatched) == (5, 1, 0)
    assert found.passes[1].forward == {0: 3001 + 20001, 1: 4001, 2: 3001 + 15001, 3: 4001}


def test_backward_kernels_go_to_the_row_of_their_forward_op() -> None:
    found = attribute(load("backward"))
    assert len(found.passes) == 2
    for one in found.passes:
        assert one.forward == {0: 3100 + 21400, 1: 4200}
        # Both gradients, the sum of gradients inside the node's evaluation, and the copy that accumulates the last.
        assert one.backward == {0: 25000 + 27000 + 2000 + 1500, 1: 6000}
        assert one.unattributed == 1000


def test_copies_and_fills_count_and_a_copy_of_nothing_is_not_lost() -> None:
    found = attribute(load("memory"))
    assert found.lost == 0
    assert found.passes[0].forward == {0: 6000, 1: 21200}
    assert found.passes[0].unattributed == 12000


def passes_of(recording: Recording) -> Attribution:
    return attribute(read_trace(recording.document("made in a test")["traceEvents"]))


def test_innermost_mark_wins() -> None:
    recording = Recording()
    with recording.step("eager", 0), recording.layer_range(0):
        with recording.op("aten::mul"):
            recording.launch("before", 1000)
        with recording.layer_range(1), recording.op("aten::mul"):
            recording.launch("inside", 1000)
        with recording.op("aten::mul"):
            recording.launch("after", 1000)
    assert owners(passes_of(recording).passes[0]) == [0, 1, 0]


def test_work_of_nobody_inside_a_mark_is_nobodys() -> None:
    recording = Recording()
    with recording.step("eager", 0), recording.layer_range(0), recording.layer_range(-1), recording.op("aten::mul"):
        recording.launch("constant", 1000)
    assert owners(passes_of(recording).passes[0]) == [None]


def test_recomputed_forward_ops_are_part_of_the_backward_pass() -> None:
    recording = Recording()
    with recording.step("eager", 0):
        with recording.layer_range(0), recording.op("aten::relu", node=True) as node:
            recording.launch("forward", 1000)
        name = "autograd::engine::evaluate_function: CheckpointFunctionBackward"
        with recording.op(name, sequence=node, forward=1), recording.layer_range(0, 1), recording.op("aten::relu"):
            recording.launch("again", 1000)
    (one,) = passes_of(recording).passes
    assert [piece.owner for piece in one.pieces] == [Owner(0, False), Owner(0, True)]


def test_an_op_that_makes_no_node_is_not_taken_for_the_maker() -> None:
    recording = Recording()
    with recording.step("eager", 0):
        # A pool of what needs no gradient shows the number of the node that the convolution after it makes.
        with recording.layer_range(0), recording.op("aten::max_pool2d", sequence=42):
            recording.launch("pool", 1000)
        with recording.layer_range(1), recording.op("aten::convolution", node=True) as node:
            recording.launch("convolution", 1000)
        assert node == 42
        with recording.op("ConvolutionBackward0", sequence=node, forward=1):
            recording.launch("gradient", 1000)
    assert [piece.owner for piece in passes_of(recording).passes[0].pieces][-1] == Owner(1, True)


def test_kernels_stamped_by_another_clock_spoil_their_pass() -> None:
    recording = Recording()
    recording.now = 3_000_000
    for index in range(3):
        with recording.step("eager", index), recording.layer_range(0), recording.op("aten::relu"):
            recording.launch("relu", 1000, at=0 if index == 0 else None)
    found = passes_of(recording)
    assert len(found.passes) == 2 and found.rejected == 1


def test_a_pass_with_fewer_kernels_than_usual_is_left_out() -> None:
    recording = Recording()
    for index in range(3):
        with recording.step("eager", index), recording.layer_range(0), recording.op("aten::cat"):
            recording.launch(
                "Memcpy DtoD (Device -> Device)", 900, call="cudaMemcpyAsync", shape=(64,), lost=index == 0
            )
            recording.launch("relu", 1000)
    found = passes_of(recording)
    assert len(found.passes) == 2 and found.rejected == found.lost == 1


def test_driver_call_inside_a_runtime_call_is_one_launch() -> None:
    recording = Recording()
    with recording.step("eager", 0), recording.layer_range(0), recording.op("aten::mm"):
        recording.launch("gemm", 1000)
        event = dict(next(event for event in recording.events if event["name"] == "cudaLaunchKernel"))
        recording.events.append({**event, "cat": "cuda_driver", "name": "cuLaunchKernel"})
    assert owners(passes_of(recording).passes[0]) == [0]


@pytest.mark.parametrize("bearer", ["outer", "inner", "neither"])
def test_nested_calls_of_numbers_of_their_own_are_one_launch_too(bearer: str) -> None:
    recording = Recording()
    with recording.step("eager", 0), recording.layer_range(0), recording.op("aten::mm"):
        recording.launch("gemm", 1000)
        outer = next(event for event in recording.events if event["name"] == "cudaLaunchKernel")
        inner = {**outer, "cat": "cuda_driver", "name": "cuLaunchKernelEx", "args": {**outer["args"]}}
        recording.events.append(inner)
        if bearer != "outer":
            outer["args"] = {**outer["args"], "correlation": 777}
        if bearer != "inner":
            inner["args"]["correlation"] = 778
    found = passes_of(recording)
    if bearer == "neither":
        assert not found.passes and found.lost == 1
    else:
        assert owners(found.passes[0]) == [0] and found.lost == 0


def test_state_of_the_random_generator_beside_a_replay_is_unattributed() -> None:
    recording = Recording()
    with recording.step("eager", 0), recording.layer_range(0), recording.op("aten::dropout"):
        recording.launch("dropout", 1000)
    with recording.step("replay", 0):
        recording.launch("fill", 700)
        recording.kernel("dropout", 1000, recording.call("cudaGraphLaunch"), node=4 << 32)
    trace = read_trace(recording.document("made in a test")["traceEvents"])
    ordinary = attribute(trace)
    (one,) = attribute_replays(trace, ordinary.passes[0], ordinary.calls).passes
    assert one.forward == {0: 1000} and one.unattributed == 700 and adds_up(one)


def several(lengths: tuple[int, ...]) -> Attribution:
    """A replay of a graph of three passes, the kernels of each as many as said."""
    recording = Recording()
    with recording.step("eager", 0):
        for row in range(2):
            with recording.layer_range(row), recording.op("aten::op"):
                recording.launch(f"kernel{row}", 1000)
    with recording.step("replay", 0):
        launched = recording.call("cudaGraphLaunch")
        for node, row in enumerate(row for length in lengths for row in range(length)):
            recording.kernel(f"kernel{row}", 1000, launched, node=(4 << 32) + node)
    trace = read_trace(recording.document("made in a test")["traceEvents"])
    ordinary = attribute(trace)
    return attribute_replays(trace, ordinary.passes[0], ordinary.calls, 3)


def test_passes_of_one_graph_end_where_the_next_begins() -> None:
    found = several((2, 2, 2))
    assert len(found.passes) == 2 and found.rejected == 0
    for one in found.passes:
        assert one.forward == {0: 1000, 1: 1000} and one.idle == 2 * 900 and adds_up(one)


def test_a_graph_that_cannot_be_cut_into_its_passes_is_left_out() -> None:
    found = several((2, 2, 1))
    assert found.passes == () and found.rejected == 1


def test_graph_nodes_tell_the_order_of_kernels_that_overlap() -> None:
    recording = Recording()
    with recording.step("eager", 0):
        for row, name in enumerate(("first", "second")):
            with recording.layer_range(row), recording.op("aten::mm"):
                recording.launch(name, 9000, stream=7 + row)
    with recording.step("replay", 0):
        launched = recording.call("cudaGraphLaunch")
        recording.kernel("second", 9000, launched, stream=13, node=(4 << 32) + 1, at=500_000)
        recording.kernel("first", 9000, launched, stream=7, node=4 << 32, at=501_000)
    trace = read_trace(recording.document("made in a test")["traceEvents"])
    ordinary = attribute(trace)
    (one,) = attribute_replays(trace, ordinary.passes[0], ordinary.calls).passes
    assert owners(one) == [0, 1] and adds_up(one)


def test_external_ids_that_only_happen_to_agree_are_not_believed() -> None:
    recording = Recording()
    with recording.step("eager", 0):
        with recording.layer_range(0), recording.op("aten::mm"):
            recording.launch("gemm", 1000)
        recording.now += 1_000_000
        with recording.layer_range(1):
            recording.launch("triton", 1000, call="cuLaunchKernel")
            # Its own number is printed where no op made it; here that is the number of the first op.
            recording.events[-2]["args"]["External id"] = 3
    assert owners(passes_of(recording).passes[0]) == [0, 1]


@pytest.mark.parametrize(
    ("microseconds", "expected"),
    [
        (4524132161822.122, 4524132161822122),
        (4524132161822.123, 4524132161822123),
        (0.001, 1),
        (7, 7000),
        ("2.5", 2500),
    ],
)
def test_times_are_read_without_rounding(microseconds: Any, expected: int) -> None:
    assert nanoseconds(microseconds) == expected


def test_a_trace_without_steps_has_no_passes() -> None:
    found = attribute(read_trace([]))
    assert found.passes == () and found.calls == {}


LAYERS = st.lists(
    st.tuples(
        st.integers(-1, 4),
        st.lists(st.tuples(st.integers(0, 9000), st.sampled_from((7, 20)), st.booleans()), max_size=4),
    ),
    min_size=1,
    max_size=8,
)


@settings(deadline=None)
@given(LAYERS)
def test_random_programs_add_up_and_every_kernel_goes_to_its_layer(
    layers: list[tuple[int, list[tuple[int, int, bool]]]],
) -> None:
    recording = Recording()
    expected: list[int | None] = []
    with recording.step("eager", 0):
        recording.launch("first", 500)
        for row, kernels in layers:
            with recording.layer_range(row):
                for duration, stream, with_op in kernels:
                    with recording.op("aten::op") if with_op else nullcontext():
                        recording.launch("kernel", duration, stream=stream)
                    expected.append(None if row < 0 else row)
        recording.synchronize()
    (one,) = passes_of(recording).passes
    assert owners(one) == [None, *expected]
    assert adds_up(one)
    spans = [(piece.kernel.start, piece.kernel.end) for piece in one.pieces]
    assert one.span == max(end for _, end in spans) - min(start for start, _ in spans)
    assert one.idle == one.span - len({ns for start, end in spans for ns in range(start, end)})
