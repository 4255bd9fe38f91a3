"""Session: passes under torch.profiler, with a range around every layer, and what their trace tells of the rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from torch.profiler import profile, record_function

from cnnstat.errors import CnnstatError
from cnnstat.profile.cuda.gpu import CaptureError, Gpu, Graph, Run, on_the_gpu
from cnnstat.profile.instrumentation import Observer
from cnnstat.profile.measurement import row_names
from cnnstat.profile.profile_details import OpTime
from cnnstat.profile.runnable_model import RunnableModel
from cnnstat.profile.traces.kernel_attribution import Attribution, Pass, attribute, attribute_replays
from cnnstat.profile.traces.kernel_times import op_times
from cnnstat.profile.traces.kineto_trace import LAYER_RANGE, PASS_RANGE, Trace, read_trace
from cnnstat.profile.traces.recording_file import recorded_events
from cnnstat.profile.traces.timeline import memory_by_row

_CPU_PASSES = 5

_ORDINARY = 3
"""Ordinary passes of a session whose replays are what counts: one would do, if the profiler lost nothing."""

_SPARE = 3
"""Passes, and replays, more than asked for, for those that lose a kernel."""

_SESSIONS = 3
"""Sessions tried until one has at least one pass of each kind that lost nothing."""


class RangeObserver(Observer):
    """Puts a range of the trace around every computation of a row, made by its name."""

    def __init__(self, make_range: Callable[[str], AbstractContextManager[object]]) -> None:
        self._make_range = make_range
        self._open: list[AbstractContextManager[object]] = []

    def enter(self, row: int, call: int) -> None:
        context = self._make_range(LAYER_RANGE.format(row=row, call=call))
        context.__enter__()
        self._open.append(context)

    def leave(self, row: int, call: int) -> None:
        self._open.pop().__exit__(None, None, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfiledPasses:
    """What a session of the profiler found.

    events: the trace as it came; attribution: of the replays, or of ordinary passes where there is no graph, or where
        the tracer does not record what a graph runs.
    tracing: seconds that the tracer adds to a kernel of a graph; None where that was not measured.
    ops, memory: of the ordinary passes, where they are asked for; see `memory_by_row`.
    """

    events: list[dict[str, Any]]
    attribution: Attribution
    notes: tuple[str, ...]
    tracing: float | None = None
    ops: tuple[OpTime, ...] = ()
    memory: Mapping[int, int] = field(default_factory=dict)

    @property
    def passes(self) -> tuple[Pass, ...]:
        """The passes in which no kernel was lost; at least one, unless the tracer told nothing at all."""
        return self.attribution.passes


def untraced(reason: str) -> ProfiledPasses:
    """Return what there is to say of passes of which the tracer told nothing."""
    note = f"layers have no times: {reason}"
    nothing = Attribution(passes=(), recorded=0, rejected=0, lost=0, calls={})
    return ProfiledPasses(events=[], attribution=nothing, notes=(note,))


class Observable(Protocol):
    """What a session needs of a model."""

    def observing(self, observer: Observer) -> AbstractContextManager[None]:
        """While active, every run informs the observer of the rows."""


def profile_passes(
    gpu: Gpu, model: Observable, run: Run, graph: Graph | None, passes: int, probe: Probe | None = None
) -> ProfiledPasses:
    """Return the kernels of so many passes by row, fewer where kernels were lost.

    run: an ordinary pass; graph: its CUDA graph, if there is one; probe: what shows the cost of tracing.
    Where no replay is recorded, the passes are ordinary ones; where none is whole, those that lost fewest kernels.
    Raises CnnstatError where the profiler reports no kernel of any pass.
    """
    latest: list[dict[str, Any]] = []
    ordinary: Attribution | None = None
    if graph is not None:
        for _ in range(_SESSIONS):
            _settle(gpu, graph.replay)
            latest = gpu.record(lambda: script(gpu, model, run, graph, passes, probe))
            trace = read_trace(latest)
            ordinary = attribute(trace)
            replays = _replays(trace, ordinary, graph, passes)
            if replays is not None:
                tracing = None if probe is None else probe.cost(trace)
                return ProfiledPasses(events=latest, attribution=replays, notes=tuple(_notes(replays)), tracing=tracing)
            if ordinary.passes:
                # The tracer works, and would not record replays another time either.
                break
    for _ in range(_SESSIONS):
        latest = gpu.record(lambda: script(gpu, model, run, None, passes))
        attribution = attribute(read_trace(latest))
        if attribution.passes:
            return _ordinary_passes(latest, attribution, graph, passes)
    attribution = attribute(read_trace(latest), needs_all=False)
    if attribution.passes:
        return _ordinary_passes(latest, attribution, graph, passes)
    raise CnnstatError(
        "torch.profiler reported no pass with all of its kernels; run again, let no other profiler (nsys, ncu, DCGM) "
        "use the GPU meanwhile, or use a PyTorch built for another CUDA version (CUPTI of 12.6 to 13.0 loses kernels)"
    )


def with_ops(profiled: ProfiledPasses, names: Sequence[str]) -> ProfiledPasses:
    """Return profiled passes with the ops of each layer in the ordinary ones; names: of all rows."""
    if profiled.ops or not profiled.events:
        return profiled
    trace = read_trace(profiled.events)
    steps = [step for step in trace.pass_ranges if step.kind == "eager"]
    memory = memory_by_row(profiled.events, trace.layer_ranges, steps[0], is_cpu=False) if steps else {}
    return replace(profiled, ops=op_times(trace, steps, names), memory=memory)


def record_ops(model: RunnableModel) -> tuple[tuple[OpTime, ...], dict[int, int]]:
    """Return the ops of each layer on a CPU and the rows' memory, in some further passes.

    Each op has the time that it takes itself, the profiler's included.
    """
    with profile(profile_memory=True) as profiler, model.observing(RangeObserver(record_function)):
        for index in range(_CPU_PASSES):
            with record_function(PASS_RANGE.format(kind="eager", index=index)):
                model.one_pass()
    events = recorded_events(profiler)
    trace = read_trace(event for event in events if event.get("ph") == "X")
    # Gradients of the pass before are given back in the first moments of each but the first.
    memory = memory_by_row(events, trace.layer_ranges, trace.pass_ranges[0], is_cpu=True)
    return op_times(replace(trace, kernels=()), trace.pass_ranges, row_names(model.analysis.graph)), memory


def _replays(trace: Trace, ordinary: Attribution, graph: Graph, passes: int) -> Attribution | None:
    """Return the replays of a trace; None where it has none that is whole, or no ordinary pass to tell rows by."""
    if not ordinary.passes:
        return None
    replays = attribute_replays(trace, ordinary.passes[0], ordinary.calls, graph.passes)
    unlaunched = max(replays.unlaunched, ordinary.unlaunched)
    return replace(replays, passes=replays.passes[:passes], unlaunched=unlaunched) if replays.passes else None


def _ordinary_passes(
    events: list[dict[str, Any]], attribution: Attribution, graph: Graph | None, passes: int
) -> ProfiledPasses:
    """Return ordinary passes as the ones that count, with a note where replays should."""
    wanted = replace(attribution, passes=attribution.passes[:passes])
    notes = _notes(wanted)
    if graph is not None:
        notes.append(
            "the tracer recorded no whole replay of the CUDA graph: layers are those of ordinary passes, whose gaps "
            "hold the CPU's delays, so that the parts need not add up to the replay"
        )
    return ProfiledPasses(events=events, attribution=wanted, notes=tuple(notes))


_SETTLING = 0.5
"""Seconds of replays before those that are recorded, so that clocks are those of steady work in both."""

_MOST_SETTLING = 10_000


def _settle(gpu: Gpu, replay: Run) -> None:
    """Replay until the GPU's clocks have settled."""
    start = gpu.now()
    for _ in range(_MOST_SETTLING):
        replay()
        gpu.synchronize()
        if gpu.now() - start >= _SETTLING * 1e9:
            return


@dataclass(frozen=True, slots=True)
class Probe:
    """A graph of tiny kernels, and the seconds from one to the next where nothing traces them."""

    replay: Run
    seconds: float

    def cost(self, trace: Trace) -> float | None:
        """Return by how many seconds tracing makes a kernel of a graph longer; None where the trace does not say."""
        spans = []
        for step in trace.pass_ranges:
            launches = [
                launch.correlation
                for launch in trace.launches
                if step.kind == "probe" and launch.kind == "graph" and step.start <= launch.start <= step.end
            ]
            kernels = [kernel for kernel in trace.kernels if kernel.correlation in launches]
            if len(kernels) >= PROBE_KERNELS:
                spans.append(max(kernel.end for kernel in kernels) - min(kernel.start for kernel in kernels))
        return max(0.0, min(spans) / 1e9 / PROBE_KERNELS - self.seconds) if spans else None


PROBE_KERNELS = 500
"""Kernels of the probe's graph: launching it then costs each next to nothing."""

_PROBES = 3


def make_probe(gpu: Gpu) -> Probe | None:
    """Return a probe that was measured without a tracer; None where it cannot be captured."""
    tiny = gpu.sweep(4)

    def kernels() -> None:
        for _ in range(PROBE_KERNELS):
            tiny()

    try:
        replay = gpu.capture(kernels)
    except CaptureError:
        return None
    replay()
    return Probe(replay, on_the_gpu(gpu, replay)() / PROBE_KERNELS)


def script(gpu: Gpu, model: Observable, run: Run, graph: Graph | None, passes: int, probe: Probe | None = None) -> None:
    """Run the passes of a session."""
    with model.observing(RangeObserver(gpu.range)):
        for index in range(_ORDINARY if graph else passes + _SPARE):
            with gpu.range(PASS_RANGE.format(kind="eager", index=index)):
                run()
                gpu.synchronize()
    if graph is None:
        return
    # Outside every range: the first replay uploads the graph, which belongs to no pass.
    graph.replay()
    # Of several passes in one graph the last is not used (see attribute_replays), hence − 1.
    for index in range(math.ceil(passes / max(1, graph.passes - 1)) + _SPARE):
        with gpu.range(PASS_RANGE.format(kind="replay", index=index)):
            graph.replay()
    for index in range(_PROBES if probe else 0):
        gpu.synchronize()
        with gpu.range(PASS_RANGE.format(kind="probe", index=index)):
            probe.replay()  # type: ignore[union-attr]  # the range is empty without one


def _notes(attribution: Attribution) -> list[str]:
    notes = []
    if attribution.rejected:
        notes.append(
            f"{attribution.rejected} of {attribution.recorded} profiled passes left out: "
            f"the profiler lost {attribution.lost} kernels"
        )
    if attribution.kept_lost:
        notes.append(f"no profiled pass is whole: {attribution.kept_lost} kernels are missing in those shown")
    if attribution.unlaunched:
        notes.append(
            f"the tracer has no launch of {attribution.unlaunched} kernels, which count as unattributed "
            "(of the driver's calls it records only some)"
        )
    match = attribution.match
    if match is not None and match.placed:
        notes.append(f"{match.placed} kernels differ between graph and ordinary pass; told by their neighbours' layer")
    if match is not None and match.unmatched:
        notes.append(f"{match.unmatched} kernels of the graph are in no ordinary pass and count as unattributed")
    return notes
