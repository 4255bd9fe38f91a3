"""Measure: everything that is measured of one model on a GPU, in the order in which nothing disturbs the next.

First what runs without a profiler: CUPTI slows the launches of a process down even after its session has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

import torch

from cnnstat.errors import CnnstatError
from cnnstat.profile.chrome_trace import slices_of, write_trace
from cnnstat.profile.cuda.gpu import (
    CaptureError,
    Gpu,
    Graph,
    Run,
    capture_passes,
    on_the_clock,
    on_the_gpu,
    until_enqueued,
)
from cnnstat.profile.cuda.nvml import joules_per_run
from cnnstat.profile.cuda.row_events import check_rows, row_event_times
from cnnstat.profile.cuda.torch_gpu import TorchGpu, explained, first_line
from cnnstat.profile.device import kernel_settings
from cnnstat.profile.interleaved import interleaved_samples, rounds
from cnnstat.profile.isolation import GraphIsolation, isolate
from cnnstat.profile.measurement import IsolatedTimes, Measurement, row_names
from cnnstat.profile.profile_options import Options, Progress
from cnnstat.profile.profile_result import Whole, summarize
from cnnstat.profile.profiler_session import (
    ProfiledPasses,
    make_probe,
    profile_passes,
    untraced,
    with_ops,
)
from cnnstat.profile.runnable_model import RunnableModel, pop_optimizer
from cnnstat.profile.time_limit import GivenUpError, NotSendableError, in_a_process, on_a_thread
from cnnstat.profile.traces.kernel_times import kernel_times, row_times
from cnnstat.profile.traces.kineto_trace import read_layer_range
from cnnstat.profile.traces.timeline import timeline

Elsewhere = Callable[[int, bool], ProfiledPasses]
"""Profiles so many passes, of a CUDA graph or not."""

_WARM_UP = 10
"""Passes before anything is measured: libraries load, choose their algorithms and grow their workspaces."""

_AFTER_INTERRUPT = 3
"""Profiled passes once the user has asked to stop: enough for a table of what there is."""

SESSION_SECONDS = 240.0
"""After so long a profiler has hung: sessions take seconds, and building a large model again some more."""

_ANOTHER_TRACER = "a PyTorch built for another CUDA version has another CUPTI"

_SHOWN = 2
"""Passes whose layers get a track in the Chrome trace."""


def measure_cuda(
    model: RunnableModel, options: Options, progress: Progress, elsewhere: Elsewhere | None = None
) -> Measurement:
    """Return the times of a model that lies on a GPU; changes of PyTorch's switches are undone.

    elsewhere: builds the same model anew and profiles it; it is called in a process of its own, where a tracer cannot
        harm what was measured before. Without it, or for a model that only this process has, the profiler runs here.
    Raises CnnstatError where memory runs out or the GPU fails. What the profiler does not tell costs the layers' times.
    Once a round is complete, an interrupt ends the measurement early; before that it is raised.
    """
    with explained(), kernel_settings(options.tf32):
        gpu = TorchGpu(model.device)
        with gpu.active():
            measuring = _Measuring(gpu, model, options, progress, elsewhere)
            measurement = measuring.measurement()
            # Waiting for a GPU that hangs would take for ever.
            gpu.is_stuck = measuring.is_stuck
    return replace(measurement, notes=(*measurement.notes, *_setting_notes(model, options)))


def _setting_notes(model: RunnableModel, options: Options) -> Iterator[str]:
    """Yield in what this measurement differs from an ordinary run of the model."""
    if model.analysis.graph.dtype == "float32" and not options.tf32 and torch.version.hip is None:
        yield (
            "TF32 is off here, in convolutions too, for which PyTorch has it on by default: "
            "--tf32 measures the model as it runs there"
        )
    if torch.version.hip is not None:
        yield "this GPU is AMD's: cnnstat reads ROCm's traces as it does CUDA's, and has never measured on one"


def profile_on_gpu(model: RunnableModel, options: Options, passes: int, captured: bool) -> ProfiledPasses:
    """Return the profiled passes of a model, with which this process does nothing else; captured: as a CUDA graph."""
    with explained(), kernel_settings(options.tf32):
        gpu = TorchGpu(model.device)
        with gpu.active():
            gpu.prepare_tracing()
            run = one_pass(model)
            for _ in range(_WARM_UP):
                run()
            graph = capture_passes(gpu, run) if captured else None
            profiled = profile_passes(gpu, model, run, graph, passes, make_probe(gpu) if graph else None)
            profiled = with_ops(profiled, row_names(model.analysis.graph)) if options.ops else profiled
    # A trace of hundreds of megabytes is worth its way only where it is asked for.
    return profiled if options.trace else replace(profiled, events=[])


def measure_on(gpu: Gpu, model: RunnableModel, options: Options, progress: Progress) -> Measurement:
    """Return the times of a model on a GPU that is ready, see `measure_cuda`."""
    return _Measuring(gpu, model, options, progress).measurement()


def one_pass(model: RunnableModel) -> Run:
    """Return one pass of a model: forward, and backward where it is asked for, on gradients that are new."""
    return model.one_pass if model.backward else model.run


@dataclass
class _Measuring:
    """One measurement, and what it has found so far."""

    gpu: Gpu
    model: RunnableModel
    options: Options
    progress: Progress
    elsewhere: Elsewhere | None = None
    complete: bool = True
    is_stuck: bool = False
    notes: list[str] = field(default_factory=list)

    def measurement(self) -> Measurement:
        """Measure everything."""
        gpu, run = self.gpu, one_pass(self.model)
        self.progress.stage("warming up", _WARM_UP)
        for _ in range(_WARM_UP):
            run()
            gpu.synchronize()
            self.progress.step()
        if self.model.backward:
            # Those of the last pass would be given back during this one, and hide what it needs.
            self.model.clear_gradients()
        peak = gpu.peak_bytes(run)
        before = gpu.clocks()
        graph = self._capture(run)
        probe = make_probe(gpu) if graph else None
        whole = self._whole(run, graph)
        after = gpu.clocks()
        events = self._row_events(run, graph)
        isolated = self._isolated()
        joules = self._joules(graph or Graph(run, 1), whole)
        passes = self.options.samples if self.complete else min(_AFTER_INTERRUPT, self.options.samples)
        self.progress.stage("profiling", 1)
        profiled = self._profiled(lambda: profile_passes(gpu, self.model, run, graph, passes, probe), graph, passes)
        self.progress.step()
        self._write_trace(profiled)
        kernels = round(median(len(one.pieces) for one in profiled.passes)) if profiled.passes else 0
        rows = row_times(
            profiled.passes,
            profiled.attribution.calls if profiled.passes else self.model.instrumentation.counts,
            backward=self.model.backward,
            isolated=isolated,
            has_kernels=bool(profiled.passes),
        )
        names = row_names(self.model.analysis.graph)
        profiled = with_ops(profiled, names) if self.options.ops else profiled
        return Measurement(
            rows=rows,
            beside=pop_optimizer(self.model, rows),
            whole=whole,
            idle=_median_seconds([one.idle for one in profiled.passes]),
            unattributed=_median_seconds([one.unattributed for one in profiled.passes]),
            tracing=-kernels * (profiled.tracing or 0.0),
            kernel_count=kernels,
            kernels=kernel_times(profiled.passes, names),
            ops=profiled.ops,
            memory={row: size for row, size in profiled.memory.items() if 0 <= row < len(names) - 1},
            timeline=timeline(profiled.passes[0], names) if profiled.passes else (),
            row_check=check_rows(events, profiled.passes, profiled.tracing or 0.0, dict(enumerate(names[:-1]))),
            peak_bytes=peak,
            joules=joules,
            lost_kernels=profiled.attribution.kept_lost,
            complete=self.complete,
            is_stuck=self.is_stuck,
            notes=(*self.notes, *profiled.notes),
            clocks={**_clocks(before, after), **profiled_clocks(gpu, self.is_stuck)},
        )

    def _profiled(self, here: Callable[[], ProfiledPasses], graph: Graph | None, passes: int) -> ProfiledPasses:
        """Return what the tracer tells, from another process or from here; nothing where it hangs, fails or crashes."""
        try:
            if self.elsewhere is not None:
                # A model that cannot be sent is profiled here.
                with suppress(NotSendableError):
                    arguments = passes, graph is not None
                    profiled: ProfiledPasses = in_a_process(self.elsewhere, arguments, SESSION_SECONDS)
                    return profiled
            return on_a_thread(here, SESSION_SECONDS)
        except KeyboardInterrupt:
            self.complete = False
            self.is_stuck = True
            return untraced("stopped before they were profiled")
        except GivenUpError as error:
            self.is_stuck = self.elsewhere is None
            return untraced(f"torch.profiler was given up ({error}); {_ANOTHER_TRACER}")
        except CnnstatError as error:
            return untraced(str(error))
        except RuntimeError as error:
            return untraced(f"torch.profiler failed ({first_line(error)}); {_ANOTHER_TRACER}")

    def _capture(self, run: Run) -> Graph | None:
        """Return the model's CUDA graph; None where it cannot be captured."""
        try:
            return capture_passes(self.gpu, run)
        except CaptureError as error:
            self.notes.append(
                f"no CUDA graph ({error}): the whole is ordinary passes, with the CPU's delays inside the gaps"
            )
            return None

    def _whole(self, run: Run, graph: Graph | None) -> Whole:
        """Return the times of the whole model, all ways in turns."""
        passes = graph.passes if graph else 1
        plain = on_the_gpu(self.gpu, graph.replay if graph else run)
        variants: dict[str, Callable[[], float]] = {
            "plain": lambda: plain() / passes,
            "eager": on_the_clock(self.gpu, run),
            "enqueue": until_enqueued(self.gpu, run),
        }
        samples = self.options.samples
        times, complete = interleaved_samples(variants, rounds(samples), self.progress, "whole model", samples)
        self.complete = self.complete and complete
        return Whole(
            plain=summarize(times["plain"]),
            eager=summarize(times["eager"]),
            enqueue=summarize(times["enqueue"]),
            replayed=graph is not None,
        )

    def _row_events(self, run: Run, graph: Graph | None) -> Mapping[int, float]:
        """Return the rows' times by events in a graph of its own, where there can be one."""
        if graph is None or not self.complete:
            return {}
        try:
            return row_event_times(self.gpu, self.model, run)
        except KeyboardInterrupt:
            self.complete = False
        except (CaptureError, RuntimeError) as error:
            self.notes.append(f"layers were not checked by events inside the graph ({first_line(error)})")
        return {}

    def _isolated(self) -> IsolatedTimes:
        if not self.options.isolate or not self.complete:
            return IsolatedTimes()
        try:
            isolated = isolate(GraphIsolation(self.gpu), self.model.capture(), self.options.samples, self.progress)
        except KeyboardInterrupt:
            self.complete = False
            return IsolatedTimes()
        except CaptureError as error:
            self.notes.append(f"layers were not measured alone: no CUDA graph ({error})")
            return IsolatedTimes()
        self.complete = isolated.complete
        self.notes += isolated.notes
        return isolated

    def _joules(self, graph: Graph, whole: Whole) -> float | None:
        if not self.options.energy or not self.complete:
            return None
        self.progress.stage("energy", 1)
        try:
            joules = joules_per_run(self.gpu, graph.replay, whole.plain.median * graph.passes)
        except KeyboardInterrupt:
            self.complete = False
            return None
        self.progress.step()
        if joules is None:
            self.notes.append("NVML does not tell this GPU's energy")
            return None
        return joules / graph.passes

    def _write_trace(self, profiled: ProfiledPasses) -> None:
        """Write the Chrome trace, where one is asked for; what goes wrong there does not cost the measurement."""
        if self.options.trace is None:
            return
        names = row_names(self.model.analysis.graph)
        try:
            write_trace(
                self.options.trace,
                slices_of(profiled.passes[:_SHOWN], names),
                _with_layer_names(profiled.events, names),
            )
        except CnnstatError as error:
            self.notes.append(str(error))


def _median_seconds(nanoseconds: list[int]) -> float:
    return median(nanoseconds) / 1e9 if nanoseconds else 0.0


def profiled_clocks(gpu: Gpu, is_stuck: bool) -> dict[str, float]:
    """Return the GPU's clocks right after the recorded passes, by names that say so."""
    if is_stuck:
        return {}
    return {f"{name}_profiled": value for name, value in gpu.clocks().items() if name != "power_limit_W"}


def _with_layer_names(events: list[dict[str, Any]], names: list[str]) -> list[dict[str, Any]]:
    layer_ranges = [(event, read_layer_range(str(event.get("name", "")))) for event in events]
    return [event if row is None or row < 0 else {**event, "name": names[row]} for event, row in layer_ranges]


def _clocks(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Return clocks before and after the rounds, and the power limit."""
    limit = {name: value for name, value in before.items() if name == "power_limit_W"}
    clocks = {
        f"{name}_{moment}": value
        for moment, values in (("before", before), ("after", after))
        for name, value in values.items()
        if name not in limit
    }
    return {**clocks, **limit}
