"""Layers alone (`--isolate`): each on inputs of its own, with what it reads in the cache and not.

All layers are visited in turns, on copies of inputs and weights that are together several times as large as the last
cache: the first run of a visit finds nothing of its own there (cold), the second finds what fits (warm).
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from cnnstat.profile.caches import last_level_cache_bytes
from cnnstat.profile.observer import LayerCall, copied
from cnnstat.profile.progress import Progress
from cnnstat.profile.rounds import repeat
from cnnstat.profile.stopwatch import Clock
from cnnstat.profile.subject import Subject

CACHES = 4
"""The copies together are so many times as large as the last cache."""

MAX_BYTES = 8 * 2**30
"""Layers are not measured alone where their inputs would take more than this."""

MAX_COPIES = 256


@dataclass(frozen=True, slots=True)
class Alone:
    """Seconds of each row alone, one entry for each visit."""

    warm: dict[int, tuple[float, ...]] = field(default_factory=dict)
    cold: dict[int, tuple[float, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    complete: bool = True


def measure_alone(subject: Subject, samples: int, progress: Progress, clock: Clock) -> Alone:
    """Return the times of all layers alone; forward passes only. After Ctrl-C the complete rounds."""
    calls = subject.capture()
    size = sum(_bytes(call) for call in calls)
    if size > MAX_BYTES:
        return Alone(notes=(f"layers were not measured alone: their inputs take {size / 2**30:,.1f} GiB",))
    needed = CACHES * last_level_cache_bytes()
    count = min(MAX_COPIES, max(2, -(-needed // max(1, size))))
    sets = [calls, *(_twins(calls) for _ in range(count - 1))]
    passes = _Visits(sets, clock)
    _, complete = repeat([passes.visit_all], samples, "layers alone", progress)
    return passes.times(complete)


@dataclass(slots=True, eq=False)
class _Visits:
    """Visits to all layers, and what was measured."""

    sets: list[list[LayerCall]]
    clock: Clock
    turn: int = 0
    warm: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    cold: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))

    def visit_all(self) -> None:
        """Run each layer twice; a row with several calls gets their sum."""
        warm: dict[int, float] = defaultdict(float)
        cold: dict[int, float] = defaultdict(float)
        with torch.no_grad():
            for call in self.sets[self.turn % len(self.sets)]:
                begin = self.clock()
                call.run()
                middle = self.clock()
                call.run()
                end = self.clock()
                cold[call.row] += (middle - begin) / 1e9
                warm[call.row] += (end - middle) / 1e9
        self.turn += 1
        for row in cold:
            self.cold[row].append(cold[row])
            self.warm[row].append(warm[row])

    def times(self, complete: bool) -> Alone:
        """Return what was measured."""
        return Alone(
            {row: tuple(times) for row, times in self.warm.items()},
            {row: tuple(times) for row, times in self.cold.items()},
            complete=complete,
        )


def _twins(calls: Iterable[LayerCall]) -> list[LayerCall]:
    """Return the same computations on copies of their inputs and weights."""
    return [
        LayerCall(
            call.row,
            copy.deepcopy(call.function) if isinstance(call.function, nn.Module) else call.function,
            *copied((call.arguments, call.keywords), set()),
        )
        for call in calls
    ]


def _bytes(call: LayerCall) -> int:
    """Return the bytes of all that a computation reads."""
    weights = call.function.parameters() if isinstance(call.function, nn.Module) else ()
    return sum(tensor.nbytes for tensor in (*weights, *_tensors((call.arguments, call.keywords))))


def _tensors(value: Any) -> Iterator[Tensor]:
    """Yield the tensors of nested arguments."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _tensors(item)
