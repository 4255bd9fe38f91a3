"""Stopwatches: when each row's computation began and ended, and what of a pass belongs to what."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node
from torch.utils.hooks import RemovableHandle

from cnnstat.ir.graph import Edge
from cnnstat.profile.device import Clock
from cnnstat.profile.instrumentation import Instrumentation, NetworkInstrumentation, Observer
from cnnstat.profile.interleaved import median_without_outliers
from cnnstat.profile.profile_result import UNATTRIBUTED
from cnnstat.profile.runnable_model import RunnableModel
from cnnstat.pytorch.modules.network import Network, Step
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


LENGTH = 100
"""Calls in a chain."""

ROUNDS = 15
"""How often each chain is run with and without instrumentation."""


class _Chain(nn.Module):
    """The same small call again and again."""

    def __init__(self, call: Callable[[Tensor], Any], length: int = LENGTH) -> None:
        super().__init__()
        self._call = call
        self._length = length

    def forward(self, x: Tensor) -> Tensor:
        """Return the input."""
        for _ in range(self._length):
            self._call(x)
        return x


def calibrate(model: RunnableModel, clock: Clock) -> Costs:
    """Return what the instrumentation of a model costs on its device, in nanoseconds."""
    x = torch.rand(1, device=model.device)
    hook_inside, hook_outside = _hooks(x, clock) if model.backward else (0.0, 0.0)
    hooks = Costs(hook_inside=hook_inside, hook_outside=hook_outside)
    if isinstance(model.instrumentation, NetworkInstrumentation):
        inside, following, outside = _marks(*_network_chain(), x, clock)
        return replace(hooks, mark_inside=inside, mark_outside=outside, following=following)
    below = model.instrumentation.below
    inside, following, outside = _marks(*_call_chain(torch.neg, 0, below), x, clock)
    _, passed, _ = _marks(*_call_chain(torch.is_floating_point, None, below), x, clock)
    return replace(
        hooks,
        mark_inside=inside,
        mark_outside=outside,
        following=following,
        passed_over=passed,
        run=_following_nothing(below, x, clock),
    )


def _network_chain() -> tuple[nn.Module, Instrumentation]:
    """Return a network of layers that do nothing."""
    network = Network("chain", ("x",), (Edge(LENGTH),))
    network.add_module("layer", nn.Identity())
    network._steps = tuple(
        Step("layer", (Edge(number),), (Edge(number + 1),), (Edge(number),)) for number in range(LENGTH)
    )
    return network, NetworkInstrumentation(network)


def _call_chain(
    function: Callable[[Tensor], Any], row: int | None, below: bool, length: int = LENGTH
) -> tuple[nn.Module, Instrumentation]:
    """Return a module that makes the same call many times, and marks that take its time or let it pass."""
    from cnnstat.profile.call_alignment import AlignedCall, CallAlignment
    from cnnstat.profile.call_instrumentation import CallInstrumentation

    model = _Chain(function, length)
    alignment = (
        CallAlignment(passing=frozenset((function,)), calls=())
        if row is None
        else CallAlignment((AlignedCall(function, row, True),) * length)
    )
    return model, CallInstrumentation(model, alignment, below)


def _following_nothing(below: bool, x: Tensor, clock: Clock) -> float:
    """Return the nanoseconds that following a run adds to one that calls nothing."""
    model, instrumentation = _call_chain(torch.neg, None, below, 0)
    plain, followed = [], []
    with torch.no_grad():
        for _ in range(ROUNDS):
            plain.append(_time(model, x, clock))
            with instrumentation.observing(Observer()):
                followed.append(_time(model, x, clock))
    return max(0.0, median_without_outliers(followed) - median_without_outliers(plain))


def _marks(model: nn.Module, instrumentation: Instrumentation, x: Tensor, clock: Clock) -> tuple[float, float, float]:
    """Return the nanoseconds that a mark adds within a row's time, by being followed, and otherwise beside it."""
    plain, followed, marked, laps = [], [], [], []
    with torch.no_grad():
        for _ in range(ROUNDS):
            plain.append(_time(model, x, clock))
            with instrumentation.observing(Observer()):
                followed.append(_time(model, x, clock))
            watch = Stopwatch(clock)
            with instrumentation.observing(watch):
                marked.append(_time(model, x, clock))
            laps += [lap.end - lap.begin for lap in watch.laps]
    alone, following, whole = (median_without_outliers(times) / LENGTH for times in (plain, followed, marked))
    inside = max(0.0, median_without_outliers(laps) - alone) if laps else 0.0
    # Differences of medians can come out negative by noise; no cost is ever added to a layer's time.
    following = max(0.0, following - alone)
    return inside, following, max(0.0, whole - alone - following - inside)


def _time(model: nn.Module, x: Tensor, clock: Clock) -> int:
    begin = clock()
    model(x)
    return clock() - begin


def _hooks(x: Tensor, clock: Clock) -> tuple[float, float]:
    """Return the nanoseconds that hooks add within and beside the time of a step of the backward pass."""
    plain, hooked, laps = [], [], []
    for _ in range(ROUNDS):
        plain.append(_backward_time(x, clock, None))
        watch = BackwardStopwatch(clock)
        hooked.append(_backward_time(x, clock, watch))
        laps += [(lap.end - lap.begin) for lap in watch.backward_laps]
    alone = median_without_outliers(plain) / LENGTH
    whole = max(0.0, median_without_outliers(hooked) / LENGTH - alone)
    # What hooks add beside a step's time must not become negative either.
    inside = min(whole, max(0.0, median_without_outliers(laps) - alone))
    return inside, whole - inside


def _backward_time(x: Tensor, clock: Clock, watch: BackwardStopwatch | None) -> int:
    """Return the nanoseconds of the backward pass of a chain of small calls."""
    leaf = x.detach().clone().requires_grad_()
    result = leaf
    for _ in range(LENGTH):
        result = torch.neg(result)
    if watch is not None:
        watch.returned(0, result)
    begin = clock()
    torch.autograd.backward(result, torch.ones_like(result))
    return clock() - begin
