"""Op times: which ops a layer is made of, and how long each takes, as PyTorch's profiler records them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import median

from cnnstat.profile.profile_details import OpTime
from cnnstat.profile.traces.kernel_owners import LaunchOwners
from cnnstat.profile.traces.kineto_trace import Launch, Operation, PassRange, Trace

Key = tuple[int, bool, str]
"""Row, whether in the backward pass, and name of an op; row −1 for work of no layer."""


def op_times(trace: Trace, passes: Sequence[PassRange], names: Sequence[str]) -> tuple[OpTime, ...]:
    """Return the ops of each layer in order of the layers, the longest first; names: of all rows.

    Of a GPU: the ops that launch kernels, with what these take; an op holds those that no op inside it launches.
    Of a CPU: every op, with the time that it takes itself.
    """
    owners = LaunchOwners(trace)
    counted = [each for step in passes if (each := _in_pass(trace, step, owners))]
    keys = {key for each in counted for key in each}
    times = [
        OpTime(
            layer=names[row] if 0 <= row < len(names) else "unattributed",
            backward=backward,
            op=op,
            calls=round(median(each.get((row, backward, op), (0, 0))[0] for each in counted)),
            seconds=median(each.get((row, backward, op), (0, 0))[1] for each in counted) / 1e9,
        )
        for row, backward, op in keys
    ]
    place = {name: number for number, name in enumerate(names)}
    times.sort(key=lambda each: (place.get(each.layer, len(names)), each.backward, -each.seconds, each.op))
    return tuple(each for each in times if each.calls)


def _in_pass(trace: Trace, step: PassRange, owners: LaunchOwners) -> Mapping[Key, tuple[int, int]]:
    """Return calls and nanoseconds of ops in one pass."""
    by_op: dict[Key, tuple[int, int]] = {}
    for moment, name, nanoseconds in _of_kernels(trace, step) if trace.kernels else _of_ops(trace, step):
        owner = owners.owner(moment)
        key = (-1, False, name) if owner is None else (owner.row, owner.backward, name)
        calls, before = by_op.get(key, (0, 0))
        by_op[key] = calls + 1, before + nanoseconds
    return by_op


def _of_kernels(trace: Trace, step: PassRange) -> Iterator[tuple[Launch, str, int]]:
    """Yield each launch of a pass with the innermost op that made it and what its kernels take."""
    took: dict[int, int] = {}
    for kernel in trace.kernels:
        took[kernel.correlation] = took.get(kernel.correlation, 0) + kernel.end - kernel.start
    innermost = _Innermost(trace.operations)
    for launch in trace.launches:
        if step.start <= launch.start <= step.end and launch.correlation in took:
            yield launch, innermost.at(launch.thread, launch.start), took[launch.correlation]


class _Innermost:
    """Tells the innermost op of a thread at a moment."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        self._cuts: dict[int, list[tuple[int, str]]] = {}
        open_ops: dict[int, list[Operation]] = {}
        for each in operations:
            self._close(each.thread, open_ops, each.start)
            open_ops.setdefault(each.thread, []).append(each)
            self._cuts.setdefault(each.thread, []).append((each.start, each.name))
        for thread in open_ops:
            self._close(thread, open_ops, None)

    def _close(self, thread: int, open_ops: dict[int, list[Operation]], until: int | None) -> None:
        own = open_ops.get(thread, [])
        while own and (until is None or own[-1].end <= until):
            ended = own.pop()
            self._cuts[thread].append((ended.end, own[-1].name if own else ""))

    def at(self, thread: int, moment: int) -> str:
        cuts = self._cuts.get(thread, [])
        place = bisect_right(cuts, moment, key=lambda cut: cut[0]) - 1
        return (cuts[place][1] if place >= 0 else "") or "no op"


def _of_ops(trace: Trace, step: PassRange) -> Iterator[tuple[Launch, str, int]]:
    """Yield each op of a pass with the time in which none inside it runs."""
    inside: dict[int, int] = {}
    open_ops: dict[int, list[Operation]] = {}
    listed = [each for each in trace.operations if step.start <= each.start <= step.end]
    for each in listed:
        own = open_ops.setdefault(each.thread, [])
        while own and own[-1].end <= each.start:
            own.pop()
        if own:
            inside[id(own[-1])] = inside.get(id(own[-1]), 0) + each.end - each.start
        own.append(each)
    for each in listed:
        launch = Launch(kind="kernel", start=each.start, end=each.end, thread=each.thread, correlation=0)
        yield launch, each.name, max(0, each.end - each.start - inside.get(id(each), 0))
