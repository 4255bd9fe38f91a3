"""Measure: everything that is measured of one model on a GPU, in the order in which nothing disturbs the next.

First what runs without a profiler: CUPTI slows the launches of a process down even after its session has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

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
from cnnstat.profile.cuda.kineto_trace import read_layer_range
from cnnstat.profile.cuda.profiler_session import ProfiledPasses, kernels_of, profile_passes
from cnnstat.profile.cuda.torch_gpu import TorchGpu, explained, joules_per_run
from cnnstat.profile.device import kernel_settings
from cnnstat.profile.interleaved import interleaved_samples, rounds
from cnnstat.profile.isolation import GraphIsolation, isolate
from cnnstat.profile.measurement import IsolatedTimes, Measurement, RowTimes
from cnnstat.profile.options import Options, Progress
from cnnstat.profile.result import Whole, summarize
from cnnstat.profile.runnable_model import RunnableModel

_WARM_UP = 10
"""Passes before anything is measured: libraries load, choose their algorithms and grow their workspaces."""

_AFTER_INTERRUPT = 3
"""Profiled passes once the user has asked to stop: enough for a table of what there is."""

_SHOWN = 2
"""Passes whose layers get a track in the Chrome trace."""


def measure_cuda(model: RunnableModel, options: Options, progress: Progress) -> Measurement:
    """Return the times of a model that lies on a GPU; changes of PyTorch's switches are undone.

    Raises CnnstatError where memory runs out, the GPU fails, or the profiler loses kernels of every pass.
    Once a round is complete, an interrupt ends the measurement early; before that it is raised.
    """
    with explained(), kernel_settings(options.tf32):
        gpu = TorchGpu(model.device)
        with gpu.active():
            return measure_on(gpu, model, options, progress)


def measure_on(gpu: Gpu, model: RunnableModel, options: Options, progress: Progress) -> Measurement:
    """Return the times of a model on a GPU that is ready, see `measure_cuda`."""
    return _Measuring(gpu, model, options, progress).measurement()


def one_pass(model: RunnableModel) -> Run:
    """Return one pass of a model: forward, and backward where it is asked for, on gradients that are new."""
    if not model.backward:
        return model.run

    def train() -> None:
        # Gradients that are there already would be added to, by kernels that a first pass does not have.
        model.clear_gradients()
        model.train_step()

    return train


@dataclass
class _Measuring:
    """One measurement, and what it has found so far."""

    gpu: Gpu
    model: RunnableModel
    options: Options
    progress: Progress
    complete: bool = True
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
        graph = self._captured(run)
        whole = self._whole(run, graph)
        after = gpu.clocks()
        isolated = self._isolated()
        joules = self._joules(graph or Graph(run, 1), whole)
        passes = self.options.samples if self.complete else min(_AFTER_INTERRUPT, self.options.samples)
        self.progress.stage("profiling", 1)
        profiled = profile_passes(gpu, self.model, run, graph, passes)
        self.progress.step()
        self._write(profiled)
        return Measurement(
            rows=self._rows(profiled, isolated),
            whole=whole,
            idle=median(one.idle for one in profiled.passes) / 1e9,
            unattributed=median(one.unattributed for one in profiled.passes) / 1e9,
            peak_bytes=peak,
            joules=joules,
            # Passes that lost a kernel are left out, so that none is missing in what is reported.
            lost_kernels=0,
            complete=self.complete,
            notes=(*self.notes, *profiled.notes),
            clocks=_clocks(before, after),
        )

    def _captured(self, run: Run) -> Graph | None:
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

    def _isolated(self) -> IsolatedTimes:
        """Return the times of every layer alone, where they are asked for."""
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
        """Return the energy of a pass, where it is asked for."""
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

    def _rows(self, profiled: ProfiledPasses, isolated: IsolatedTimes) -> dict[int, RowTimes]:
        """Return the times of every row that ran."""
        kernels = kernels_of(profiled.passes[0])
        ran = {row for one in profiled.passes for row in (*one.forward, *one.backward)}
        rows = {}
        for row in sorted(ran | set(profiled.attribution.calls)):
            count, names = kernels.get(row, (0, ()))
            backward = tuple(one.backward.get(row, 0) / 1e9 for one in profiled.passes)
            rows[row] = RowTimes(
                forward=tuple(one.forward.get(row, 0) / 1e9 for one in profiled.passes),
                backward=backward if self.model.backward else None,
                warm=isolated.warm.get(row),
                cold=isolated.cold.get(row),
                calls=profiled.attribution.calls.get(row, 0),
                kernels=count,
                kernel_names=names,
            )
        return rows

    def _write(self, profiled: ProfiledPasses) -> None:
        """Write the Chrome trace, where one is asked for; what goes wrong there does not cost the measurement."""
        if self.options.trace is None:
            return
        names = [node.name for node in self.model.analysis.graph.nodes]
        try:
            write_trace(
                self.options.trace, slices_of(profiled.passes[:_SHOWN], names), _renamed(profiled.events, names)
            )
        except CnnstatError as error:
            self.notes.append(str(error))


def _renamed(events: list[dict[str, Any]], names: list[str]) -> list[dict[str, Any]]:
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
