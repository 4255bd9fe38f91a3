"""Samples: repeated measurements of one time, summed up by what outliers cannot move."""

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
