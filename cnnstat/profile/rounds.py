"""Rounds: every way of running is measured once a round, in changing order, until there are enough of them."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from cnnstat.profile.progress import Progress
from cnnstat.profile.samples import summarize

MIN_SECONDS = 0.5
"""Fast models are measured more often than asked for, until they have run this long."""

STEADY_SECONDS = 10.0
"""Unsteady models are measured more often than asked for, but no longer than this."""

UNCERTAINTY = 0.02
"""Share of a median that it may be off by, as its quartiles tell, to count as steady."""

MAX_SECONDS = 60.0
"""Slow models are measured less often than asked for, once they have run this long."""

MIN_ROUNDS = 3
"""But never less often than this."""

MAX_ROUNDS = 1000

WARM_UP_SECONDS = 5.0
"""The longest that runs are repeated until they take the same time."""

WARM_UP_ROUNDS = 10


def warm_up(runs: Sequence[Callable[[], float]], progress: Progress) -> None:
    """Repeat all ways of running until three times in a row the first one takes the same time within a tenth."""
    progress.stage("warm-up", WARM_UP_ROUNDS)
    begin = time.perf_counter()
    latest: list[float] = []
    for count in range(WARM_UP_ROUNDS):
        latest = [*latest[-2:], runs[0]()]
        for run in runs[1:]:
            run()
        progress.step()
        is_steady = len(latest) == 3 and max(latest) <= 1.1 * min(latest)
        if is_steady or (count and time.perf_counter() - begin > WARM_UP_SECONDS):
            return


def repeat(
    runs: Sequence[Callable[[], None]], samples: int, title: str, progress: Progress, times: Sequence[float] = ()
) -> tuple[int, bool]:
    """Repeat rounds of all runs; the order turns from one round to the next, so that none always follows the same.

    times: what is to become steady, while it is being measured.

    Returns the number of complete rounds, and whether there were all: False after Ctrl-C. Raises KeyboardInterrupt if
    not even one round was complete.
    """
    progress.stage(title, samples)
    begin = time.perf_counter()
    done = 0
    try:
        while not _is_enough(done, samples, time.perf_counter() - begin, times):
            turn = done % len(runs)
            for run in (*runs[turn:], *runs[:turn]):
                run()
            done += 1
            if done <= samples:
                progress.step()
    except KeyboardInterrupt:
        if not done:
            raise
        return done, False
    return done, True


def _is_enough(done: int, samples: int, seconds: float, times: Sequence[float]) -> bool:
    """Whether there are rounds enough."""
    if done < samples:
        return done >= MIN_ROUNDS and seconds > MAX_SECONDS
    if done >= MAX_ROUNDS or seconds >= STEADY_SECONDS:
        return True
    return seconds >= MIN_SECONDS and is_steady(times)


def is_steady(times: Sequence[float]) -> bool:
    """Whether the median of measurements is known well enough.

    Its standard error is 1.25 standard deviations by the root of their number, of 0.74 quartile ranges each, as for
    normally distributed ones.
    """
    if len(times) < 2:
        return True
    found = summarize(times)
    return 1.25 * 0.74 * found.spread / math.sqrt(found.count) <= UNCERTAINTY * found.median


@contextmanager
def undisturbed() -> Iterator[None]:
    """Keep Python's garbage collector from running in between."""
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
