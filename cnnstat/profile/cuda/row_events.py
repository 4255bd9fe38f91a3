"""Row events: CUDA events recorded inside a graph around every row, which check the tracer's times without a tracer."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median

from cnnstat.profile.cuda.gpu import Gpu, Run
from cnnstat.profile.instrumentation import Observer
from cnnstat.profile.profile_details import RowCheck
from cnnstat.profile.profiler_session import Observable
from cnnstat.profile.traces.kernel_attribution import Pass

LEAST = 10_000
"""Nanoseconds of the shortest rows that are checked: an event takes about one microsecond itself."""

_EMPTY = 5
"""Pairs of events with nothing between them, which show what an event takes."""

_REPLAYS = 10


class EventObserver(Observer):
    """Records an event of the graph before and behind every computation of a row."""

    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu
        self._open: list[tuple[int, object]] = []
        self.pairs: list[tuple[int, object, object]] = []
        self.nested: set[int] = set()

    def enter(self, row: int, call: int) -> None:
        # The events of an inner row are part of the outer one's time.
        if self._open:
            self.nested |= {row, self._open[-1][0]}
        self._open.append((row, self._gpu.graph_event()))

    def leave(self, row: int, call: int) -> None:
        _, before = self._open.pop()
        self.pairs.append((row, before, self._gpu.graph_event()))


def row_event_times(gpu: Gpu, model: Observable, run: Run) -> Mapping[int, float]:
    """Return the nanoseconds of each row's forward pass inside a graph, by events; raises CaptureError.

    What an event takes itself is measured in the same graph, and taken off.
    """
    observer = EventObserver(gpu)
    empty: list[object] = []

    def with_events() -> None:
        empty[:] = [gpu.graph_event() for _ in range(_EMPTY + 1)]
        with model.observing(observer):
            run()

    replay = gpu.capture(with_events)
    samples: dict[int, list[float]] = {}
    for place in range(_REPLAYS + 1):
        replay()
        gpu.synchronize()
        # The first replay uploads the graph.
        if place == 0:
            continue
        cost = min(gpu.between(first, second) for first, second in zip(empty, empty[1:]))
        times: dict[int, float] = {}
        for row, before, behind in observer.pairs:
            times[row] = times.get(row, 0.0) + max(0.0, gpu.between(before, behind) - cost)
        for row, time in times.items():
            if row >= 0 and row not in observer.nested:
                samples.setdefault(row, []).append(time * 1e9)
    return {row: median(times) for row, times in samples.items()}


def check_rows(
    events: Mapping[int, float], passes: tuple[Pass, ...], tracing: float, names: Mapping[int, str]
) -> RowCheck | None:
    """Return how far the rows' times by events are from the tracer's; None where no row is long enough to compare.

    Between two events lie a row's kernels and the gaps between these, which the tracer makes longer for each kernel.

    tracing: seconds that it adds to a kernel.
    """
    spans: dict[int, list[float]] = {}
    for one in passes:
        for row, span in _spans(one, tracing * 1e9).items():
            spans.setdefault(row, []).append(span)
    both = {row: (events[row], median(each)) for row, each in spans.items() if row in events and row in names}
    long = {row: (event, traced) for row, (event, traced) in both.items() if min(event, traced) >= LEAST}
    if not long:
        return None
    apart = {row: (traced - event) / event for row, (event, traced) in long.items()}
    worst = max(apart, key=lambda row: abs(apart[row]))
    return RowCheck(
        rows=len(apart),
        median=median(map(abs, apart.values())),
        worst=names[worst],
        worst_apart=apart[worst],
    )


def _spans(one: Pass, tracing: float) -> dict[int, float]:
    """Return for each row the nanoseconds from its first to its last kernel, without what stands between its calls."""
    spans: dict[int, float] = {}
    group: list[int] = []

    def close() -> None:
        if group:
            first, last = pieces[group[0]], pieces[group[-1]]
            own = max(pieces[place].kernel.end for place in group) - first.kernel.start - tracing * (len(group) - 1)
            row = last.owner.row if last.owner else -1
            spans[row] = spans.get(row, 0.0) + own
            group.clear()

    pieces = sorted(one.pieces, key=lambda piece: piece.kernel.start)
    for place, piece in enumerate(pieces):
        if group and pieces[group[-1]].owner != piece.owner:
            close()
        if piece.owner is not None and not piece.owner.backward:
            group.append(place)
    close()
    return spans
