"""Kernel times: what kernels take by row, by name and by op, and why the GPU stands still between them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import median

from cnnstat.profile.measurement import IsolatedTimes, RowTimes
from cnnstat.profile.profile_details import KernelTime, OpTime
from cnnstat.profile.traces.kernel_attribution import Pass, Piece
from cnnstat.profile.traces.kernel_owners import Innermost, LaunchOwners
from cnnstat.profile.traces.kineto_trace import Kernel, Launch, Operation, PassRange, Trace

MOST = 100
"""Kernels that a profile keeps."""

_TENSOR_CORES = re.compile(
    r"tensorop|tensor_op|[hifsbd]\d*(?:884|1688|16816|16832|161616|64x\d+x\d+gemm)|xmma|w?gmma|hmma|imma|nvjet|mfma|\bmma_",
    re.IGNORECASE,
)
"""Names of kernels that compute on tensor cores (AMD: matrix cores): of cuDNN, cuBLAS, CUTLASS, rocBLAS."""

LAUNCHING = 10_000
"""Nanoseconds that a GPU takes at most to start a kernel that is already launched; longer, and it waits for others."""

CAUSES = ("host", "launch", "dependency")


def row_times(
    passes: Sequence[Pass],
    calls: Mapping[int, int],
    *,
    backward: bool,
    isolated: IsolatedTimes,
    has_kernels: bool = True,
) -> dict[int, RowTimes]:
    """Return the times of every row that ran in some passes, with its kernels in the first of them.

    backward: whether backward passes ran. has_kernels: False without passes, and where ops of a CPU stand for kernels.
    """
    kernels: dict[int, list[str]] = {}
    for piece in passes[0].pieces if has_kernels else ():
        if piece.owner is not None:
            kernels.setdefault(piece.owner.row, []).append(piece.kernel.name)
    ran = {row for one in passes for row in (*one.forward, *one.backward)}
    return {
        row: RowTimes(
            forward=tuple(one.forward.get(row, 0) / 1e9 for one in passes),
            backward=tuple(one.backward.get(row, 0) / 1e9 for one in passes) if backward else None,
            warm=isolated.warm.get(row),
            cold=isolated.cold.get(row),
            calls=calls.get(row, 0),
            kernels=len(kernels.get(row, ())) if has_kernels else None,
            kernel_names=tuple(dict.fromkeys(kernels.get(row, ()))),
        )
        for row in sorted(ran | set(calls))
    }


def kernel_times(passes: Sequence[Pass], names: Sequence[str]) -> tuple[KernelTime, ...]:
    """Return the kernels of passes by name, the heaviest first; names: of all rows.

    Times are medians over the passes of what all kernels of a name take together, overlapping ones in full.
    """
    by_name: dict[str, list[Kernel]] = {}
    rows: dict[str, dict[str, None]] = {}
    for piece in passes[0].pieces if passes else ():
        if not piece.is_continued:
            by_name.setdefault(piece.kernel.name, []).append(piece.kernel)
        if piece.owner is not None and piece.owner.row < len(names):
            rows.setdefault(piece.kernel.name, {})[names[piece.owner.row]] = None
    totals = [_totals(one) for one in passes]
    times = []
    for name, kernels in by_name.items():
        longest = max(kernels, key=lambda kernel: kernel.end - kernel.start)
        shape = longest.signature.shape if longest.work == "kernel" else ()
        times.append(
            KernelTime(
                name=name,
                count=len(kernels),
                seconds=median(total.get(name, 0) for total in totals) / 1e9,
                grid=shape[:3],
                block=shape[3:6],
                tensor_cores=longest.work == "kernel" and bool(_TENSOR_CORES.search(name)),
                layers=tuple(rows.get(name, ())),
            )
        )
    return tuple(sorted(times, key=lambda kernel: -kernel.seconds)[:MOST])


def _totals(one: Pass) -> dict[str, int]:
    totals: dict[str, int] = {}
    for piece in one.pieces:
        totals[piece.kernel.name] = totals.get(piece.kernel.name, 0) + piece.kernel.end - piece.kernel.start
    return totals


def gap_causes(pieces: Iterable[Piece], launches: Mapping[int, Launch]) -> dict[str, int]:
    """Return the nanoseconds of gaps between kernels by cause; together they are the pass's idle time.

    host: the next kernel was not launched yet. launch: it was, and started as soon as GPUs start kernels.
    dependency: it was, and started later, so that it waited for work on another stream or for an event.
    """
    causes = dict.fromkeys(CAUSES, 0)
    end: int | None = None
    for kernel in sorted((piece.kernel for piece in pieces), key=lambda kernel: (kernel.start, kernel.end)):
        if end is not None and kernel.start > end:
            launch = launches.get(kernel.correlation)
            gap = kernel.start - end
            late = 0 if launch is None else min(gap, max(0, launch.end - end))
            causes["host"] += late
            causes["launch" if gap - late <= LAUNCHING else "dependency"] += gap - late
        end = kernel.end if end is None else max(end, kernel.end)
    return causes


# Ops inside layers ---------------------------------------------------------------------------------------------------

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
