"""Computing time, measured in runs of a loop on the same machine: no test knows how fast a machine is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

MOST_LOOPS = 250
"""Several times what any input may take that was made to take long; about 5 seconds on a machine of 2024."""

SOON = 0.05
"""Seconds of computing that need no comparison: fewer than MOST_LOOPS loops on any machine."""


def _loop() -> float:
    """Return the least seconds of computing that the loop takes in three runs: a hundredth of a second or two."""
    seconds = []
    for _ in range(3):
        start = time.process_time()
        sum(number * number for number in range(300_000))
        seconds.append(time.process_time() - start)
    return min(seconds)


def loops_since(start: float) -> float:
    """Return the computing time since `time.process_time()` was `start`, in loops; 0 if it is short."""
    seconds = time.process_time() - start
    return 0.0 if seconds < SOON else seconds / _loop()


@contextmanager
def ends_soon() -> Iterator[None]:
    """Fail if what is inside takes more computing time than MOST_LOOPS loops."""
    start = time.process_time()
    yield
    assert loops_since(start) < MOST_LOOPS
