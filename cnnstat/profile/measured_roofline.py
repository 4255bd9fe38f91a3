"""Ceilings: what this machine does at best, measured once and remembered."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timezone
from functools import partial
from statistics import median

import torch

from cnnstat.profile.cache import read_ceilings, write_ceilings
from cnnstat.profile.caches import last_level_cache_bytes
from cnnstat.profile.cpu import device_clock
from cnnstat.profile.progress import Progress
from cnnstat.profile.result import Environment
from cnnstat.profile.roofline import Ceilings
from cnnstat.profile.stopwatch import Clock

SIZES = (256, 512, 1024, 2048, 4096)
"""Side lengths of the matrices; larger ones are left out once a product takes longer than PATIENCE."""

PATIENCE = 0.5
"""Seconds that one product may take before larger ones are not tried."""

TRIES = 10

SMALL_CALLS = 1000
"""Calls of the smallest op that are timed together."""


def find_ceilings(environment: Environment, device: torch.device, progress: Progress, refresh: bool) -> Ceilings:
    """Return the ceilings of a device in a dtype and with these threads: remembered, else measured and remembered.

    refresh: measure them in any case.
    """
    key = circumstances(environment)
    known = None if refresh else read_ceilings(key)
    if known is not None:
        return known
    progress.stage("ceilings", 1)
    found = measure_all(environment, device)
    progress.step()
    write_ceilings(key, found)
    return found


def measure_all(environment: Environment, device: torch.device) -> Ceilings:
    """Return the ceilings of a device in the way of its kind; raises CnnstatError where a GPU cannot tell them."""
    dtype: torch.dtype = getattr(torch, environment.dtype)
    if device.type == "cuda":
        from cnnstat.profile.cuda.roofline import measure_ceilings

        return measure_ceilings(device, dtype, environment.settings["tf32"] == "true")
    return measure(device, dtype, device_clock(device))


def circumstances(environment: Environment) -> dict[str, str]:
    """Return all that ceilings depend on."""
    versions = environment.versions
    found = {
        "device": environment.device_name,
        "dtype": environment.dtype,
        "torch": versions.get("torch", ""),
        "driver": versions.get("driver", ""),
        "threads": "" if environment.threads is None else str(environment.threads),
        "tf32": environment.settings["tf32"] if environment.device.startswith("cuda") else "",
    }
    return {name: value for name, value in found.items() if value}


@torch.inference_mode()
def measure(device: torch.device, dtype: torch.dtype, clock: Clock) -> Ceilings:
    """Return the ceilings of the CPU, or of a device that is waited for.

    The best of a few products of random numbers, two operations a multiply-accumulate; the best copy of memory four
    times as large as the last cache, each byte of which is read and written; the median of the smallest op, a sign
    changed.
    """
    return Ceilings(
        flops=_products(device, dtype, clock),
        bandwidth=copies(device, clock),
        launch=smallest(device, dtype, clock),
        measured=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def _products(device: torch.device, dtype: torch.dtype, clock: Clock) -> float:
    """Return the operations per second of the best product: of matrices, with a vector, or of 3×3 kernels.

    These run different code: on CPUs without instructions for half precision, one is far faster than the others.
    """
    matrix, vector = (torch.rand(*sizes, device=device).to(dtype) for sizes in ((1024, 1024), (1024,)))
    rate = 2 * 1024**2 / best(partial(torch.mv, matrix, vector), clock)
    image, kernels = (torch.rand(*sizes, device=device).to(dtype) for sizes in ((1, 64, 56, 56), (64, 64, 3, 3)))
    seconds = best(partial(torch.nn.functional.conv2d, image, kernels, padding=1), clock)
    highest = max(rate, 2 * 64 * 64 * 9 * 56 * 56 / seconds)
    for size in SIZES:
        a, b = (torch.rand(size, size, device=device).to(dtype) for _ in range(2))
        out = torch.empty(size, size, device=device, dtype=dtype)
        seconds = best(partial(torch.mm, a, b, out=out), clock)
        highest = max(highest, 2 * size**3 / seconds)
        if 8 * seconds > PATIENCE:
            break
    return highest


def copies(device: torch.device, clock: Clock) -> float:
    """Return the bytes per second, read and written, of the best copy."""
    size = max(64 * 2**20, 4 * last_level_cache_bytes())
    source = torch.rand(size // 4, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / best(lambda: target.copy_(source), clock)


def smallest(device: torch.device, dtype: torch.dtype, clock: Clock) -> float:
    """Return the seconds of the smallest op."""
    x = torch.rand(1, device=device).to(dtype)

    def run() -> None:
        for _ in range(SMALL_CALLS):
            torch.neg(x)

    return _median(run, clock) / SMALL_CALLS


def _times(run: Callable[[], object], clock: Clock) -> list[float]:
    """Return the seconds of several tries after one that is not counted; fewer where they take long."""
    run()
    times: list[float] = []
    start = time.perf_counter()
    while len(times) < TRIES and (not times or time.perf_counter() - start < 4 * PATIENCE):
        begin = clock()
        run()
        times.append(max(1, clock() - begin) / 1e9)
    return times


def best(run: Callable[[], object], clock: Clock) -> float:
    """Return the shortest of several tries."""
    return min(_times(run, clock))


def _median(run: Callable[[], object], clock: Clock) -> float:
    """Return the median of several tries."""
    return median(_times(run, clock))
