"""The division of a GPU's time, against going through it nanosecond by nanosecond."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cnnstat.profile.traces.kernel_attribution import share
from cnnstat.profile.traces.kineto_trace import Kernel, Signature

SPANS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 25)), max_size=9)


def kernels(spans: list[tuple[int, int]]) -> list[Kernel]:
    return [
        Kernel(
            signature=Signature("kernel", ()), work="kernel", start=start, end=start + length, stream=7, correlation=0
        )
        for start, length in spans
    ]


def dealt(spans: list[tuple[int, int]]) -> tuple[list[int], int]:
    """Deal out each nanosecond in turn to those that run in it; the turn begins anew where anything starts or ends."""
    busy, idle = [0] * len(spans), 0
    edges = {edge for start, length in spans for edge in (start, start + length)}
    turn = 0
    for moment in range(min(edges, default=0), max(edges, default=0)):
        turn = 0 if moment in edges else turn + 1
        running = [i for i, (start, length) in enumerate(spans) if start <= moment < start + length]
        running.sort(key=lambda i: (spans[i][0], i))
        if running:
            busy[running[turn % len(running)]] += 1
        else:
            idle += 1
    return busy, idle


@given(SPANS)
def test_every_nanosecond_is_somebodys_or_a_gap(spans: list[tuple[int, int]]) -> None:
    found = share(kernels(spans))
    busy, idle = dealt(spans)
    assert list(found.busy) == busy and found.idle == idle
    assert sum(found.busy) + found.idle == found.span


@given(SPANS)
def test_kernels_that_run_together_get_the_same_but_for_one_nanosecond_a_stretch(spans: list[tuple[int, int]]) -> None:
    doubled = [span for span in spans for _ in range(2)]
    found = share(kernels(doubled))
    stretches = 2 * len(spans)
    assert all(0 <= a - b <= stretches for a, b in zip(found.busy[::2], found.busy[1::2]))


def test_one_after_the_other_is_what_each_took() -> None:
    found = share(kernels([(0, 10), (15, 5), (20, 7)]))
    assert found.busy == (10, 5, 7) and found.idle == 5 and found.span == 27


def test_no_kernels_take_no_time() -> None:
    assert share([]).span == 0
