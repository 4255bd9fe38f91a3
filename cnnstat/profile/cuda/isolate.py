"""Isolation: every layer alone in a CUDA graph on the inputs it had, with all it reads in the cache and with none."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from cnnstat.profile.cuda.gpu import CaptureError, Gpu, Run
from cnnstat.profile.cuda.rounds import on_the_gpu
from cnnstat.profile.observer import LayerCall, copied
from cnnstat.profile.progress import Progress
from cnnstat.pytorch.tensors import tensors_in

_WARM_RUNS = 32
"""Runs in the graph of a warm layer: launching the graph itself then costs each next to nothing."""

_MOST_COPIES = 64
"""Copies of a cold layer's data at most; before small layers the cache is swept, which is measured and taken off."""

_CACHES = 5
"""So many times the L2 cache lies between two uses of the same bytes."""

_LEAST_SECONDS = 0.002
"""Time between two events: less than elsewhere, for there are two measurements a layer."""


@dataclass(frozen=True, slots=True)
class Alone:
    """Samples of one row by itself, all its calls added up, in seconds."""

    warm: tuple[float, ...]
    cold: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What measures one call: each returns the seconds of one run of it."""

    row: int
    warm: Callable[[], float]
    cold: Callable[[], float]


def isolate(
    gpu: Gpu, calls: Sequence[LayerCall], samples: int, progress: Progress
) -> tuple[dict[int, Alone], list[str]]:
    """Return the times of rows alone, and notes; a row of which a call cannot be captured is left out, and told.

    Layers are visited in turns, as many at a time as a half of the free memory has room for.
    """
    sweep = _sweep(gpu)
    budget = gpu.free_bytes() // 2
    failed: set[int] = set()
    warm: dict[int, list[float]] = {}
    cold: dict[int, list[float]] = {}
    progress.stage("layers alone", len(calls))
    with torch.inference_mode():
        for group in _groups(gpu, [call for call in calls if call.row >= 0], budget):
            prepared = []
            for call, copies in group:
                try:
                    prepared.append(_prepare(gpu, call, copies, sweep))
                except CaptureError:
                    failed.add(call.row)
            found: list[tuple[list[float], list[float]]] = [([], []) for _ in prepared]
            for _ in range(samples):
                for each, (hot, chilled) in zip(prepared, found):
                    hot.append(each.warm())
                    chilled.append(each.cold())
            for each, (hot, chilled) in zip(prepared, found):
                _add(warm, each.row, hot)
                _add(cold, each.row, chilled)
            for _ in group:
                progress.step()
    rows = {row: Alone(tuple(warm[row]), tuple(cold[row])) for row in warm if row not in failed}
    notes = [f"{len(failed)} layers cannot be captured by themselves and have no time alone"] if failed else []
    return rows, notes


def _add(sums: dict[int, list[float]], row: int, samples: list[float]) -> None:
    """Add one call's samples to its row's."""
    before = sums.get(row)
    sums[row] = samples if before is None else [a + b for a, b in zip(before, samples)]


def _groups(gpu: Gpu, calls: Iterable[LayerCall], budget: int) -> Iterator[list[tuple[LayerCall, int]]]:
    """Yield calls that fit into the memory together, each with the number of copies it is measured on."""
    group: list[tuple[LayerCall, int]] = []
    used = 0
    for call in calls:
        size = max(1, bytes_of(call))
        wanted = min(_MOST_COPIES, max(2, math.ceil(_CACHES * gpu.l2_bytes / size)))
        copies = max(1, min(wanted, budget // size))
        if group and used + copies * size > budget:
            yield group
            group, used = [], 0
        group.append((call, copies))
        used += copies * size
    if group:
        yield group


def bytes_of(call: LayerCall) -> int:
    """Return about the bytes that one run of a call touches: inputs, as much for its outputs, and weights."""
    inputs = sum(tensor.numel() * tensor.element_size() for tensor in tensors_in((call.arguments, call.keywords)))
    weights = _module_of(call)
    return 2 * inputs + sum(p.numel() * p.element_size() for p in (weights.parameters() if weights is not None else ()))


def _module_of(call: LayerCall) -> nn.Module | None:
    """Return the module that a call runs, if it is one."""
    owner = getattr(call.function, "__self__", call.function)
    return owner if isinstance(owner, nn.Module) else None


def _prepare(gpu: Gpu, call: LayerCall, copies: int, sweep: tuple[Run, Callable[[], float]]) -> _Prepared:
    """Return what measures a call; raises CaptureError."""
    call.run()

    def often() -> None:
        for _ in range(_WARM_RUNS):
            call.run()

    clear, sweeping = sweep
    rotated = [_copy(call) for _ in range(copies)]
    swept = copies * bytes_of(call) < _CACHES * gpu.l2_bytes

    def rotate() -> None:
        if swept:
            clear()
        # Results are kept until all ran, so that each is written to memory of its own.
        kept = [each.run() for each in rotated]
        del kept

    warm = on_the_gpu(gpu, gpu.capture(often), _LEAST_SECONDS)
    cold = on_the_gpu(gpu, gpu.capture(rotate), _LEAST_SECONDS)
    return _Prepared(
        row=call.row,
        warm=lambda: warm() / _WARM_RUNS,
        cold=lambda: max(0.0, cold() - (sweeping() if swept else 0.0)) / copies,
    )


def _copy(call: LayerCall) -> LayerCall:
    """Return a call on copies of its tensors, weights included where they are a module's."""
    module = _module_of(call)
    function = call.function
    if module is not None:
        twin = copy.deepcopy(module)
        function = twin if function is module else getattr(twin, function.__name__)
    stored: set[int] = set()
    arguments, keywords = copied(call.arguments, stored), copied(call.keywords, stored)
    return LayerCall(row=call.row, function=function, arguments=arguments, keywords=keywords)


def _sweep(gpu: Gpu) -> tuple[Run, Callable[[], float]]:
    """Return what leaves nothing of a layer in the cache, and what measures how long that takes."""
    clear = gpu.sweep(_CACHES * gpu.l2_bytes)
    clear()
    return clear, on_the_gpu(gpu, gpu.capture(clear), _LEAST_SECONDS)
