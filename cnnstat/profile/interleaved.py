"""Interleaved timing: every way of running is measured once a round, in rotating order.

What slows the machine for a while slows all ways alike, so that their ratios hold where their times do not. Another
program can only make a run slower. It does so by a whole slice of time, in whichever layer that falls, so that the sum
of the layers' medians, which leave such slices out, would miss what the median of the model has: see `inlier_places`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from time import perf_counter, perf_counter_ns

import torch

from cnnstat.profile.profile_options import Progress, Silent
from cnnstat.profile.profile_result import summarize
from cnnstat.profile.runnable_model import RunnableModel

Enough = Callable[[int, float], bool]
"""Whether so many complete rounds, which took so many seconds, are enough."""

MIN_SECONDS = 0.5
"""Fast models are measured more often than asked for, until they have run this long."""

STEADY_SECONDS = 4.0
"""Unsteady models are measured more often than asked for, but no longer than this."""

UNCERTAINTY = 0.02
"""Share of a median that it may be off by, estimated from its quartiles, to count as steady."""

MAX_SECONDS = 5.0
"""Slow models are measured less often than asked for, once they have run this long."""

LEAST_ROUNDS = 8
"""Rounds that are run unless they take `LONGEST_SECONDS`: fewer samples allow no verdict of faster or slower. Rounds of
`time_passes` are never fewer."""

LONGEST_SECONDS = 10.0

MIN_ROUNDS = 3
"""But never less often than this."""

MAX_ROUNDS = 1000

WARM_UP_SECONDS = 2.0
"""The longest that runs are repeated until they take the same time."""

WARM_UP_ROUNDS = 10

BLOCK_SECONDS = 0.01
"""What one measurement of `time_passes` lasts at least: shorter passes are run several times in a row."""

WARM_UP_PASSES = 3
"""Passes before the first such measurement, in which libraries choose their algorithms and caches fill."""


def interleave(
    runs: Sequence[Callable[[], object]],
    is_enough: Enough,
    progress: Progress | None = None,
    title: str = "",
    samples: int = 0,
) -> tuple[int, bool]:
    """Run rounds of all runs until they are enough; returns how many are complete, and False after Ctrl-C.

    samples: steps of the progress, one for each complete round.
    Raises KeyboardInterrupt if not even one round was complete.
    """
    progress = progress or Silent()
    progress.stage(title, samples)
    begin = perf_counter()
    done = 0
    try:
        while not is_enough(done, perf_counter() - begin):
            # A run finds the caches as the one before it left them, so that none may always follow the same.
            first = done % len(runs)
            for run in (*runs[first:], *runs[:first]):
                run()
            done += 1
            if done <= samples:
                progress.step()
    except KeyboardInterrupt:
        if not done:
            raise
        return done, False
    return done, True


def interleaved_samples(
    variants: Mapping[str, Callable[[], float]], is_enough: Enough, progress: Progress, title: str, samples: int
) -> tuple[dict[str, list[float]], bool]:
    """Return what every variant measured in each complete round, and False after Ctrl-C; see `interleave`."""
    times: dict[str, list[float]] = {name: [] for name in variants}

    def adding(name: str) -> Callable[[], None]:
        return lambda: times[name].append(variants[name]())

    done, complete = interleave([adding(name) for name in variants], is_enough, progress, title, samples)
    # Ctrl-C can stop a round half-way: the runs before it then have one value more than those behind.
    return {name: values[:done] for name, values in times.items()}, complete


def rounds(count: int) -> Enough:
    """Enough are so many rounds."""
    return lambda done, _: done >= count


def until_steady(samples: int, times: Sequence[float] = ()) -> Enough:
    """Enough are so many rounds and as many more as make the median of `times` steady; fewer of slow models.

    times: what is to become steady; the list that grows while it is being measured.
    """

    def is_enough(done: int, seconds: float) -> bool:
        if done < samples:
            return seconds > MAX_SECONDS and done >= (MIN_ROUNDS if seconds > LONGEST_SECONDS else LEAST_ROUNDS)
        if done >= MAX_ROUNDS or seconds >= STEADY_SECONDS:
            return True
        return seconds >= MIN_SECONDS and is_steady(times)

    return is_enough


def is_steady(times: Sequence[float]) -> bool:
    """Whether the median of measurements is known well enough.

    Its standard error is 1.25 standard deviations by the root of their number, of 0.74 quartile ranges each, as for
    normally distributed ones.
    """
    if len(times) < 2:
        return True
    samples = summarize(times)
    return 1.25 * 0.74 * samples.spread / math.sqrt(samples.count) <= UNCERTAINTY * samples.median


def warm_up(runs: Sequence[Callable[[], float]], progress: Progress) -> None:
    """Repeat all ways of running until three times in a row the first one takes the same time within a tenth."""
    progress.stage("warm-up", WARM_UP_ROUNDS)
    begin = perf_counter()
    latest: list[float] = []
    for count in range(WARM_UP_ROUNDS):
        latest = [*latest[-2:], runs[0]()]
        for run in runs[1:]:
            run()
        progress.step()
        # Three runs, since two slow ones can agree by chance while a clock rate still rises.
        is_settled = len(latest) == 3 and max(latest) <= 1.1 * min(latest)
        if is_settled or (count and perf_counter() - begin > WARM_UP_SECONDS):
            return


def time_passes(models: Sequence[RunnableModel], most: int, seconds: float) -> tuple[tuple[int, ...], ...]:
    """Return the nanoseconds of a forward pass of each model in every round, as an ordinary call takes them.

    most: rounds at most; no further one starts after so many seconds, `LEAST_ROUNDS` aside.
    """
    times: list[list[int]] = [[] for _ in models]

    def timing(model: RunnableModel, nanoseconds: list[int]) -> Callable[[], None]:
        _block(model, WARM_UP_PASSES)
        # A pass that the clock reads as 0 ns is too short to scale by; it counts as one block.
        repeats = max(1, round(BLOCK_SECONDS / (_block(model, 1) / 1e9 or BLOCK_SECONDS)))
        return lambda: nanoseconds.append(_block(model, repeats) // repeats)

    runs = [timing(model, nanoseconds) for model, nanoseconds in zip(models, times)]
    _, complete = interleave(runs, lambda done, elapsed: done >= most or (done >= LEAST_ROUNDS and elapsed > seconds))
    if not complete:
        raise KeyboardInterrupt  # A verdict needs all rounds.
    return tuple(map(tuple, times))


def _block(model: RunnableModel, repeats: int) -> int:
    """Return the nanoseconds of so many passes, the device's work included."""
    with torch.inference_mode():
        begin = perf_counter_ns()
        for _ in range(repeats):
            model.run()
        # On a GPU `run` only launches; a pass is over once the device has done its work.
        model.synchronize()
        return perf_counter_ns() - begin


NEAR = 1.2
"""Runs that take no more than so many times what the quickest one takes count as undisturbed."""

NOISY = 0.2
"""Interquartile range of the runs, as a share of their median, from which disturbed ones are left out."""

LEAST = 3
"""Fewer runs than this are never kept, nor fewer than `LEAST_ROUNDS` where there are so many twice over."""


def has_outliers(times: Sequence[float]) -> bool:
    """Whether runs that do the same take times that lie far apart, or most take far longer than the quickest."""
    if len(times) <= LEAST:
        return False
    samples = summarize(times)
    return samples.spread > NOISY * samples.median or samples.median > NEAR * min(times)


def inlier_places(times: Sequence[float]) -> list[int]:
    """Return the places of the runs that nothing disturbed, in order; of the quickest few if there are fewer."""
    order = sorted(range(len(times)), key=times.__getitem__)
    near = sum(time <= NEAR * times[order[0]] for time in times) if order else 0
    # Of many runs, the quickest few alone would be too few to tell a change by.
    least = LEAST_ROUNDS if len(times) >= 2 * LEAST_ROUNDS else LEAST
    return sorted(order[: max(least, near)])


def median_without_outliers(times: Sequence[float]) -> float:
    """Return the median of the runs that nothing disturbed."""
    return median(times[place] for place in inlier_places(times))
