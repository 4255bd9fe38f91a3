"""Recordings of torch.profiler: passes, layers by marks or by matching, and the kernels of both.

Passes are those that cnnstat marked, else the runs of the marked model, else the profiler's steps, else as many as the
network's layers with weights ran, else one. Recordings of a CPU have no kernels; outermost ops stand for them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from cnnstat.analysis.analysis import Analysis
from cnnstat.errors import CnnstatError
from cnnstat.profile.cuda.kernel_attribution import Attribution, Pass, attribute
from cnnstat.profile.cuda.kernel_times import gap_causes
from cnnstat.profile.cuda.kineto_trace import (
    Kernel,
    Launch,
    LayerRange,
    Operation,
    PassRange,
    Signature,
    Trace,
    nanoseconds,
    read_trace,
)
from cnnstat.profile.recorded.op_rows import NEAR, RecordedOp, Row, RowsOfOps, match_ops, op_name, rows_of

MODULE_MARK = "cnnstat@"
"""What the names of marks around modules begin with; the module's path follows, nothing for the model itself."""

_STEP = re.compile(r"ProfilerStep#(\d+)")
_OPTIMIZER = re.compile(r"Optimizer\.step#(\w+)\.step")


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchRecording:
    """What a recording has to say of a network.

    passes: their kernels, each up to where the next pass begins; gaps: nanoseconds of each pass's by cause.
    eager: nanoseconds of each pass by the host's clock.
    optimizer: what its steps call it; empty without one. Its row stands behind those of the network.
    """

    attribution: Attribution
    passes: tuple[Pass, ...]
    gaps: tuple[Mapping[str, int], ...]
    eager: tuple[int, ...]
    device_name: str
    versions: Mapping[str, str]
    is_cpu: bool
    optimizer: str
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Mark:
    """A range of the program's time with a name that means something here."""

    name: str
    start: int
    end: int
    thread: int


def is_torch_recording(document: Any) -> bool:
    """Whether a document is what `export_chrome_trace` writes."""
    return isinstance(document, dict) and isinstance(document.get("traceEvents"), list)


def first_shape(document: Mapping[str, Any], analysis: Analysis) -> tuple[int, ...] | None:
    """Return the recorded input of the first layer with weights, whatever its batch and size; None if unknown."""
    row = next((row for row, count in zip(rows_of(analysis), analysis.parameters.params) if count), None)
    if row is None or row.shape is None:
        return None
    events = (event for event in document["traceEvents"] if isinstance(event, dict) and event.get("cat") == "cpu_op")
    for event in sorted(events, key=lambda event: nanoseconds(event.get("ts", 0))):
        shape = _shape(event)
        if shape and op_name(str(event.get("name", ""))) in row.ops and shape[1:2] == row.shape[1:2]:
            return shape if len(shape) == len(row.shape) else None
    return None


def read_torch_recording(document: Mapping[str, Any], analysis: Analysis) -> TorchRecording:
    """Return what a recording says of a network; raises CnnstatError where it says nothing."""
    events = [event for event in document["traceEvents"] if isinstance(event, dict) and event.get("ph") == "X"]
    trace = read_trace(events)
    is_cpu = not trace.kernels
    if is_cpu:
        trace = _with_ops_for_kernels(trace)
    marks = _marks(events)
    rows = rows_of(analysis)
    notes: list[str] = []
    if trace.layer_ranges:
        ranges_known = tuple(_known(trace.layer_ranges, document, rows, notes))
        # Passes of what another network was taken for need not be this one's.
        trace = replace(trace, layer_ranges=ranges_known, pass_ranges=trace.pass_ranges if ranges_known else ())
    passes = trace.pass_ranges or _passes(trace, marks, analysis, rows)
    passes = tuple(step for step in passes if step.kind == "eager")
    trace = replace(trace, pass_ranges=passes)
    calls: Mapping[int, int] | None = None
    if not trace.layer_ranges:
        matched, calls = _matched(trace, marks, rows, _shapes(events), notes)
        weighted = [row for row, count in enumerate(analysis.parameters.params) if count]
        known = sum(row in calls for row in weighted)
        if 2 * known < len(weighted):
            notes.append(f"this may be another model: {known} of {len(weighted)} layers with weights were found")
        trace = replace(trace, layer_ranges=matched)
    optimizer, steps = _optimizer(marks, len(rows))
    ranges = sorted((*trace.layer_ranges, *steps), key=lambda each: (each.start, -each.end))
    found = attribute(replace(trace, layer_ranges=tuple(ranges)), needs_all=False)
    if not found.passes:
        raise CnnstatError(_NOTHING)
    found = found if calls is None else replace(found, calls={**found.calls, **calls})
    every = _up_to_the_next(found.passes)
    quickest = min(one.span for one in every)
    kept = tuple(one for one in every if one.span <= NEAR * quickest)
    if len(kept) < len(every):
        notes.append(f"times are of the {len(kept):,} least disturbed of {len(every):,} recorded passes")
    if found.unlaunched:
        notes.append(f"{found.unlaunched} kernels have no launch in the recording and count as unattributed")
    if found.rejected:
        why = f"{found.lost} kernels are missing" if found.lost else "they ran no kernel, or other ones"
        notes.append(f"{found.rejected} of {found.recorded} passes left out: {why}")
    notes += _communication(kept)
    return TorchRecording(
        attribution=found,
        passes=kept,
        gaps=() if is_cpu else tuple(_gaps(one, {each.correlation: each for each in trace.launches}) for one in kept),
        eager=tuple(step.end - step.start for step in passes),
        device_name="" if is_cpu else _device_name(document, events),
        versions=_versions(document),
        is_cpu=is_cpu,
        optimizer=optimizer,
        notes=tuple(notes),
    )


def _gaps(one: Pass, launches: Mapping[int, Launch]) -> dict[str, int]:
    """Return the gaps of a pass by cause; until the next pass begins, the host does something else."""
    causes = gap_causes(one.pieces, launches)
    return {**causes, "host": causes["host"] + one.idle - sum(causes.values())}


_NOTHING = (
    "the recording has no pass with work in it; record with torch.profiler on activities CPU and CUDA, around whole "
    "passes, as `with cnnstat.recording(model, FILE):` does"
)


def _up_to_the_next(passes: Sequence[Pass]) -> tuple[Pass, ...]:
    """Return passes that last until the next one begins, as the passes of a loop do."""
    kept = list(passes)
    for place, (one, following) in enumerate(pairwise(passes)):
        start = min(piece.kernel.start for piece in following.pieces)
        behind = max(0, start - max(piece.kernel.end for piece in one.pieces))
        kept[place] = replace(one, span=one.span + behind, idle=one.idle + behind)
    return tuple(kept)


def _with_ops_for_kernels(trace: Trace) -> Trace:
    """Return a trace in which the outermost ops of every thread are what was launched and what ran."""
    kernels, launches = [], []
    for number, operation in enumerate(_outermost(trace.operations), start=1):
        signature = Signature(operation.name, ())
        kernels.append(
            Kernel(
                signature=signature, work="kernel", start=operation.start, end=operation.end, stream=operation.thread,
                correlation=number,
            )
        )  # fmt: skip
        launches.append(
            Launch(kind="kernel", start=operation.start, end=operation.end, thread=operation.thread, correlation=number)
        )
    return replace(trace, kernels=tuple(kernels), launches=tuple(launches))


def _outermost(operations: Iterable[Operation]) -> list[Operation]:
    """Return the ops that no other op of their thread encloses.

    What is written as an op and only stands around some is passed over, such as regions of torch.compile.
    """
    ends: dict[int, int] = {}
    found = []
    for operation in operations:
        is_op = "::" in operation.name or operation.forward_thread > 0 or "fused" in operation.name
        if is_op and operation.start >= ends.get(operation.thread, -1):
            ends[operation.thread] = operation.end
            found.append(operation)
    return found


def _marks(events: Iterable[Mapping[str, Any]]) -> list[_Mark]:
    """Return the marks of modules, steps and optimizers, in order of their start."""
    marks = []
    for event in events:
        name = str(event.get("name", ""))
        is_mark = name.startswith(MODULE_MARK) or _STEP.fullmatch(name) or _OPTIMIZER.fullmatch(name)
        # Older versions call annotations ops.
        if is_mark and event.get("cat") in ("user_annotation", "cpu_op"):
            start = nanoseconds(event["ts"])
            marks.append(_Mark(name, start, start + nanoseconds(event.get("dur", 0)), int(event.get("tid", 0))))
    return sorted(marks, key=lambda mark: (mark.start, -mark.end))


def _known(
    ranges: Iterable[LayerRange], document: Mapping[str, Any], rows: Sequence[Row], notes: list[str]
) -> Iterable[LayerRange]:
    """Return marks by number as rows of this network: by the names that the recording has, else by number."""
    names = document.get("cnnstat_rows")
    if isinstance(names, str):
        names = json.loads(names)
    places = {row.name: number for number, row in enumerate(rows)}
    known = dict(enumerate(places.get(str(name), -1) for name in names)) if isinstance(names, list) else None
    if known is None and 1 + max((each.row for each in ranges), default=-1) != len(rows):
        notes.append("the recording marks layers of another network: they are told by order, names and sizes instead")
        return []
    if known is not None and -1 in known.values():
        notes.append("layers of the recording that this network has not are unattributed")
    return [each if known is None else replace(each, row=known.get(each.row, -1)) for each in ranges]


def _passes(trace: Trace, marks: Sequence[_Mark], analysis: Analysis, rows: Sequence[Row]) -> tuple[PassRange, ...]:
    """Return the passes of a recording that cnnstat did not mark."""
    runs = [mark for mark in marks if mark.name == MODULE_MARK]
    everything: list[Operation | Launch] = [*trace.operations, *trace.launches]
    if not everything:
        raise CnnstatError(_NOTHING)
    end = max(each.end for each in everything)
    if runs:
        starts = [mark.start for mark in runs]
        return _between(starts, end, runs[0].thread)
    steps = [mark for mark in marks if _STEP.fullmatch(mark.name)]
    if steps:
        return tuple(
            PassRange(kind="eager", index=index, start=step.start, end=step.end, thread=step.thread)
            for index, step in enumerate(steps)
        )
    weighted = [row for row, count in zip(rows, analysis.parameters.params) if count]
    names = {name for row in weighted for name in row.ops}
    forward = [each for each in _outermost(trace.operations) if each.name.rpartition("::")[2].rstrip("_") in names]
    thread = everything[0].thread
    count = len(forward) // len(weighted) if weighted else 0
    if count > 1 and len(forward) == count * len(weighted):
        return _between([forward[number * len(weighted)].start for number in range(count)], end, thread)
    start = min(each.start for each in everything)
    return (PassRange(kind="eager", index=0, start=start, end=end, thread=thread),)


def _between(starts: Sequence[int], end: int, thread: int) -> tuple[PassRange, ...]:
    """Return passes each of which ends where the next begins."""
    return tuple(
        PassRange(kind="eager", index=index, start=start, end=until - 1, thread=thread)
        for index, (start, until) in enumerate(pairwise([*starts, end + 1]))
    )


def _shapes(events: Iterable[Mapping[str, Any]]) -> dict[tuple[int, int], tuple[int, ...]]:
    """Return the first input's shape of ops by thread and start, where the recording has it."""
    return {
        (int(event.get("tid", 0)), nanoseconds(event["ts"])): shape
        for event in events
        if event.get("cat") == "cpu_op" and (shape := _shape(event))
    }


def _shape(event: Mapping[str, Any]) -> tuple[int, ...] | None:
    arguments = event.get("args")
    dims = arguments.get("Input Dims") or arguments.get("Input dims") if isinstance(arguments, dict) else None
    first = next((each for each in dims if isinstance(each, list) and each), None) if isinstance(dims, list) else None
    return tuple(first) if first and all(isinstance(size, int) for size in first) else None


def _matched(
    trace: Trace,
    marks: Sequence[_Mark],
    rows: Sequence[Row],
    shapes: Mapping[tuple[int, int], tuple[int, ...]],
    notes: list[str],
) -> tuple[tuple[LayerRange, ...], dict[int, int]]:
    """Return the ranges of layers, found by modules' marks, names and sizes of ops, and how often each is called."""
    modules = [mark for mark in marks if mark.name.startswith(MODULE_MARK) and mark.name != MODULE_MARK]
    forward = [each for each in trace.operations if not each.forward_thread and "autograd::" not in each.name]
    outermost = _outermost(forward)
    paths = _paths(outermost, modules)
    ranges: list[LayerRange] = []
    seen: dict[tuple[RecordedOp, ...], RowsOfOps] = {}
    lost: set[str] = set()
    ambiguous: set[str] = set()
    for step in trace.pass_ranges:
        own = [each for each in outermost if step.start <= each.start <= step.end]
        ops = tuple(
            RecordedOp(each.name, shapes.get((each.thread, each.start)), paths.get((each.thread, each.start)))
            for each in own
        )
        if ops not in seen:
            seen[ops] = match_ops(ops, rows)
        found = seen[ops]
        ambiguous |= set(found.ambiguous)
        lost |= {row.name for number, row in enumerate(rows) if number not in found.rows}
        for each, row in zip(own, found.rows):
            if row is not None:
                ranges.append(LayerRange(row=row, call=0, start=each.start, end=each.end, thread=each.thread))
    if not ranges:
        raise CnnstatError("no op of the recording fits a layer of this network; give the SOURCE that was recorded")
    if not modules:
        notes.append("the recording has no marks of modules: layers are told by order, names and sizes of ops")
    if ambiguous and not modules:
        notes.append(
            f"the recording has no sizes (record_shapes=True): {len(ambiguous)} layers are told by order alone"
        )
    if lost:
        notes.append(f"not found in the recording: {_some(sorted(lost, key=[row.name for row in rows].index))}")
    # A module may need further ops for one call, such as a count of batches.
    calls: dict[int, int] = {}
    for ops, found in list(seen.items())[:1]:
        for op, row in zip(ops, found.rows):
            if row is not None and op_name(op.name) in rows[row].ops:
                calls[row] = calls.get(row, 0) + 1
    return tuple(ranges), {**dict.fromkeys((each.row for each in ranges), 1), **calls}


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _paths(operations: Sequence[Operation], modules: Sequence[_Mark]) -> dict[tuple[int, int], str]:
    """Return the path of the innermost module that ran an op, by thread and start."""
    paths: dict[tuple[int, int], str] = {}
    by_thread: dict[int, list[_Mark]] = {}
    for mark in modules:
        by_thread.setdefault(mark.thread, []).append(mark)
    for thread, own in by_thread.items():
        open_marks: list[_Mark] = []
        waiting = iter(own)
        upcoming = next(waiting, None)
        for operation in (each for each in operations if each.thread == thread):
            while upcoming is not None and upcoming.start <= operation.start:
                open_marks.append(upcoming)
                upcoming = next(waiting, None)
            open_marks = [mark for mark in open_marks if mark.end >= operation.end]
            if open_marks:
                path = open_marks[-1].name.removeprefix(MODULE_MARK)
                paths[thread, operation.start] = path.removeprefix("module.").replace("_orig_mod.", "")
    return paths


def _optimizer(marks: Iterable[_Mark], row: int) -> tuple[str, list[LayerRange]]:
    """Return what the optimizer is called, and its steps as ranges of a row behind the network's."""
    steps = [(match[1], mark) for mark in marks if (match := _OPTIMIZER.fullmatch(mark.name))]
    ranges = [LayerRange(row=row, call=0, start=mark.start, end=mark.end, thread=mark.thread) for _, mark in steps]
    return (steps[0][0] if steps else ""), ranges


def _communication(passes: Sequence[Pass]) -> list[str]:
    """Return a note of the kernels that exchange gradients between GPUs."""
    times = [
        sum(piece.kernel.end - piece.kernel.start for piece in one.pieces if "nccl" in piece.kernel.name.lower())
        for one in passes
    ]
    if not any(times):
        return []
    return [f"kernels of NCCL or RCCL take {max(times) / 1e6:,.2f} ms of a pass, of no layer; others may run meanwhile"]


def _device_name(document: Mapping[str, Any], events: Iterable[Mapping[str, Any]]) -> str:
    """Return what the GPU whose kernels are recorded calls itself."""
    properties = document.get("deviceProperties")
    numbers = [e["args"].get("device") for e in events if e.get("cat") == "kernel" and isinstance(e.get("args"), dict)]
    number = numbers[0] if numbers else None
    for entry in properties if isinstance(properties, list) else ():
        if isinstance(entry, dict) and entry.get("id") in (number, None) and isinstance(entry.get("name"), str):
            return str(entry["name"])
    return "GPU of the recording"


def _versions(document: Mapping[str, Any]) -> dict[str, str]:
    keys = {"cuda_runtime_version": "cuda", "cuda_driver_version": "driver", "cupti_version": "cupti"}
    keys |= {"hip_runtime_version": "hip", "cnnstat_torch": "torch"}
    found = {name: document.get(key) for key, name in keys.items()}
    return {name: str(value) for name, value in found.items() if isinstance(value, (str, int))}
