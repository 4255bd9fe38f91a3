"""Rounds: measurements taken in turns, so that what changes with time changes all of them alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from cnnstat.profile.cuda.gpu import Gpu, Run
from cnnstat.profile.progress import Progress

LEAST_SECONDS = 0.010
"""Least time between two events: they tell about half a microsecond, and launching the first run takes some."""

_MOST_REPEATS = 1_000_000


def repeats_for(measure: Callable[[int], float], least: float = LEAST_SECONDS) -> int:
    """Return how often something must run until `measure`, given that number, tells at least so many seconds."""
    repeats = 1
    while (seconds := measure(repeats)) < least and repeats < _MOST_REPEATS:
        wanted = math.ceil(repeats * least * 1.2 / seconds) if seconds > 0 else _MOST_REPEATS
        repeats = min(_MOST_REPEATS, max(2 * repeats, min(wanted, 100 * repeats)))
    return repeats


def on_the_gpu(gpu: Gpu, run: Run, least: float = LEAST_SECONDS) -> Callable[[], float]:
    """Return what measures the seconds of a run by two events around as many of them as span the least time."""
    repeats = repeats_for(lambda count: gpu.elapsed(run, count), least)
    return lambda: gpu.elapsed(run, repeats) / repeats


def on_the_clock(gpu: Gpu, run: Run) -> Callable[[], float]:
    """Return what measures the wall time of a run, of as many in a row; the clock stops when the GPU is done."""

    def wall(repeats: int) -> float:
        gpu.synchronize()
        start = gpu.now()
        for _ in range(repeats):
            run()
        gpu.synchronize()
        return (gpu.now() - start) / 1e9

    repeats = repeats_for(wall)
    return lambda: wall(repeats) / repeats


def until_enqueued(gpu: Gpu, run: Run) -> Callable[[], float]:
    """Return what measures how long the CPU takes to launch one run, on a GPU that has nothing else to do."""

    def enqueue() -> float:
        gpu.synchronize()
        start = gpu.now()
        run()
        end = gpu.now()
        gpu.synchronize()
        return (end - start) / 1e9

    return enqueue


def in_turns(
    variants: Mapping[str, Callable[[], float]], rounds: int, progress: Progress, title: str
) -> tuple[dict[str, list[float]], bool]:
    """Return so many samples of every variant, taken in turns, and whether all were.

    An interrupt ends the rounds early; before the end of the first one it is raised.
    """
    found: dict[str, list[float]] = {name: [] for name in variants}
    progress.stage(title, rounds)
    try:
        for _ in range(rounds):
            for name, sample in variants.items():
                found[name].append(sample())
            progress.step()
    except KeyboardInterrupt:
        whole = min(map(len, found.values()), default=0)
        if not whole:
            raise
        return {name: samples[:whole] for name, samples in found.items()}, False
    return found, True
