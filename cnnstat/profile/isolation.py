"""Isolation (`--isolate`): every layer alone on its inputs, with what it reads in the cache (warm) and not (cold).

Layers are visited in turns. To find nothing of its own in the cache, a layer runs on copies of its inputs and weights,
one after the other, which together are several times as large as the last cache.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol

import torch
from torch import nn

from cnnstat.profile.cuda.gpu import CaptureError, Gpu, on_the_gpu
from cnnstat.profile.device import Clock, last_level_cache_bytes
from cnnstat.profile.instrumentation import LayerCall, copied
from cnnstat.profile.interleaved import Enough, interleave, rounds, until_steady
from cnnstat.profile.measurement import IsolatedTimes
from cnnstat.profile.profile_options import Progress
from cnnstat.pytorch.tensors import tensors_in

CPU_CACHES = 4
GPU_CACHES = 5
"""The copies together are so many times as large as the last cache (on a GPU: the L2 cache)."""

MAX_BYTES = 8 * 2**30
"""Layers are not measured alone on a CPU where their inputs would take more than this."""

MAX_CPU_COPIES = 256
MAX_GPU_COPIES = 64
"""Copies at most; before small layers the GPU's cache is swept too, which is measured and taken off."""

_GRAPH_RUNS = 32
"""Runs in the CUDA graph of a warm layer: launching the graph itself then costs each next to nothing."""

_LEAST_SECONDS = 0.002
"""Time between two events: less than elsewhere, for there are two measurements a layer."""


class Visit(NamedTuple):
    """What one visit to a layer measured, in seconds of one run."""

    warm: float
    cold: float


class IsolatingDevice(Protocol):
    """How layers are measured alone on one kind of device."""

    def groups(self, calls: Sequence[LayerCall]) -> Iterator[list[tuple[LayerCall, int]]]:
        """Yield calls that fit into the memory together, each with the number of copies it is measured on."""

    def prepare(self, call: LayerCall, copies: int) -> Callable[[], Visit]:
        """Return what visits a call; raises CaptureError where it cannot be measured by itself."""

    def enough(self, samples: int) -> Enough:
        """When there are visits enough."""


def isolate(device: IsolatingDevice, calls: Sequence[LayerCall], samples: int, progress: Progress) -> IsolatedTimes:
    """Return the times of rows alone; forward passes only.

    A row is left out if one of its calls cannot be measured by itself, or was not before Ctrl-C.
    """
    calls = [call for call in calls if call.row >= 0]
    missing = Counter(call.row for call in calls)
    visits: dict[int, list[list[Visit]]] = {}
    failed: set[int] = set()
    complete = True
    with torch.no_grad():
        for group in device.groups(calls):
            prepared: list[tuple[int, Callable[[], Visit]]] = []
            for call, copies in group:
                try:
                    prepared.append((call.row, device.prepare(call, copies)))
                except CaptureError:
                    failed.add(call.row)
            times: list[list[Visit]] = [[] for _ in prepared]
            runs = [partial(_add, visit, into) for (_, visit), into in zip(prepared, times)]
            done, complete = (
                interleave(runs, device.enough(samples), progress, "layers alone", samples) if runs else (0, True)
            )
            for (row, _), into in zip(prepared, times):
                visits.setdefault(row, []).append(into[:done])
                missing[row] -= 1
            if not complete:
                break
    rows = [row for row in visits if not missing[row] and row not in failed]
    # Each visit runs one call; a row with several calls takes the sum of theirs.
    sums = {row: [tuple(map(sum, zip(*each))) for each in zip(*visits[row])] for row in rows}
    notes = (f"{len(failed)} layers cannot be captured by themselves and have no time alone",) if failed else ()
    return IsolatedTimes(
        warm={row: tuple(warm for warm, _ in each) for row, each in sums.items()},
        cold={row: tuple(cold for _, cold in each) for row, each in sums.items()},
        notes=notes,
        complete=complete,
    )


def _add(visit: Callable[[], Visit], into: list[Visit]) -> None:
    into.append(visit())


@dataclass(frozen=True, slots=True)
class ClockIsolation:
    """Layers alone by a clock: the first of two runs finds nothing of its own in the cache, the second what fits."""

    clock: Clock

    def groups(self, calls: Sequence[LayerCall]) -> Iterator[list[tuple[LayerCall, int]]]:
        """Yield all calls at once; their copies together fill the cache several times."""
        needed = CPU_CACHES * last_level_cache_bytes()
        size = sum(map(read_bytes, calls))
        copies = min(MAX_CPU_COPIES, max(2, -(-needed // max(1, size))))
        yield [(call, copies) for call in calls]

    def prepare(self, call: LayerCall, copies: int) -> Callable[[], Visit]:
        """Return what runs the next copy of a call twice."""
        clock = self.clock
        each = [call, *(copied_call(call) for _ in range(copies - 1))]
        number = 0

        def visit() -> Visit:
            nonlocal number
            run = each[number % copies].run
            number += 1
            begin = clock()
            run()
            middle = clock()
            run()
            end = clock()
            return Visit(warm=(end - middle) / 1e9, cold=(middle - begin) / 1e9)

        return visit

    def enough(self, samples: int) -> Enough:
        """As often as asked for, and at least half a second."""
        return until_steady(samples)


class GraphIsolation:
    """Layers alone on a GPU: in one CUDA graph the same run many times, in another one run of each copy."""

    def __init__(self, gpu: Gpu) -> None:
        """Prepare what leaves nothing of a layer in the cache; raises CaptureError."""
        self._gpu = gpu
        self._sweep = gpu.sweep(GPU_CACHES * gpu.l2_bytes)
        self._sweep()
        self._sweep_seconds = on_the_gpu(gpu, gpu.capture(self._sweep), _LEAST_SECONDS)

    def groups(self, calls: Sequence[LayerCall]) -> Iterator[list[tuple[LayerCall, int]]]:
        """Yield as many calls at a time as half of the free memory has room for."""
        budget = self._gpu.free_bytes() // 2
        group: list[tuple[LayerCall, int]] = []
        used = 0
        for call in calls:
            size = max(1, touched_bytes(call))
            wanted = min(MAX_GPU_COPIES, max(2, math.ceil(GPU_CACHES * self._gpu.l2_bytes / size)))
            copies = max(1, min(wanted, budget // size))
            if group and used + copies * size > budget:
                yield group
                group, used = [], 0
            group.append((call, copies))
            used += copies * size
        if group:
            yield group

    def prepare(self, call: LayerCall, copies: int) -> Callable[[], Visit]:
        """Return what replays both graphs of a call; raises CaptureError."""
        gpu, sweep = self._gpu, self._sweep
        # Once before the capture: libraries choose algorithms and allocate workspaces, which no capture allows.
        call.run()

        def often() -> None:
            for _ in range(_GRAPH_RUNS):
                call.run()

        rotated = [copied_call(call) for _ in range(copies)]
        is_swept = copies * touched_bytes(call) < GPU_CACHES * gpu.l2_bytes

        def rotate() -> None:
            if is_swept:
                sweep()
            # Results are kept until all ran, so that each is written to memory of its own.
            results = [each.run() for each in rotated]
            del results

        warm = on_the_gpu(gpu, gpu.capture(often), _LEAST_SECONDS)
        cold = on_the_gpu(gpu, gpu.capture(rotate), _LEAST_SECONDS)
        # A sweep alone can by noise take longer than a sweep and a tiny layer together: no time is below 0.
        sweep_seconds = self._sweep_seconds
        return lambda: Visit(
            warm=warm() / _GRAPH_RUNS, cold=max(0.0, cold() - (sweep_seconds() if is_swept else 0.0)) / copies
        )

    def enough(self, samples: int) -> Enough:
        """As often as asked for: events are exact enough."""
        return rounds(samples)


def copied_call(call: LayerCall) -> LayerCall:
    """Return a call on copies of its tensors, weights included where they are a module's."""
    function = call.function
    module = _module_of(call)
    # The function may be a method of the module: only the copied module's own method uses the copied weights.
    if module is not None:
        duplicate = copy.deepcopy(module)
        function = duplicate if function is module else getattr(duplicate, function.__name__)
    return LayerCall(call.row, function, *copied((call.arguments, call.keywords), set()))


def read_bytes(call: LayerCall) -> int:
    """Return the bytes of all that a call reads: inputs and weights."""
    return _input_bytes(call) + _weight_bytes(call)


def touched_bytes(call: LayerCall) -> int:
    """Return about the bytes that one run of a call touches: inputs, as much for its outputs, and weights."""
    return 2 * _input_bytes(call) + _weight_bytes(call)


def _input_bytes(call: LayerCall) -> int:
    return sum(tensor.nbytes for tensor in tensors_in((call.arguments, call.keywords)))


def _weight_bytes(call: LayerCall) -> int:
    module = _module_of(call)
    return 0 if module is None else sum(parameter.nbytes for parameter in module.parameters())


def _module_of(call: LayerCall) -> nn.Module | None:
    owner = getattr(call.function, "__self__", call.function)
    return owner if isinstance(owner, nn.Module) else None
