"""Gpu: what measuring needs of a GPU, and timing by its events; a protocol, so that it can be tested without one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from cnnstat.errors import CnnstatError

Run = Callable[[], object]
"""Puts the work of one pass on the GPU; does not wait for it."""


class CaptureError(Exception):
    """What a run does cannot be recorded as a CUDA graph; the message is CUDA's or PyTorch's own first line."""


class Gpu(Protocol):
    """One GPU and the stream on which everything is measured."""

    @property
    def l2_bytes(self) -> int:
        """Size of its L2 cache."""

    def now(self) -> int:
        """Nanoseconds of the host's clock."""

    def synchronize(self) -> None:
        """Wait until all work is done."""

    def elapsed(self, run: Run, repeats: int) -> float:
        """Return the seconds between two events on the stream, with so many runs between them."""

    def capture(self, run: Run) -> Run:
        """Return a replay of the CUDA graph of a run; raises CaptureError."""

    def graph_event(self) -> object:
        """Record an event of the graph that is being captured; each replay sets its time. Raises CaptureError."""

    def between(self, first: object, second: object) -> float:
        """Return the seconds between two events of the latest replay, which is over."""

    def record(self, script: Callable[[], None]) -> list[dict[str, Any]]:
        """Run under torch.profiler, and return the events of its trace."""

    def range(self, name: str) -> AbstractContextManager[object]:
        """A range of that name in the trace."""

    def peak_bytes(self, run: Run) -> int:
        """Return the most memory that is allocated at once during a run, over what was before it."""

    def free_bytes(self) -> int:
        """Return the memory that can still be allocated."""

    def sweep(self, size: int) -> Run:
        """Return what reads so many bytes of memory that nothing else uses."""

    def clocks(self) -> Mapping[str, float]:
        """Return `sm_MHz` and `memory_MHz` now, and `power_limit_W`; those that NVML reports."""

    def joules(self) -> float | None:
        """Return the energy used since the driver was loaded; None where NVML does not report it."""


LEAST_SECONDS = 0.010
"""Least time between two events: they resolve about half a microsecond, and launching the first run takes some."""

_MOST_REPEATS = 1_000_000


def repeats_for(measure: Callable[[int], float], least: float = LEAST_SECONDS) -> int:
    """Return how often something must run until `measure`, given that number, returns at least so many seconds."""
    repeats = 1
    while (seconds := measure(repeats)) < least and repeats < _MOST_REPEATS:
        # A fifth more than needed, so that a slightly faster run does not fall short; at most 100-fold, since the first
        # measurement is mostly launching.
        wanted = math.ceil(repeats * least * 1.2 / seconds) if seconds > 0 else _MOST_REPEATS
        repeats = min(_MOST_REPEATS, max(2 * repeats, min(wanted, 100 * repeats)))
    return repeats


def on_the_gpu(gpu: Gpu, run: Run, least: float = LEAST_SECONDS) -> Callable[[], float]:
    """Return what measures the seconds of a run by two events around as many of them as span the least time."""
    repeats = repeats_for(lambda count: gpu.elapsed(run, count), least)
    return lambda: gpu.elapsed(run, repeats) / repeats


def on_the_clock(gpu: Gpu, run: Run) -> Callable[[], float]:
    """Return what measures the wall time of a run, of as many in a row; the clock stops when the GPU is done."""

    def wall(repeats: int) -> float:
        gpu.synchronize()
        start = gpu.now()
        for _ in range(repeats):
            run()
        gpu.synchronize()
        return (gpu.now() - start) / 1e9

    repeats = repeats_for(wall)
    return lambda: wall(repeats) / repeats


def until_enqueued(gpu: Gpu, run: Run) -> Callable[[], float]:
    """Return what measures how long the CPU takes to launch one run, on a GPU that has nothing else to do."""

    def enqueue() -> float:
        gpu.synchronize()
        start = gpu.now()
        run()
        end = gpu.now()
        gpu.synchronize()
        return (end - start) / 1e9

    return enqueue


GRAPH_SECONDS = 1e-3
"""Work that a graph holds at least: between two replays a GPU stands still for some microseconds."""

_MOST_PASSES = 50


@dataclass(frozen=True, slots=True)
class Graph:
    """A captured graph; passes: how many passes of the model one replay runs."""

    replay: Run
    passes: int


def capture_passes(gpu: Gpu, run: Run) -> Graph:
    """Return the graph of a pass, or of several short ones; raises CaptureError."""
    replay = gpu.capture(run)
    # The first replay also uploads the graph, which later ones need not.
    replay()
    gpu.synchronize()
    seconds = on_the_gpu(gpu, replay)()
    passes = min(_MOST_PASSES, math.ceil(GRAPH_SECONDS / seconds)) if seconds > 0 else 1
    if passes == 1:
        return Graph(replay, 1)

    def runs() -> None:
        for _ in range(passes):
            run()

    try:
        longer = gpu.capture(runs)
        longer()
        gpu.synchronize()
    except CaptureError:
        return Graph(replay, 1)
    return Graph(longer, passes)


GPU_SIDES: tuple[int, ...] = (2048, 4096, 8192, 16384)
"""Side lengths of the matrices whose products show what a GPU can do."""

GPU_PATIENCE = 0.03
"""Seconds of a product on a GPU after which larger ones would show nothing new."""

GPU_TRIES = 7
"""Samples of each; the best counts, for a roofline is what the machine can do."""

SMALL_KERNELS = 1000
"""One-element kernels in the graph that shows what a kernel costs at least."""


class EventTimed:
    """A GPU, by its events."""

    def __init__(self, gpu: Gpu, device: torch.device) -> None:
        self.device = device
        self.sides = GPU_SIDES
        self.patience = GPU_PATIENCE
        self._gpu = gpu

    def best(self, run: Callable[[], object]) -> float:
        """Return the shortest of several samples."""
        sample = on_the_gpu(self._gpu, run)
        return min(sample() for _ in range(GPU_TRIES))

    def has_room(self, size: int) -> bool:
        """Whether half of the free memory is enough."""
        return size <= self._gpu.free_bytes() // 2

    def copy_sizes(self) -> Iterator[int]:
        """Yield sizes much larger than the L2 cache, as far as there is memory."""
        for caches in (16, 64):
            # At least 256 MiB; a quarter of the free memory leaves room for the copy.
            yield min(max(caches * self._gpu.l2_bytes, 2**28), self._gpu.free_bytes() // 4)

    def other_products(self, dtype: torch.dtype) -> Iterator[tuple[int, Callable[[], object]]]:
        """Nothing: large products of matrices are what a GPU does best."""
        yield from ()

    def smallest(self, dtype: torch.dtype) -> float:
        """Return the seconds from one smallest kernel to the next in a CUDA graph."""
        number = torch.randn(1, device=self.device)

        def kernels() -> None:
            for _ in range(SMALL_KERNELS):
                number.neg_()

        try:
            replay = self._gpu.capture(kernels)
        except CaptureError as error:
            raise CnnstatError(f"this GPU records no CUDA graphs ({error}); update its driver") from error
        return self.best(replay) / SMALL_KERNELS
