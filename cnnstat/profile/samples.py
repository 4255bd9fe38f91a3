"""Samples: repeated measurements of one time, summed up by what outliers cannot move, and which of them are outliers.

Another program can only make a run slower. It does so by a whole slice of time, in whichever layer that falls, so that
the sum of the layers' medians, which leave such slices out, would miss what the median of the model has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Samples:
    """Repeated measurements of one time, in seconds: median, quartiles and how many there were."""

    median: float
    lower: float
    upper: float
    count: int

    @property
    def spread(self) -> float:
        """Interquartile range, in seconds."""
        return self.upper - self.lower


def summarize(values: Sequence[float]) -> Samples:
    """Return the median and the quartiles of at least one measurement, in seconds."""
    from statistics import median, quantiles  # here, because it takes longer to import than all of cnnstat's reports

    if len(values) == 1:
        return Samples(values[0], values[0], values[0], 1)
    lower, _, upper = quantiles(values, n=4, method="inclusive")
    return Samples(median(values), lower, upper, len(values))


NEAR = 1.2
"""Runs that take no more than so many times what the quickest one takes count as undisturbed."""

NOISY = 0.2
"""Interquartile range of the runs, as a share of their median, from which disturbed ones are left out."""

LEAST = 3
"""Fewer runs than this are never kept."""


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
    return sorted(order[: max(LEAST, near)])


def median_without_outliers(times: Sequence[float]) -> float:
    """Return the median of the runs that nothing disturbed."""
    from statistics import median  # here, for the reason in `summarize`

    return median(times[place] for place in inlier_places(times))
