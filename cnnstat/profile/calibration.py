"""Calibration: what instrumentation costs on a device, measured on chains of calls that do nearly nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from cnnstat.ir.graph import Edge
from cnnstat.profile.device import Clock
from cnnstat.profile.instrumentation import Instrumentation, NetworkInstrumentation, Observer
from cnnstat.profile.interleaved import median_without_outliers
from cnnstat.profile.runnable_model import RunnableModel
from cnnstat.profile.stopwatch import BackwardStopwatch, Costs, Stopwatch
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
        run=LENGTH * _marks(*_call_chain(torch.neg, None, below, 0), x, clock)[1],
    )


def _network_chain() -> tuple[nn.Module, Instrumentation]:
    """Return a network of layers that do nothing."""
    network = Network("chain", ("x",), (Edge(LENGTH),))
    network.add_module("layer", nn.Identity())
    network.network_steps = tuple(
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
