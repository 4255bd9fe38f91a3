"""Stopwatches: when each row's computation began and ended, and what of a pass belongs to what."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch.autograd.graph import Node
from torch.utils.hooks import RemovableHandle

from cnnstat.profile.device import Clock
from cnnstat.profile.instrumentation import Observer
from cnnstat.profile.profile_details import MOST_SLICES, TimelineSlice
from cnnstat.profile.profile_result import UNATTRIBUTED
from cnnstat.pytorch.tensors import tensors_in


class Lap(NamedTuple):
    """One computation of a row; nanoseconds."""

    row: int
    begin: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What the instrumentation costs, in nanoseconds.

    mark_inside: of a mark, how much the row's own time shows; mark_outside: how much lies beside it.
    following, passed_over: of a call that is followed to where a row could be told, and of one that is let pass.
    run: of a run that is followed, whatever it calls.
    hook_inside, hook_outside: the same as of marks, of the hooks around a step of the backward pass.
    """

    mark_inside: float = 0.0
    mark_outside: float = 0.0
    following: float = 0.0
    passed_over: float = 0.0
    run: float = 0.0
    hook_inside: float = 0.0
    hook_outside: float = 0.0


class Stopwatch(Observer):
    """Takes the time of every row of a forward pass; what there is for a backward pass stays empty."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._begin = 0
        self.laps: list[Lap] = []
        self.backward_laps: list[Lap] = []
        self.bookkeeping = 0

    def enter(self, row: int, call: int) -> None:
        self._begin = self._clock()

    def leave(self, row: int, call: int) -> None:
        self.laps.append(Lap(row, self._begin, self._clock()))

    def release(self) -> None:
        """End the pass; marks of a forward pass leave nothing behind."""


class BackwardStopwatch(Stopwatch):
    """Takes the time of the backward pass too: every step of autograd belongs to the row that made it.

    A step is a node of autograd's graph. Adding up gradients of a tensor that is used twice is no step of its own and
    counts as a gap. What a checkpoint computes again belongs to the step that asks for it.
    bookkeeping: nanoseconds spent on finding steps and hooking them.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self._known: set[Node] = set()
        self._handles: list[RemovableHandle] = []
        self._step_begin = 0

    def returned(self, row: int, result: Any) -> None:
        """Hook the steps that lead to a result and are not known yet, and note how long that takes."""
        begin = self._clock()
        self.find(row, result)
        self.bookkeeping += self._clock() - begin

    def find(self, row: int, result: Any) -> None:
        """Hook the steps that lead to a result and are not known yet, while no time is taken."""
        waiting = [tensor.grad_fn for tensor in tensors_in(result)]
        while waiting:
            step = waiting.pop()
            if step is None or step in self._known:
                continue
            self._known.add(step)
            self._handles += [step.register_prehook(self._begin_step), step.register_hook(self._ender(row))]
            waiting += [before for before, _ in step.next_functions]

    def release(self) -> None:
        """Take the hooks off: the steps that add to parameters' gradients live on, and would record later passes."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._known.clear()

    def _begin_step(self, gradients: Any) -> None:
        self._step_begin = self._clock()

    def _ender(self, row: int) -> Callable[[Any, Any], None]:
        def end(inputs_gradient: Any, outputs_gradient: Any) -> None:
            self.backward_laps.append(Lap(row, self._step_begin, self._clock()))

        return end


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakdown:
    """What one instrumented pass was spent on; seconds.

    forward, backward: by row. instrumentation: what was taken off as the cost of measuring.
    """

    forward: dict[int, float]
    backward: dict[int, float]
    idle: float
    unattributed: float
    instrumentation: float


def break_down(
    laps: Iterable[Lap],
    backward_laps: Iterable[Lap],
    *,
    span: int,
    bookkeeping: int = 0,
    following: float = 0.0,
    costs: Costs = Costs(),  # frozen
) -> Breakdown:
    """Return what a pass of `span` nanoseconds was spent on; forward + backward + the rest + instrumentation = span.

    bookkeeping, following: nanoseconds of the span that went into finding steps of autograd, and into following calls.
    Costs never make a time negative.
    """
    forward, taken, inside = _sums(laps, costs.mark_inside)
    backward, taken_backward, inside_backward = _sums(backward_laps, costs.hook_inside)
    instrumentation, steps = taken.laps, taken_backward.laps
    outside = instrumentation * costs.mark_outside + steps * costs.hook_outside + bookkeeping + following
    rest = span - taken.nanoseconds - taken_backward.nanoseconds
    outside = min(outside, max(0.0, rest))
    unattributed = forward.pop(UNATTRIBUTED, 0.0) + backward.pop(UNATTRIBUTED, 0.0)
    return Breakdown(
        forward={row: time / 1e9 for row, time in forward.items()},
        backward={row: time / 1e9 for row, time in backward.items()},
        idle=(rest - outside) / 1e9,
        unattributed=unattributed / 1e9,
        instrumentation=(outside + inside + inside_backward) / 1e9,
    )


class _Taken(NamedTuple):
    """How many laps there were, and how long they took together."""

    laps: int
    nanoseconds: int


def _sums(laps: Iterable[Lap], cost: float) -> tuple[dict[int, float], _Taken, float]:
    """Return the nanoseconds of each row less the cost of its laps, what all laps took, and the cost taken off."""
    times: dict[int, float] = defaultdict(float)
    count = total = 0
    off = 0.0
    for row, begin, end in laps:
        less = min(cost, end - begin)
        times[row] += end - begin - less
        off += less
        total += end - begin
        count += 1
    return times, _Taken(count, total), off


def timeline_of(watch: Stopwatch, names: Sequence[str]) -> tuple[TimelineSlice, ...]:
    """Return the slices of a pass that a stopwatch took; names: of all rows."""
    laps = [(*lap, False) for lap in watch.laps] + [(*lap, True) for lap in watch.backward_laps]
    first = min((begin for _, begin, _, _ in laps), default=0)
    slices = [
        TimelineSlice(
            layer=names[row] if 0 <= row < len(names) else "unattributed", backward=is_backward, track="host",
            start=(begin - first) / 1e9, seconds=(end - begin) / 1e9,
        )
        for row, begin, end, is_backward in laps
    ]  # fmt: skip
    return tuple(sorted(slices, key=lambda each: each.start)[:MOST_SLICES])
