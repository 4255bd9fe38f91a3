"""Quiet runs: which runs count where something else uses the machine too.

Another program can only make a run slower. It does so by a whole slice of time, in whichever layer that falls, so that
the sum of the layers' medians, which leave such slices out, would miss what the median of the model has.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from cnnstat.profile.samples import summarize

NEAR = 1.2
"""Runs that take no more than so many times what the quickest one takes count as undisturbed."""

NOISY = 0.2
"""Interquartile range of the runs, as a share of their median, from which disturbed ones are left out."""

LEAST = 3
"""Fewer runs than this are never kept."""


def is_noisy(times: Sequence[float]) -> bool:
    """Whether runs that do the same take times that lie far apart, or most take far longer than the quickest."""
    if len(times) <= LEAST:
        return False
    found = summarize(times)
    return found.spread > NOISY * found.median or found.median > NEAR * min(times)


def quiet_runs(times: Sequence[float]) -> list[int]:
    """Return the places of the runs that nothing disturbed, in order; of the quickest few if there are fewer."""
    order = sorted(range(len(times)), key=times.__getitem__)
    near = sum(time <= NEAR * times[order[0]] for time in times) if order else 0
    return sorted(order[: max(LEAST, near)])


def quiet_median(times: Sequence[float]) -> float:
    """Return the median of the runs that nothing disturbed."""
    return median(times[place] for place in quiet_runs(times))
