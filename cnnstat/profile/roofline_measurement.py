"""Measures a roofline: the best matrix product, the best copy and the smallest op or kernel of a device.

It is measured once and remembered. One that layers have beaten is measured again, because a busy machine shows less
than it can do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from functools import partial
from statistics import median
from typing import Protocol

import torch

from cnnstat.profile.device import Clock, device_clock, kernel_settings, last_level_cache_bytes
from cnnstat.profile.profile_options import Progress
from cnnstat.profile.profile_result import ABOVE_ROOFLINE, Environment, LayerTime
from cnnstat.profile.roofline import Bound, Roofline, read_roofline, write_roofline

CPU_SIDES: tuple[int, ...] = (256, 512, 1024, 2048, 4096)
"""Side lengths of the matrices; larger ones are left out once a product takes long."""

PATIENCE = 0.5
"""Seconds that products on a CPU may take, eight of them, before larger ones are not tried."""

CPU_TRIES = 10

TRIES_SECONDS = 0.5
"""Seconds after which there are tries enough, for a busy machine makes each of them slow."""

SMALL_CALLS = 1000
"""Calls of the smallest op that are timed together."""

BETTER = 1.05
"""A short trial must beat a rate by so much for all of them to be measured again."""

GPU_TRIAL_SIDE = 4096
TRIAL_SIDE = 512
"""Of the matrices of the short trial."""


class TimedDevice(Protocol):
    """How work is timed on one kind of device, and how much of it shows what the device can do."""

    device: torch.device
    sides: tuple[int, ...]
    patience: float

    def best(self, run: Callable[[], object]) -> float:
        """Return the seconds of the fastest of several runs."""

    def has_room(self, size: int) -> bool:
        """Whether so many bytes can be allocated."""

    def copy_sizes(self) -> Iterable[int]:
        """Return the bytes of tensors whose copies do not fit into a cache."""

    def other_products(self, dtype: torch.dtype) -> Iterator[tuple[int, Callable[[], object]]]:
        """Yield what may be faster than a product of matrices: operations, and what runs them."""

    def smallest(self, dtype: torch.dtype) -> float:
        """Return the seconds of the smallest op or kernel."""


def find_roofline(environment: Environment, device: torch.device, progress: Progress, refresh: bool) -> Roofline:
    """Return the roofline of a device in a dtype and with these threads: remembered, else measured and remembered.

    refresh: measure it in any case.
    """
    key = circumstances(environment)
    known = None if refresh else read_roofline(key)
    if known is not None:
        return known
    progress.stage("ceilings", 1)
    roofline = measure_roofline(environment, device)
    progress.step()
    write_roofline(key, roofline)
    return roofline


def circumstances(environment: Environment) -> dict[str, str]:
    """Return all that a roofline depends on."""
    versions = environment.versions
    texts = {
        "device": environment.device_name,
        "dtype": environment.dtype,
        "torch": versions.get("torch", ""),
        "driver": versions.get("driver", ""),
        "threads": "" if environment.threads is None else str(environment.threads),
        "tf32": environment.settings["tf32"] if environment.device.startswith("cuda") else "",
    }
    return {name: value for name, value in texts.items() if value}


def measure_roofline(environment: Environment, device: torch.device) -> Roofline:
    """Return the roofline of a device in the way of its kind; raises CnnstatError where a GPU cannot be measured."""
    with timed_device(environment, device) as timed:
        return measure_on(timed, getattr(torch, environment.dtype))


@contextmanager
def timed_device(environment: Environment, device: torch.device) -> Iterator[TimedDevice]:
    """Yield how work is timed on a device of this kind; raises CnnstatError where a GPU cannot be measured."""
    if device.type != "cuda":
        yield ClockTimed(device, device_clock(device))
        return
    from cnnstat.profile.cuda.gpu import EventTimed
    from cnnstat.profile.cuda.torch_gpu import TorchGpu, explained

    with explained(), kernel_settings(environment.settings["tf32"] == "true"):
        gpu = TorchGpu(device)
        with gpu.active():
            yield EventTimed(gpu, device)


@torch.inference_mode()
def measure_on(device: TimedDevice, dtype: torch.dtype) -> Roofline:
    """Return the roofline of a device that is ready.

    The best of a few products, two operations a multiply-accumulate; the best copy of memory much larger than the last
    cache, each byte of which is read and written; the smallest op. Random numbers throughout: on a GPU a product of
    zeros draws less power, and so runs at higher clocks than real ones do.
    """
    return Roofline(
        flops_per_second=max(product_rates(device, dtype)),
        bandwidth=max(copy_rates(device)),
        launch=device.smallest(dtype),
        measured=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def product_rates(device: TimedDevice, dtype: torch.dtype) -> Iterator[float]:
    """Yield the operations per second of products of growing size."""
    for operations, run in device.other_products(dtype):
        yield operations / device.best(run)
    for side in device.sides:
        if side > device.sides[0] and not device.has_room(3 * side * side * dtype.itemsize):
            return
        left, right = (torch.randn(side, side, device=device.device).to(dtype) for _ in range(2))
        result = torch.empty(side, side, device=device.device, dtype=dtype)
        seconds = device.best(partial(torch.mm, left, right, out=result))
        yield 2 * side**3 / seconds
        # Twice the side takes eight times as long; the rate hardly grows any more.
        if seconds > device.patience:
            return


def copy_rates(device: TimedDevice) -> Iterator[float]:
    """Yield the bytes per second, read and written, of copies."""
    for size in device.copy_sizes():
        # float32: four bytes a number. A copy reads every byte and writes it.
        source = torch.randn(size // 4, device=device.device)
        yield 2 * source.nbytes / device.best(partial(torch.empty_like(source).copy_, source))


class ClockTimed:
    """The CPU, or a device that is waited for."""

    def __init__(self, device: torch.device, clock: Clock) -> None:
        self.device = device
        self.sides = CPU_SIDES
        self.patience = PATIENCE / 8
        self._clock = clock

    def best(self, run: Callable[[], object]) -> float:
        """Return the shortest of several tries."""
        return min(self._times(run))

    def has_room(self, size: int) -> bool:
        """True: what fits a CPU's memory is much larger than these matrices."""
        return True

    def copy_sizes(self) -> tuple[int, ...]:
        """Return four times the last cache."""
        return (max(64 * 2**20, 4 * last_level_cache_bytes()),)

    def other_products(self, dtype: torch.dtype) -> Iterator[tuple[int, Callable[[], object]]]:
        """Yield a product with a vector, and of 3×3 kernels.

        These run different code: on CPUs without instructions for half precision, one is far faster than the others.
        """
        matrix, vector = (torch.rand(*sizes, device=self.device).to(dtype) for sizes in ((1024, 1024), (1024,)))
        yield 2 * 1024**2, partial(torch.mv, matrix, vector)
        sizes = (1, 64, 56, 56), (64, 64, 3, 3)
        image, kernels = (torch.rand(*each, device=self.device).to(dtype) for each in sizes)
        yield 2 * 64 * 64 * 9 * 56 * 56, partial(torch.nn.functional.conv2d, image, kernels, padding=1)

    def smallest(self, dtype: torch.dtype) -> float:
        """Return the median seconds of the smallest op, a sign changed."""
        x = torch.rand(1, device=self.device).to(dtype)

        def run() -> None:
            for _ in range(SMALL_CALLS):
                torch.neg(x)

        return median(self._times(run)) / SMALL_CALLS

    def _times(self, run: Callable[[], object]) -> list[float]:
        """Return the seconds of several tries after one that is not counted; fewer where they take long."""
        run()
        times: list[float] = []
        start = time.perf_counter()
        while len(times) < CPU_TRIES and (not times or time.perf_counter() - start < TRIES_SECONDS):
            begin = self._clock()
            run()
            times.append(max(1, self._clock() - begin) / 1e9)
        return times


def remeasure_roofline(
    known: Roofline, layers: Iterable[LayerTime], environment: Environment, device: torch.device, progress: Progress
) -> tuple[Roofline, str]:
    """Return the roofline after a profile, and a note if it was raised.

    Where layers are above it, a short trial shows whether the machine can do more than was known, which tells a busy
    moment from a cache or from Winograd. If it can, everything is measured again; the best of both is remembered.
    """
    beaten = {layer.bound for layer in layers if layer.bound and layer.share_of_bound > ABOVE_ROOFLINE}
    progress.stage("ceilings again", 1)
    if not any(_is_low(bound, known, environment, device) for bound in sorted(beaten)):
        return known, ""
    again = measure_roofline(environment, device)
    if not is_raised(known, again):
        return known, ""
    best = Roofline(
        flops_per_second=max(known.flops_per_second, again.flops_per_second),
        bandwidth=max(known.bandwidth, again.bandwidth),
        launch=min(known.launch, again.launch),
        measured=again.measured,
    )
    progress.step()
    write_roofline(circumstances(environment), best)
    day = known.measured[:10] or "before"
    return best, f"layers beat the ceilings of {day}, which were measured again and raised: the machine was busy then"


def is_raised(known: Roofline, again: Roofline) -> bool:
    """Whether a second measurement has a rate that is clearly higher."""
    rates = again.flops_per_second > BETTER * known.flops_per_second or again.bandwidth > BETTER * known.bandwidth
    return rates or BETTER * again.launch < known.launch


@torch.inference_mode()
def _is_low(bound: Bound, known: Roofline, environment: Environment, device: torch.device) -> bool:
    """Whether a trial of a fraction of a second beats a rate clearly.

    On a GPU too: a layer whose data stay in the L2 cache is above the roofline in every profile, and no reason to
    measure all of it again.
    """
    dtype: torch.dtype = getattr(torch, environment.dtype)
    with timed_device(environment, device) as timed:
        if bound == "compute":
            side = GPU_TRIAL_SIDE if device.type == "cuda" else TRIAL_SIDE
            a, b = (torch.rand(side, side, device=device).to(dtype) for _ in range(2))
            return 2 * side**3 / timed.best(partial(torch.mm, a, b)) > BETTER * known.flops_per_second
        if bound == "memory":
            return max(copy_rates(timed)) > BETTER * known.bandwidth
        return BETTER * timed.smallest(dtype) < known.launch
