"""Recorded memory: how much is allocated while each layer runs, by the allocations that torch.profiler records."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from typing import Any

from cnnstat.profile.traces.kineto_trace import LayerRange, PassRange, arguments_of, nanoseconds

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
    found = {-1: max(0, most(step.start, step.end) - begin)}
    for each in ranges:
        if step.start <= each.start and each.end <= step.end and each.row >= 0:
            found[each.row] = max(found.get(each.row, 0), most(each.start, each.end) - begin)
    return found


def _is_of(event: Mapping[str, Any], device: int) -> bool:
    arguments = arguments_of(event)
    has_sizes = "Total Allocated" in arguments and "Bytes" in arguments
    return has_sizes and arguments.get("Device Type") in (device, str(device))
