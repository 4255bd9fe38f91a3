"""Measuring on the CPU, and on devices that are waited for: plain and instrumented runs in turns."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch

from cnnstat.errors import CnnstatError
from cnnstat.ir.graph import collector_paused
from cnnstat.profile.calibration import calibrate
from cnnstat.profile.device import Clock, device_clock, fused_attention, has_fused_attention
from cnnstat.profile.instrumentation import NetworkInstrumentation, Observer
from cnnstat.profile.interleaved import (
    has_outliers,
    inlier_places,
    interleave,
    median_without_outliers,
    until_steady,
    warm_up,
)
from cnnstat.profile.measurement import IsolatedTimes, Measurement, RowTimes, row_names
from cnnstat.profile.profile_options import Options, Progress
from cnnstat.profile.profile_result import UNATTRIBUTED, Whole, summarize
from cnnstat.profile.runnable_model import SEED, RunnableModel, pop_optimizer
from cnnstat.profile.stopwatch import BackwardStopwatch, Breakdown, Costs, Lap, Stopwatch, break_down, timeline_of


def measure_cpu(model: RunnableModel, options: Options, progress: Progress, clock: Clock | None = None) -> Measurement:
    """Return the times of a model; `clock` returns nanoseconds, by default once the device has done its work.

    Plain and instrumented runs take turns, so that what slows the machine down slows both. What the marks cost is
    measured before and taken off. After Ctrl-C the complete rounds are returned.
    """
    clock = clock or device_clock(model.device)
    runs = _Runs(model, clock, calibrate(model, clock))
    ways: list[Callable[[], None]] = [runs.plain, runs.marked]
    if not isinstance(model.instrumentation, NetworkInstrumentation):
        # What following the steps of a network costs is known well enough from a chain of steps.
        ways.insert(1, runs.followed)
    if has_fused_attention(model.module, model.backward):
        ways.append(runs.ordinary)
    # Earlier garbage goes now: what is collected in the middle of a run would count as that layer's time.
    gc.collect()
    with collector_paused():
        with fused_attention(False):
            warm_up([runs.time_plain, lambda: _untimed(runs.marked)], progress)
            runs.forget()
            is_enough = until_steady(options.samples, runs.plain_times)
            done, complete = interleave(ways, is_enough, progress, "measuring", options.samples)
        isolated = _isolated(model, options, progress, clock) if complete else IsolatedTimes()
    measurement = runs.measurement(done, complete and isolated.complete, isolated, options)
    return replace(measurement, notes=(*measurement.notes, *_write_trace(runs.watch, model, options.trace)))


def _write_trace(watch: Stopwatch | None, model: RunnableModel, path: Path | None) -> tuple[str, ...]:
    """Write the trace, where one is asked for; returns what goes wrong, for that must not cost the measurement."""
    if path is not None and watch is not None:
        from cnnstat.profile.chrome_trace import write_timeline

        try:
            write_timeline(watch, model.analysis, path)
        except CnnstatError as error:
            return (str(error),)
    return ()


def _untimed(run: Callable[[], None]) -> float:
    run()
    return 0.0


def _isolated(model: RunnableModel, options: Options, progress: Progress, clock: Clock) -> IsolatedTimes:
    if not options.isolate:
        return IsolatedTimes()
    from cnnstat.profile.isolation import MAX_BYTES, ClockIsolation, isolate, read_bytes

    try:
        calls = model.capture()
        size = sum(map(read_bytes, calls))
        if size > MAX_BYTES:
            return IsolatedTimes(notes=(f"layers were not measured alone: their inputs take {size / 2**30:,.1f} GiB",))
        return isolate(ClockIsolation(clock), calls, options.samples, progress)
    except KeyboardInterrupt:
        return IsolatedTimes(notes=("layers were not measured alone: stopped before",), complete=False)


FOLLOWING_AT_MOST = 6
"""Following a call costs so many times what it costs in a chain of small calls at most: caches are colder, and
functions that are written in Python take longer to follow than PyTorch's own."""


class _Marked(NamedTuple):
    """A run with marks, and how many nanoseconds it took."""

    watch: Stopwatch
    span: int


WAITING = 0.9
"""Share of the time of its runs that a process computes; less, and it waited for a processor that others used."""


@dataclass(slots=True, eq=False)
class _Runs:
    """The ways of running, and what was measured."""

    model: RunnableModel
    clock: Clock
    costs: Costs
    plain_times: list[float] = field(default_factory=list)
    followed_times: list[float] = field(default_factory=list)
    ordinary_times: list[float] = field(default_factory=list)
    passes: list[_Marked] = field(default_factory=list)
    watch: Stopwatch | None = None
    diverged: int = 0
    computed: int = 0
    lasted: int = 0

    def forget(self) -> None:
        """Begin anew."""
        for times in (self.plain_times, self.followed_times, self.ordinary_times, self.passes):
            times.clear()
        self.diverged = self.computed = self.lasted = 0

    def _pass(self, observer: Observer | None = None) -> int:
        """Return the nanoseconds of one pass; an observer is informed of the forward pass."""
        model, clock = self.model, self.clock
        if model.module.training:
            # Dropped layers and the like are to be the same in every pass.
            torch.manual_seed(SEED)
        if model.backward:
            model.clear_gradients()
        # Switching gradients on, and the backward pass, call PyTorch too, which marks would make slower.
        following = nullcontext() if observer is None else model.observing(observer)
        with torch.set_grad_enabled(model.backward), following:
            begin = clock()
            result = model.forward()
            forward = clock() - begin
        if not model.backward:
            return forward
        if isinstance(observer, BackwardStopwatch):
            observer.find(UNATTRIBUTED, result)
        begin = clock()
        model.run_backward(result)
        if model.optimizer is None:
            return forward + clock() - begin
        middle = clock()
        model.step()
        end = clock()
        if isinstance(observer, Stopwatch):
            observer.laps.append(Lap(len(model.analysis.graph.nodes), middle, end))
        return forward + end - begin

    def time_plain(self) -> float:
        """Return the seconds of a run without marks."""
        return self._pass() / 1e9

    def plain(self) -> None:
        """Measure a run without marks, and how much of it this process computed."""
        computed, begin = time.process_time_ns(), time.perf_counter_ns()
        self.plain_times.append(self.time_plain())
        self.computed += time.process_time_ns() - computed
        self.lasted += time.perf_counter_ns() - begin

    def ordinary(self) -> None:
        """Measure a run in which PyTorch may fuse layers."""
        with fused_attention(True):
            self.ordinary_times.append(self.time_plain())

    def followed(self) -> None:
        """Measure a run whose calls are followed, but not timed."""
        self.followed_times.append(self._pass(Observer()) / 1e9)

    def marked(self) -> None:
        """Measure a run with marks."""
        before = self.model.instrumentation.diverged
        self.watch = watch = BackwardStopwatch(self.clock) if self.model.backward else Stopwatch(self.clock)
        span = self._pass(watch)
        watch.release()
        if self.model.instrumentation.diverged != before:
            self.diverged += 1
        else:
            self.passes.append(_Marked(watch, span))

    def _following_cost(self) -> float:
        """Return the nanoseconds that following the calls of a pass takes.

        It is what followed runs take longer than plain ones, within what chains of small calls cost: the difference of
        two long times alone would be mostly noise.
        """
        costs = self.costs
        followed = median(len(each.watch.laps) for each in self.passes)
        calls = followed * costs.following + self.model.instrumentation.passed_over * costs.passed_over
        least = calls + costs.run
        if not self.followed_times:
            return least
        longer = (median_without_outliers(self.followed_times) - median_without_outliers(self.plain_times)) * 1e9
        return max(least, min(longer, FOLLOWING_AT_MOST * least))

    def _drop_disturbed(self, done: int) -> bool:
        """Drop the round that was not completed and, where the machine was busy, the runs of each way it disturbed.

        Returns whether it was busy.
        """
        del self.passes[done:]
        for times in (self.plain_times, self.followed_times, self.ordinary_times):
            del times[done:]
        if not has_outliers(self.plain_times):
            return False
        for times in (self.plain_times, self.followed_times, self.ordinary_times):
            times[:] = [times[place] for place in inlier_places(times)]
        inliers = inlier_places([each.span for each in self.passes])
        self.passes[:] = [self.passes[place] for place in inliers]
        return True

    def measurement(self, done: int, complete: bool, isolated: IsolatedTimes, options: Options) -> Measurement:
        """Return what was measured; raises CnnstatError if no run followed the plan."""
        if not self.passes:
            raise CnnstatError("the model takes another path in every run: its layers cannot be told apart")
        is_busy = self._drop_disturbed(done)
        following = self._following_cost()
        breakdowns = [
            break_down(
                watch.laps,
                watch.backward_laps,
                span=span,
                bookkeeping=watch.bookkeeping,
                following=following,
                costs=self.costs,
            )
            for watch, span in self.passes
        ]
        ordinary = self.ordinary_times or self.plain_times
        rows = self._rows(breakdowns, isolated)
        shortest = min(self.passes, key=lambda each: each.span)
        return Measurement(
            rows=rows,
            beside=pop_optimizer(self.model, rows),
            timeline=timeline_of(shortest.watch, row_names(self.model.analysis.graph)),
            whole=Whole(plain=summarize(self.plain_times), eager=summarize(ordinary)),
            idle=median(each.idle for each in breakdowns),
            unattributed=median(each.unattributed for each in breakdowns),
            complete=complete,
            notes=(*self._busy_notes(is_busy, done), *self._notes(breakdowns, done, options), *isolated.notes),
        )

    def _rows(self, breakdowns: list[Breakdown], isolated: IsolatedTimes) -> dict[int, RowTimes]:
        counts = self.model.instrumentation.counts
        return {
            row: RowTimes(
                forward=tuple(each.forward.get(row, 0.0) for each in breakdowns),
                backward=tuple(each.backward.get(row, 0.0) for each in breakdowns) if self.model.backward else None,
                warm=isolated.warm.get(row),
                cold=isolated.cold.get(row),
                calls=counts.get(row, 0),
            )
            for row in sorted({row for each in breakdowns for row in (*each.forward, *each.backward)})
        }

    def _busy_notes(self, is_busy: bool, done: int) -> list[str]:
        notes = []
        if is_busy:
            count = len(self.plain_times)
            notes.append(f"this machine was busy: times are of the {count:,} least disturbed of {done:,} runs")
        share = self.computed / (self.lasted or 1)
        if self.model.device.type == "cpu" and share < WAITING:
            notes.append(f"for {100 * (1 - share):.0f} % of the runs' time this process waited while others computed")
        return notes

    def _notes(self, breakdowns: list[Breakdown], done: int, options: Options) -> list[str]:
        cost = median(each.instrumentation for each in breakdowns)
        notes = [f"instrumented runs are {cost * 1e6:,.0f} µs slower by their marks, which is taken off"]
        if options.energy:
            notes.append("energy is not measured: only NVIDIA GPUs tell it")
        if self.diverged:
            notes.append(f"{self.diverged} runs took another path and were dropped")
        if done < options.samples:
            notes.append(f"{done} measurements instead of {options.samples}")
        if self.ordinary_times:
            notes.append(
                "PyTorch's fused path for attention, which hides layers, is off; an ordinary call (eager) has it"
            )
        return notes
