"""The identity: a model's time is its layers' times and three remainders, each of them printed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """whole = layers + gaps + unattributed + drift, in seconds.

    whole: one run measured without any instrumentation (on CUDA: a replay of the CUDA graph).
    layers: sum of the layers' median times.
    gaps: time inside the instrumented run in which nothing computed.
    unattributed: time of kernels or op calls that belong to no layer.
    """

    whole: float
    layers: float
    gaps: float
    unattributed: float

    @property
    def drift(self) -> float:
        """What is left: by how much the instrumented run and the plain one differ (negative: the first is slower)."""
        return self.whole - self.layers - self.gaps - self.unattributed

    def holds(self, drift: float, unattributed: float) -> bool:
        """Whether both remainders stay within these shares of the whole, and no gap is negative by more than drift."""
        is_near = abs(self.drift) <= drift * self.whole and -self.gaps <= drift * self.whole
        return is_near and self.unattributed <= unattributed * self.whole

    def share(self, seconds: float) -> float:
        """Return a part of the whole; 0 if the whole took no time."""
        return seconds / self.whole if self.whole else 0.0


class Tolerance(NamedTuple):
    """How much of the whole each remainder may be before a profile counts as not adding up."""

    drift: float
    unattributed: float


TOLERANCES = {"cuda": Tolerance(0.03, 0.01), "cpu": Tolerance(0.15, 0.15), "mps": Tolerance(0.15, 0.15)}
"""The stated limits by kind of device: a CUDA graph repeats itself, a CPU shares its caches and clock with others."""
