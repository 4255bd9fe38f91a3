"""Energy: joules of a run, by NVML's counter over many of them."""

from __future__ import annotations

import math

from cnnstat.profile.cuda.gpu import Gpu, Run

_SECONDS = 3.0
"""How long they take: NVML renews its counter every 20 to 100 ms, so that the error is a few percent at most."""

_SETTLING = 0.5
"""Seconds of runs before, so that clocks and power are those of steady work."""


def joules_per_run(gpu: Gpu, run: Run, seconds: float) -> float | None:
    """Return the energy of a run of about so many seconds, idle power included; None where NVML does not tell."""
    if gpu.joules() is None or seconds <= 0:
        return None
    gpu.elapsed(run, math.ceil(_SETTLING / seconds))
    runs = math.ceil(_SECONDS / seconds)
    before = gpu.joules()
    gpu.elapsed(run, runs)
    after = gpu.joules()
    return None if before is None or after is None or after <= before else (after - before) / runs
