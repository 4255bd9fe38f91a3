"""Calibration: what a mark costs here, measured on chains of calls that do next to nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from cnnstat.ir.graph import Edge
from cnnstat.profile.call_marks import CallMarks
from cnnstat.profile.network_marks import NetworkMarks
from cnnstat.profile.observer import Marks, Observer
from cnnstat.profile.plan import Plan, Planned
from cnnstat.profile.quiet import quiet_median
from cnnstat.profile.stopwatch import BackwardStopwatch, Clock, Costs, Stopwatch
from cnnstat.profile.subject import Subject
from cnnstat.pytorch.modules.network import Network, Step

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


def calibrate(subject: Subject, clock: Clock) -> Costs:
    """Return what marks of a subject's kind cost on its device, in nanoseconds."""
    x = torch.rand(1, device=subject.device)
    hook_inside, hook_outside = _hooks(x, clock) if subject.backward else (0.0, 0.0)
    hooks = Costs(hook_inside=hook_inside, hook_outside=hook_outside)
    if not isinstance(subject.marks, CallMarks):
        inside, following, outside = _marks(*_network_chain(), x, clock)
        return replace(hooks, mark_inside=inside, mark_outside=outside, following=following)
    below = subject.marks.below
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


def _network_chain() -> tuple[nn.Module, Marks]:
    """Return a network of layers that do nothing."""
    network = Network("chain", ("x",), (Edge(LENGTH),))
    network.add_module("layer", nn.Identity())
    network._steps = tuple(
        Step("layer", (Edge(number),), (Edge(number + 1),), (Edge(number),)) for number in range(LENGTH)
    )
    return network, NetworkMarks(network)


def _call_chain(function: Callable[[Tensor], Any], row: int | None, below: bool) -> tuple[nn.Module, Marks]:
    """Return a module that makes the same call many times, and marks that take its time or let it pass."""
    model = _Chain(function)
    plan = (
        Plan(passing=frozenset((function,)), calls=())
        if row is None
        else Plan((Planned(function, row, True),) * LENGTH)
    )
    return model, CallMarks(model, plan, below)


def _following_nothing(below: bool, x: Tensor, clock: Clock) -> float:
    """Return the nanoseconds that following a run adds to one that calls nothing."""
    model = _Chain(torch.neg, 0)
    marks = CallMarks(model, Plan(()), below)
    plain, followed = [], []
    with torch.no_grad():
        for _ in range(ROUNDS):
            plain.append(_time(model, x, clock))
            with marks.marking(Observer()):
                followed.append(_time(model, x, clock))
    return max(0.0, quiet_median(followed) - quiet_median(plain))


def _marks(model: nn.Module, marks: Marks, x: Tensor, clock: Clock) -> tuple[float, float, float]:
    """Return the nanoseconds that a mark adds within a row's time, by being followed, and otherwise beside it."""
    plain, followed, marked, laps = [], [], [], []
    with torch.no_grad():
        for _ in range(ROUNDS):
            plain.append(_time(model, x, clock))
            with marks.marking(Observer()):
                followed.append(_time(model, x, clock))
            watch = Stopwatch(clock)
            with marks.marking(watch):
                marked.append(_time(model, x, clock))
            laps += [lap.end - lap.begin for lap in watch.laps]
    alone, following, whole = (quiet_median(times) / LENGTH for times in (plain, followed, marked))
    inside = max(0.0, quiet_median(laps) - alone) if laps else 0.0
    following = max(0.0, following - alone)
    return inside, following, max(0.0, whole - alone - following - inside)


def _time(model: nn.Module, x: Tensor, clock: Clock) -> int:
    """Return the nanoseconds of one run."""
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
    alone = quiet_median(plain) / LENGTH
    whole = max(0.0, quiet_median(hooked) / LENGTH - alone)
    inside = min(whole, max(0.0, quiet_median(laps) - alone))
    return inside, whole - inside


def _backward_time(x: Tensor, clock: Clock, watch: BackwardStopwatch | None) -> int:
    """Return the nanoseconds of the backward pass of a chain of small calls."""
    leaf = x.detach().clone().requires_grad_()
    made = leaf
    for _ in range(LENGTH):
        made = torch.neg(made)
    if watch is not None:
        watch.made(0, made)
    begin = clock()
    torch.autograd.backward(made, torch.ones_like(made))
    return clock() - begin
