"""Measuring on the CPU, and on devices that are waited for: plain and instrumented runs in turns."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch

from cnnstat.errors import CnnstatError
from cnnstat.profile.calibrate import calibrate
from cnnstat.profile.device import synchronizer
from cnnstat.profile.fast_path import fast_path, has_fast_path
from cnnstat.profile.isolate import Alone, measure_alone
from cnnstat.profile.measurement import Measurement, RowTimes
from cnnstat.profile.observer import UNATTRIBUTED, Observer
from cnnstat.profile.options import Options
from cnnstat.profile.progress import Progress
from cnnstat.profile.quiet import is_noisy, quiet_median, quiet_runs
from cnnstat.profile.result import Whole
from cnnstat.profile.rounds import repeat, undisturbed, warm_up
from cnnstat.profile.samples import summarize
from cnnstat.profile.stopwatch import BackwardStopwatch, Breakdown, Clock, Costs, Stopwatch, break_down
from cnnstat.profile.subject import Subject
from cnnstat.profile.timeline import write_timeline
from cnnstat.profile.weights import SEED


def measure_cpu(subject: Subject, options: Options, progress: Progress, clock: Clock | None = None) -> Measurement:
    """Return the times of a subject; `clock` tells nanoseconds, by default once the device has done its work.

    Plain and instrumented runs take turns, so that what slows the machine down slows both. What the marks cost is
    measured before and taken off. After Ctrl-C the complete rounds are returned.
    """
    clock = clock or device_clock(subject.device)
    runs = _Runs(subject, clock, calibrate(subject, clock))
    ways: list[Callable[[], None]] = [runs.plain, runs.followed, runs.marked]
    if has_fast_path(subject.model, subject.backward):
        ways.append(runs.ordinary)
    with undisturbed():
        with fast_path(False):
            warm_up([runs.time_plain, lambda: _nothing(runs.marked)], progress)
            runs.forget()
            done, complete = repeat(ways, options.samples, "measuring", progress, runs.plain_times)
        alone = _alone(subject, options, progress, clock) if complete else Alone()
    found = runs.measurement(done, complete and alone.complete, alone, options)
    return replace(found, notes=(*found.notes, *_written(runs.watch, subject, options.trace)))


def _written(watch: Stopwatch | None, subject: Subject, path: Path | None) -> tuple[str, ...]:
    """Write the trace, where one is asked for; returns what goes wrong, for that must not cost the measurement."""
    if path is not None and watch is not None:
        try:
            write_timeline(watch, subject.analysis, path)
        except CnnstatError as error:
            return (str(error),)
    return ()


def device_clock(device: torch.device) -> Clock:
    """Return what tells the nanoseconds once a device has done its work."""
    wait = synchronizer(device)
    if wait is None:
        return time.perf_counter_ns

    def tell() -> int:
        wait()
        return time.perf_counter_ns()

    return tell


def _nothing(run: Callable[[], None]) -> float:
    """Run something whose time is not asked for."""
    run()
    return 0.0


def _alone(subject: Subject, options: Options, progress: Progress, clock: Clock) -> Alone:
    """Return the times of layers alone, if they are asked for."""
    if not options.isolate:
        return Alone()
    try:
        return measure_alone(subject, options.samples, progress, clock)
    except KeyboardInterrupt:
        return Alone(notes=("layers were not measured alone: stopped before",), complete=False)


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

    subject: Subject
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
        """Return the nanoseconds of one pass; an observer is told of the forward pass."""
        subject, clock = self.subject, self.clock
        if subject.model.training:
            # Dropped layers and the like are to be the same in every pass.
            torch.manual_seed(SEED)
        if subject.backward:
            subject.clear_gradients()
        # Switching gradients on, and the backward pass, call PyTorch too, which marks would make slower.
        following = nullcontext() if observer is None else subject.marking(observer)
        with torch.set_grad_enabled(subject.backward), following:
            begin = clock()
            result = subject.forward()
            forward = clock() - begin
        if not subject.backward:
            return forward
        if isinstance(observer, BackwardStopwatch):
            observer.find(UNATTRIBUTED, result)
        begin = clock()
        subject.run_backward(result)
        return forward + clock() - begin

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
        with fast_path(True):
            self.ordinary_times.append(self.time_plain())

    def followed(self) -> None:
        """Measure a run whose calls are followed, but not timed."""
        self.followed_times.append(self._pass(Observer()) / 1e9)

    def marked(self) -> None:
        """Measure a run with marks."""
        before = self.subject.marks.diverged
        self.watch = watch = BackwardStopwatch(self.clock) if self.subject.backward else Stopwatch(self.clock)
        span = self._pass(watch)
        watch.release()
        if self.subject.marks.diverged != before:
            self.diverged += 1
        else:
            self.passes.append(_Marked(watch, span))

    def _following(self) -> float:
        """Return the nanoseconds that following the calls of a pass takes.

        It is what followed runs take longer than plain ones, within what chains of small calls cost: the difference of
        two long times alone would be mostly noise.
        """
        costs = self.costs
        followed = median(len(each.watch.laps) for each in self.passes)
        calls = followed * costs.following + self.subject.marks.passed_over * costs.passed_over
        least = calls + costs.run
        longer = (quiet_median(self.followed_times) - quiet_median(self.plain_times)) * 1e9
        return max(least, min(longer, FOLLOWING_AT_MOST * least))

    def _keep(self, done: int) -> bool:
        """Drop the round that was not completed and, where the machine was busy, the runs of each way it disturbed.

        Returns whether it was busy.
        """
        del self.passes[done:]
        for times in (self.plain_times, self.followed_times, self.ordinary_times):
            del times[done:]
        if not is_noisy(self.plain_times):
            return False
        for times in (self.plain_times, self.followed_times, self.ordinary_times):
            times[:] = [times[place] for place in quiet_runs(times)]
        kept = quiet_runs([each.span for each in self.passes])
        self.passes[:] = [self.passes[place] for place in kept]
        return True

    def measurement(self, done: int, complete: bool, alone: Alone, options: Options) -> Measurement:
        """Return what was measured; raises CnnstatError if no run followed the plan."""
        if not self.passes:
            raise CnnstatError("the model takes another path in every run: its layers cannot be told apart")
        is_busy = self._keep(done)
        following = self._following()
        found = [
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
        return Measurement(
            rows=self._rows(found, alone),
            whole=Whole(plain=summarize(self.plain_times), eager=summarize(ordinary)),
            gaps=median(each.gaps for each in found),
            unattributed=median(each.unattributed for each in found),
            complete=complete,
            notes=(*self._busy(is_busy, done), *self._notes(found, done, options), *alone.notes),
        )

    def _rows(self, found: list[Breakdown], alone: Alone) -> dict[int, RowTimes]:
        """Return the times of each row that ran."""
        counts = self.subject.marks.counts
        return {
            row: RowTimes(
                forward=tuple(each.forward.get(row, 0.0) for each in found),
                backward=tuple(each.backward.get(row, 0.0) for each in found) if self.subject.backward else None,
                warm=alone.warm.get(row),
                cold=alone.cold.get(row),
                calls=counts.get(row, 0),
            )
            for row in sorted({row for each in found for row in (*each.forward, *each.backward)})
        }

    def _busy(self, is_busy: bool, done: int) -> list[str]:
        """Return that the machine was busy, where it was."""
        notes = []
        if is_busy:
            kept = len(self.plain_times)
            notes.append(f"this machine was busy: times are of the {kept:,} least disturbed of {done:,} runs")
        share = self.computed / (self.lasted or 1)
        if self.subject.device.type == "cpu" and share < WAITING:
            notes.append(f"for {100 * (1 - share):.0f} % of the runs' time this process waited while others computed")
        return notes

    def _notes(self, found: list[Breakdown], done: int, options: Options) -> list[str]:
        """Return what a reader must know of the measurement."""
        cost = median(each.instrumentation for each in found)
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
