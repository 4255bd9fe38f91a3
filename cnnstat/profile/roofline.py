"""Ceilings: what a machine was measured to do at best, and the floor they put under a layer's time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Bound = Literal["compute", "memory", "latency"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceilings:
    """The best rates measured on one device in one dtype.

    flops: floating-point operations per second of the best large matrix product (two for a multiply-accumulate).
    bandwidth: bytes read and written per second by a copy much larger than the caches.
    launch: seconds of the smallest kernel (on a CPU: of the smallest op call).
    measured: date and time, ISO 8601.
    """

    flops: float
    bandwidth: float
    launch: float
    measured: str

    def floor(self, flops: float, moved: float) -> tuple[float, Bound]:
        """Return the least seconds that work of `flops` operations over `moved` bytes takes, and what sets it."""
        bounds: dict[Bound, float] = {
            "compute": flops / self.flops,
            "memory": moved / self.bandwidth,
            "latency": self.launch,
        }
        bound = max(bounds, key=lambda key: bounds[key])
        return bounds[bound], bound
