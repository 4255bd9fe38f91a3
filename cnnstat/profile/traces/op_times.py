"""Op times: which ops a layer is made of, and how long each takes, as PyTorch's profiler records them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median

from cnnstat.profile.profile_details import OpTime
from cnnstat.profile.traces.kernel_owners import Innermost, LaunchOwners
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
    operations: dict[int, list[Operation]] = {}
    for each in trace.operations:
        operations.setdefault(each.thread, []).append(each)
    innermost = {thread: Innermost(own, lambda op, _: op.name) for thread, own in operations.items()}
    for launch in trace.launches:
        if step.start <= launch.start <= step.end and launch.correlation in took:
            op = innermost[launch.thread].at(launch.start) if launch.thread in innermost else None
            yield launch, op or "no op", took[launch.correlation]


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
