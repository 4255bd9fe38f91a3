"""Recordings of torch.profiler: passes, layers by marks or by matching, and the kernels of both.

Passes are those that cnnstat marked, else the runs of the marked model, else the profiler's steps, else as many as the
network's layers with weights ran, else one. Recordings of a CPU have no kernels; outermost ops stand for them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median
from typing import Any

from cnnstat.analysis.analysis import Analysis
from cnnstat.errors import CnnstatError
from cnnstat.numbers import listed, plural
from cnnstat.profile.profile_details import OpTime
from cnnstat.profile.recorded.compiled_regions import SharedPass, share_fused
from cnnstat.profile.recorded.op_ranges import (
    BackwardTimes,
    OpRanges,
    dims_of,
    find_op_ranges,
    first_of,
    outermost_operations,
    read_dims,
    with_ops_for_kernels,
)
from cnnstat.profile.recorded.op_rows import NEAR, RecordedOp, Row, first_weighted, fits_first, op_name, rows_of
from cnnstat.profile.recorded.recorded_marks import Marks, known_rows, read_marks
from cnnstat.profile.traces.kernel_attribution import Attribution, Pass, attribute
from cnnstat.profile.traces.kernel_times import gap_causes, op_times
from cnnstat.profile.traces.kineto_trace import (
    Kernel,
    Launch,
    LayerRange,
    Operation,
    PassRange,
    Trace,
    nanoseconds,
    read_trace,
)
from cnnstat.profile.traces.timeline import memory_by_row


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchRecording:
    """What a recording has to say of a network.

    passes: their kernels, each up to where the next pass begins; gaps: nanoseconds of each pass's by cause.
    calls: how often each row is called in a pass. ops: inside layers. memory: see `memory_by_row`.
    eager: nanoseconds of each pass by the host's clock.
    shortest: nanoseconds of the shortest kernel. kept_lost: kernels that are missing in the passes.
    optimizer: what its steps call it; empty without one. Its row stands behind those of the network.
    """

    passes: tuple[Pass, ...]
    calls: Mapping[int, int]
    ops: tuple[OpTime, ...]
    memory: Mapping[int, int]
    gaps: tuple[Mapping[str, int], ...]
    eager: tuple[int, ...]
    shortest: int
    kept_lost: int
    device_name: str
    versions: Mapping[str, str]
    is_cpu: bool
    optimizer: str
    notes: tuple[str, ...]


def is_torch_recording(document: Any) -> bool:
    """Whether a document is what `export_chrome_trace` writes."""
    return isinstance(document, dict) and isinstance(document.get("traceEvents"), list)


def first_shape(document: Mapping[str, Any], analysis: Analysis) -> tuple[int, ...] | None:
    """Return the recorded input of the first layer with weights, whatever its batch and size; None if unknown."""
    row = first_weighted(analysis)
    events = (event for event in document["traceEvents"] if isinstance(event, dict) and event.get("cat") == "cpu_op")
    for event in sorted(events, key=lambda event: nanoseconds(event.get("ts", 0))):
        op = RecordedOp(str(event.get("name", "")), first_of(dims_of(event)))
        if row is not None and fits_first(op, row):
            return op.shape
    return None


def read_torch_recording(
    document: Mapping[str, Any], analysis: Analysis, floors: Sequence[float], *, has_ops: bool = False
) -> TorchRecording:
    """Return what a recording says of a network; raises CnnstatError where it says nothing.

    floors: the least seconds of each row, by which rows share the time of a kernel that torch.compile fused.
    has_ops: whether the ops inside layers are wanted too.
    """
    events = [event for event in document["traceEvents"] if isinstance(event, dict) and event.get("ph") == "X"]
    trace = read_trace(events)
    marks = read_marks(events)
    is_cpu = not trace.kernels
    if is_cpu:
        trace = with_ops_for_kernels(trace, marks)
    rows = rows_of(analysis)
    notes: list[str] = []
    trace = _with_known_rows(trace, document, rows, notes)
    passes = trace.pass_ranges or _passes(trace, marks, analysis, rows)
    trace = replace(trace, pass_ranges=tuple(step for step in passes if step.kind == "eager"))
    by_ops = None if trace.layer_ranges else _op_ranges(trace, marks, rows, events)
    if by_ops is not None:
        trace = replace(trace, layer_ranges=by_ops.ranges)
    steps = [LayerRange(row=len(rows), call=0, start=m.start, end=m.end, thread=m.thread) for m in marks.optimizers]
    ranges = sorted((*trace.layer_ranges, *steps), key=lambda each: (each.start, -each.end))
    attribution = attribute(replace(trace, layer_ranges=tuple(ranges)), needs_all=False, are_alike=False)
    if not attribution.passes:
        raise CnnstatError(_NOTHING)
    if missing := len(attribution.starts) - len(attribution.passes):
        why = f"{attribution.lost} kernels are missing" if attribution.lost else "no kernel ran in them"
        notes.append(f"{missing} of {len(attribution.starts)} passes left out: {why}")
    calls = [by_ops.calls[place] if by_ops else attribution.calls for place in attribution.places]
    places = _usual_passes(attribution, calls, len(rows), marks.optimizer, notes)
    every = _until_next_pass(attribution)
    calm = _undisturbed(every, places)
    if len(calm) < len(places):
        notes.append(f"times are of the {len(calm):,} least disturbed of {len(places):,} recorded passes")
    if attribution.unlaunched:
        notes.append(f"{attribution.unlaunched} kernels have no launch in the recording and count as unattributed")
    shared = [share_fused(every[place], _launched_backward(trace), rows, floors) for place in calm]
    ready = tuple(each.one for each in shared)
    ran = {**dict.fromkeys((row for row in ready[0].forward if row < len(rows)), 1), **calls[calm[0]]}
    if by_ops is not None:
        notes += _match_notes(ran, by_ops.ambiguous[attribution.places[calm[0]]], marks, rows, analysis)
    notes += _fusion_notes(shared[0], events, is_cpu)
    notes += _graph_notes(trace, ready[0])
    notes += _communication_notes(ready)
    launches = {each.correlation: each for each in trace.launches}
    ranged = replace(trace, layer_ranges=tuple(ranges), kernels=() if is_cpu else trace.kernels)
    timed_steps = [trace.pass_ranges[attribution.places[place]] for place in calm] if has_ops else []
    names = [*(row.name for row in rows), "optimizer"]
    first = trace.pass_ranges[attribution.places[calm[0]]]
    document_events = [event for event in document["traceEvents"] if isinstance(event, dict)]
    kernels = [piece.kernel for piece in every[calm[0]].pieces if piece.kernel.work == "kernel"]
    return TorchRecording(
        passes=ready,
        calls=ran,
        ops=op_times(ranged, timed_steps, names),
        memory=memory_by_row(document_events, ranged.layer_ranges, first, is_cpu=is_cpu),
        gaps=() if is_cpu else tuple(_gap_causes(one, launches) for one in ready),
        eager=tuple(step.end - step.start for step in trace.pass_ranges),
        shortest=min((kernel.end - kernel.start for kernel in kernels), default=0),
        kept_lost=attribution.kept_lost,
        device_name="" if is_cpu else _device_name(document, events),
        versions=_versions(document),
        is_cpu=is_cpu,
        optimizer=marks.optimizer,
        notes=tuple(notes),
    )


def _with_known_rows(trace: Trace, document: Mapping[str, Any], rows: Sequence[Row], notes: list[str]) -> Trace:
    """Return a trace with the layers of this network that cnnstat marked, without any where it marked another's."""
    # The row behind the network's is an optimizer's, which marks its steps itself.
    if all(each.row == len(rows) for each in trace.layer_ranges):
        return replace(trace, layer_ranges=())
    ranges = tuple(known_rows(trace.layer_ranges, document, rows, notes))
    # Passes of what another network was taken for need not be this one's.
    return replace(trace, layer_ranges=ranges, pass_ranges=trace.pass_ranges if ranges else ())


def _op_ranges(trace: Trace, marks: Marks, rows: Sequence[Row], events: Sequence[Mapping[str, Any]]) -> OpRanges:
    """Return the layers as the ops tell them; raises CnnstatError where they tell none."""
    by_ops = find_op_ranges(trace, trace.pass_ranges, marks, rows, read_dims(events))
    # Of a CUDA graph no op is recorded, and its kernels are worth seeing all the same.
    if not by_ops.ranges and not any(launch.kind == "graph" for launch in trace.launches):
        raise CnnstatError("no op of the recording fits a layer of this network; give the SOURCE that was recorded")
    return by_ops


def _gap_causes(one: Pass, launches: Mapping[int, Launch]) -> dict[str, int]:
    """Return the gaps of a pass by cause; until the next pass begins, the host does something else."""
    causes = gap_causes(one.pieces, launches)
    return {**causes, "host": causes["host"] + one.idle - sum(causes.values())}


_NOTHING = (
    "the recording has no pass with work in it; record with torch.profiler on activities CPU and CUDA, around whole "
    "passes and on the thread that runs them, as `with cnnstat.recording(model, FILE):` does"
)


# Passes ---------------------------------------------------------------------------------------------------------------


def _passes(trace: Trace, marks: Marks, analysis: Analysis, rows: Sequence[Row]) -> tuple[PassRange, ...]:
    """Return the passes of a recording that cnnstat did not mark."""
    everything: list[Operation | Launch] = [*trace.operations, *trace.launches]
    if not everything:
        raise CnnstatError(_NOTHING)
    end = max(each.end for each in everything)
    if marks.runs:
        return _passes_between([mark.start for mark in marks.runs], end, marks.runs[0].thread)
    if marks.steps:
        return tuple(
            PassRange(kind="eager", index=index, start=step.start, end=step.end, thread=step.thread)
            for index, step in enumerate(marks.steps)
        )
    weighted = [row for row, count in zip(rows, analysis.parameters.params) if count]
    names = {name for row in weighted for name in row.ops}
    forward = [each for each in outermost_operations(trace.operations, marks) if op_name(each.name) in names]
    thread = everything[0].thread
    count = len(forward) // len(weighted) if weighted else 0
    if count > 1 and len(forward) == count * len(weighted):
        return _passes_between([forward[number * len(weighted)].start for number in range(count)], end, thread)
    start = min(each.start for each in everything)
    return (PassRange(kind="eager", index=0, start=start, end=end, thread=thread),)


def _passes_between(starts: Sequence[int], end: int, thread: int) -> tuple[PassRange, ...]:
    """Return passes each of which ends where the next begins."""
    return tuple(
        PassRange(kind="eager", index=index, start=start, end=until - 1, thread=thread)
        for index, (start, until) in enumerate(pairwise([*starts, end + 1]))
    )


def _usual_passes(
    attribution: Attribution, calls: Sequence[Mapping[int, int]], optimizer_row: int, optimizer: str, notes: list[str]
) -> list[int]:
    """Return which passes do what most of those do that ran most layers; notes say what the others are.

    A pass may be cut short, be on inputs of another size, or have a step of the optimizer that others have not.
    """
    most = max(map(len, calls))
    whole = [place for place, each in enumerate(calls) if len(each) == most]
    if len(whole) < len(calls):
        left = len(calls) - len(whole)
        notes.append(f"{left} of {len(calls)} passes left out: cut short, or on an input of another size")
    kinds = {
        place: tuple(sorted(Counter(piece.owner for piece in attribution.passes[place].pieces if piece.owner).items()))
        for place in whole
    }
    counts = Counter(kinds.values())
    usual = max(counts, key=lambda kind: (counts[kind], len(kind), sum(count for _, count in kind)))
    alike = [place for place in whole if kinds[place] == usual]
    others = [attribution.passes[place] for place in whole if kinds[place] != usual]
    if not others:
        return alike
    text = f"{len(others)} of {len(calls)} passes left out: their layers run other kernels or ops"
    steps = [one.forward[optimizer_row] for one in others if optimizer_row in one.forward]
    if steps and not any(owner.row == optimizer_row for owner, _ in usual):
        text += f"; the optimizer, {optimizer}, steps in them alone, and takes {max(steps) / 1e6:,.3f} ms"
    notes.append(text)
    return alike


def _undisturbed(passes: Sequence[Pass], places: Sequence[int]) -> list[int]:
    """Return which passes take about as long as the quickest; that one alone where their medians do not add up."""
    quickest = min(places, key=lambda place: passes[place].span)
    near = [place for place in places if passes[place].span <= NEAR * passes[quickest].span]
    return near if _add_up([passes[place] for place in near]) else [quickest]


ADDING_UP = 0.01
"""Share of a pass by which medians of its parts may miss the median of the whole; more, and one pass tells more."""


def _add_up(passes: Sequence[Pass]) -> bool:
    """Whether medians over passes add up: what disturbs each of them in another layer is in no layer's median."""
    sides: list[dict[Any, int]] = [{**{(row, False): time for row, time in one.forward.items()},
              **{(row, True): time for row, time in one.backward.items()},
              "idle": one.idle, "unattributed": one.unattributed} for one in passes]  # fmt: skip
    parts = sum(median(side.get(key, 0) for side in sides) for key in {key for side in sides for key in side})
    whole = median(one.span for one in passes)
    return abs(whole - parts) <= ADDING_UP * whole


def _until_next_pass(attribution: Attribution) -> list[Pass]:
    """Return passes that last until the next one begins, as the passes of a loop do."""
    lasting = []
    for place, one in zip(attribution.places, attribution.passes):
        start = next((start for start in attribution.starts[place + 1 :] if start is not None), None)
        end = max(piece.kernel.end for piece in one.pieces)
        behind = 0 if start is None else max(0, start - end)
        lasting.append(replace(one, span=one.span + behind, idle=one.idle + behind))
    return lasting


# What a reader must know ----------------------------------------------------------------------------------------------


def _match_notes(
    calls: Mapping[int, int], ambiguous: frozenset[str], marks: Marks, rows: Sequence[Row], analysis: Analysis
) -> list[str]:
    """Return notes of how layers were told in a pass, and of those that were not."""
    notes = []
    if not marks.modules:
        why = "of modules inside the model" if marks.runs else "of modules"
        notes.append(f"the recording has no marks {why}: layers are told by order, names and sizes of ops")
        if ambiguous:
            notes.append(
                f"the recording has no sizes (record_shapes=True): {len(ambiguous)} layers are told by order alone"
            )
    weighted = [row for row, count in enumerate(analysis.parameters.params) if count]
    known = sum(row in calls for row in weighted)
    if lost := [row.name for number, row in enumerate(rows) if number not in calls]:
        notes.append(f"not found in the recording: {listed(lost)}")
    if 2 * known < len(weighted):
        notes.append(f"this may be another model: {known} of {len(weighted)} layers with weights were found")
    return notes


def _launched_backward(trace: Trace) -> Callable[[Kernel], bool]:
    times = BackwardTimes(trace.operations)
    launches = {each.correlation: each for each in trace.launches}

    def is_backward(kernel: Kernel) -> bool:
        launch = launches.get(kernel.correlation)
        return launch is not None and times.has(launch.thread, launch.start)

    return is_backward


_COMPILED_GRAPH = "## Call CompiledFxGraph"


def _fusion_notes(fused: SharedPass, events: Iterable[Mapping[str, Any]], is_cpu: bool) -> list[str]:
    if is_cpu and not fused.shared and any(str(each.get("name")).startswith(_COMPILED_GRAPH) for each in events):
        return [
            "what torch.compile fused for the CPU is in no record, and counts as gaps: "
            "torch._inductor.config.cpp.enable_kernel_profile = True before compiling has it recorded"
        ]
    notes = []
    if fused.shared:
        notes.append(
            f"{plural(fused.shared, 'kernel')} that torch.compile fused share their time among "
            f"{plural(fused.layers, 'layer')} in proportion to the layers' floors"
        )
    if fused.unknown:
        notes.append(
            f"{plural(fused.unknown, 'kernel')} that torch.compile fused are of no layer that can be told, and "
            "unattributed"
        )
    return notes


def _graph_notes(trace: Trace, one: Pass) -> list[str]:
    """Return a note of kernels that CUDA graphs ran, of which nothing tells the layer."""
    graphs = {launch.correlation for launch in trace.launches if launch.kind == "graph"}
    count = sum(piece.owner is None and piece.kernel.correlation in graphs for piece in one.pieces)
    if not count:
        return []
    return [
        f"{plural(count, 'kernel')} of CUDA graphs are of no layer, since nothing in a recording tells what launched "
        'them: record without graphs, or torch.compile without mode="reduce-overhead"'
    ]


def _communication_notes(passes: Sequence[Pass]) -> list[str]:
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
    versions = {name: document.get(key) for key, name in keys.items()}
    return {name: str(value) for name, value in versions.items() if isinstance(value, (str, int))}
