"""Race: whole forward passes of one or several models, timed in turns, so that what slows the machine slows all."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter, perf_counter_ns

import torch

from cnnstat.profile.device import synchronizer
from cnnstat.profile.subject import Subject

BLOCK = 0.01
"""Seconds that one measurement lasts at least: shorter passes are run several times in a row."""

WARM_UP = 3
"""Passes before the first measurement, in which libraries choose their algorithms and caches fill."""

LEAST_ROUNDS = 8
"""Rounds that are run however long they take."""


def race(subjects: Sequence[Subject], rounds: int, seconds: float) -> tuple[tuple[int, ...], ...]:
    """Return the nanoseconds of a forward pass of each subject in every round, as an ordinary call takes them.

    rounds: the most; no further one starts after so many seconds, `LEAST_ROUNDS` aside.
    """
    repeats = [_repeats(subject) for subject in subjects]
    found: list[list[int]] = [[] for _ in subjects]
    begin = perf_counter()
    for number in range(rounds):
        if number >= LEAST_ROUNDS and perf_counter() - begin > seconds:
            break
        # whoever runs first finds other caches, so that turns alternate
        for index in range(len(subjects))[:: -1 if number % 2 else 1]:
            found[index].append(_block(subjects[index], repeats[index]) // repeats[index])
    return tuple(map(tuple, found))


def _repeats(subject: Subject) -> int:
    """Return how many passes fill a block, after warming up."""
    _block(subject, WARM_UP)
    return max(1, round(BLOCK / (_block(subject, 1) / 1e9 or BLOCK)))


def _block(subject: Subject, repeats: int) -> int:
    """Return the nanoseconds of so many passes, the device's work included."""
    synchronize = synchronizer(subject.device)
    with torch.inference_mode():
        begin = perf_counter_ns()
        for _ in range(repeats):
            subject.run()
        if synchronize:
            synchronize()
        return perf_counter_ns() - begin
