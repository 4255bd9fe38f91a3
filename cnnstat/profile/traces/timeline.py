"""Timeline of a recorded pass: which layer ran when, on each stream or thread, and the memory allocated meanwhile."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cnnstat.profile.profile_details import MOST_SLICES, TimelineSlice
from cnnstat.profile.traces.kernel_attribution import Pass
from cnnstat.profile.traces.kernel_owners import Owner
from cnnstat.profile.traces.kineto_trace import LayerRange, PassRange, arguments_of, nanoseconds

TOGETHER = 10_000
"""Nanoseconds between two kernels of one layer that are still one slice: what a GPU takes to start a kernel."""


def timeline(one: Pass, names: Sequence[str], track: str = "stream") -> tuple[TimelineSlice, ...]:
    """Return the slices of a pass in order of their start; names: of all rows; track: what its streams are called."""
    pieces = sorted(one.pieces, key=lambda piece: (piece.kernel.stream, piece.kernel.start))
    begin = min((piece.kernel.start for piece in pieces), default=0)
    streams = dict.fromkeys(piece.kernel.stream for piece in pieces)
    # Numbers of threads say nothing, those of streams are the tracer's.
    numbers = {stream: stream if track == "stream" else place for place, stream in enumerate(streams, start=1)}
    stretches: list[tuple[int, Owner | None, int, int]] = []
    for piece in pieces:
        kernel = piece.kernel
        stream, owner, start, end = stretches[-1] if stretches else (None, None, 0, 0)
        if (stream, owner) == (kernel.stream, piece.owner) and kernel.start - end <= TOGETHER:
            stretches[-1] = (kernel.stream, owner, start, max(end, kernel.end))
        else:
            stretches.append((kernel.stream, piece.owner, kernel.start, kernel.end))
    slices = [
        TimelineSlice(
            layer="unattributed" if owner is None or owner.row >= len(names) else names[owner.row],
            backward=owner is not None and owner.backward, track=f"{track} {numbers[stream]}",
            start=(start - begin) / 1e9, seconds=(end - start) / 1e9,
        )
        for stream, owner, start, end in stretches
    ]  # fmt: skip
    return tuple(sorted(slices, key=lambda each: (each.start, each.track))[:MOST_SLICES])


_CPU, _CUDA = 0, 1
"""Types of devices, as PyTorch numbers them."""


def memory_by_row(
    events: Iterable[Mapping[str, Any]], ranges: Iterable[LayerRange], step: PassRange, *, is_cpu: bool
) -> dict[int, int]:
    """Return the most bytes allocated while each row's forward pass ran, over what was when the pass began.

    Nothing where the recording has no allocations (`profile_memory=True`). Row −1: the most of the whole pass.
    """
    totals = sorted(
        (nanoseconds(event["ts"]), int(arguments_of(event)["Total Allocated"]), int(arguments_of(event)["Bytes"]))
        for event in events
        if event.get("name") == "[memory]" and _is_of(event, _CPU if is_cpu else _CUDA)
    )
    moments = [moment for moment, _, _ in totals]
    if not totals:
        return {}

    def before(moment: int) -> int:
        place = bisect_right(moments, moment) - 1
        # What was there before the first allocation that is recorded.
        return totals[place][1] if place >= 0 else totals[0][1] - totals[0][2]

    def most(start: int, end: int) -> int:
        inside = totals[bisect_right(moments, start) : bisect_right(moments, end)]
        return max((before(start), *(total for _, total, _ in inside)))

    begin = before(step.start)
    by_row = {-1: max(0, most(step.start, step.end) - begin)}
    for each in ranges:
        if step.start <= each.start and each.end <= step.end and each.row >= 0:
            by_row[each.row] = max(by_row.get(each.row, 0), most(each.start, each.end) - begin)
    return by_row


def _is_of(event: Mapping[str, Any], device: int) -> bool:
    arguments = arguments_of(event)
    has_sizes = "Total Allocated" in arguments and "Bytes" in arguments
    return has_sizes and arguments.get("Device Type") in (device, str(device))
