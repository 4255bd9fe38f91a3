"""Sharing: whose each nanosecond of a GPU's time is, so that the parts add up to the whole exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cnnstat.profile.kernels import Kernel


@dataclass(frozen=True, slots=True)
class Shares:
    """span = sum of busy + gaps, in whole nanoseconds.

    busy: of each kernel, in the order in which they were given; gaps: time in which no kernel ran.
    span: from the start of the first kernel to the end of the last.
    """

    busy: tuple[int, ...]
    gaps: int
    span: int


def share(kernels: Sequence[Kernel]) -> Shares:
    """Return how the time from the first start to the last end divides among kernels.

    Wherever k kernels run at once, the nanoseconds of that stretch are dealt to them in turn, in order of their starts:
    each gets a k-th, and the parts are whole. A stretch lies between two moments at which a kernel starts or ends.
    """
    if not kernels:
        return Shares((), 0, 0)
    busy = [0] * len(kernels)
    gaps = 0
    running: list[int] = []
    starting = sorted(range(len(kernels)), key=lambda index: kernels[index].start)
    moments = sorted({moment for kernel in kernels for moment in (kernel.start, kernel.end)})
    upcoming = 0
    for begin, end in zip(moments, moments[1:]):
        running = [index for index in running if kernels[index].end > begin]
        while upcoming < len(starting) and kernels[starting[upcoming]].start <= begin:
            if kernels[starting[upcoming]].end > begin:
                running.append(starting[upcoming])
            upcoming += 1
        if not running:
            gaps += end - begin
            continue
        each, rest = divmod(end - begin, len(running))
        for turn, index in enumerate(running):
            busy[index] += each + (turn < rest)
    return Shares(tuple(busy), gaps, moments[-1] - moments[0])
