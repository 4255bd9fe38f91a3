"""Instrumentation: which layer every computation of a run belongs to, and who is informed when it begins and ends.

A network that was built from a layer graph runs node by node, and each node is a row. A traced PyTorch model is
followed call by call: see `call_instrumentation`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from cnnstat.pytorch.modules.network import Network
from cnnstat.pytorch.tensors import changed_in


class Observer:
    """Is informed of every op call of an observed run; measures nothing itself.

    row: index of the node in the graph, or UNATTRIBUTED; call: how often the row was called before in this run.
    """

    def enter(self, row: int, call: int) -> None:
        """The computation of a row begins now."""

    def leave(self, row: int, call: int) -> None:
        """It has ended, with or without an error."""

    def returned(self, row: int, result: Any) -> None:
        """What it returned; comes after `leave`."""


@dataclass(frozen=True, slots=True, eq=False)
class LayerCall:
    """One computation of a row, with all it needs to be run alone; tensors are copies, weights the model's own."""

    row: int
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]

    def run(self) -> Any:
        """Run it, and return what it makes."""
        return self.function(*self.arguments, **self.keywords)


class Instrumentation(Protocol):
    """Knows which row every op call of a model belongs to.

    counts: how often each row is called in a run.
    passed_over: calls of a run that are looked at and let pass.
    diverged: how many observed runs took another path than the first one.
    below: whether calls below Python are looked at, which costs time in every operation.
    """

    diverged: int
    below: bool

    @property
    def counts(self) -> Mapping[int, int]:
        """Calls of each row."""

    @property
    def passed_over(self) -> int:
        """Calls that belong to no row and are not observed."""

    def observing(self, observer: Observer) -> AbstractContextManager[None]:
        """While active, the observer is informed in every run of the model."""

    def capturing(self, into: list[LayerCall]) -> AbstractContextManager[None]:
        """While active, a run of the model puts its computations there."""


def observed(
    observer: Observer,
    row: int,
    call: int,
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    keywords: Mapping[str, Any] = {},  # read only
) -> Any:
    """Run a computation of a row while an observer is informed of it."""
    observer.enter(row, call)
    try:
        result = function(*arguments, **keywords)
    finally:
        observer.leave(row, call)
    observer.returned(row, result)
    return result


def copied(value: Any, stored: set[int]) -> Any:
    """Return nested arguments with copies of their tensors but those that are stored; memory formats are kept."""

    def copy(tensor: Tensor) -> Tensor:
        return tensor if id(tensor) in stored else tensor.detach().clone(memory_format=torch.preserve_format)

    return changed_in(value, Tensor, copy)


class NetworkInstrumentation:
    """Runs the steps of a network, and informs an observer where there is one.

    The network finds its modules once instead of in every run, so that a plain run is as fast as it can be.
    """

    diverged = 0
    passed_over = 0
    below = False

    def __init__(self, network: Network) -> None:
        self._modules = [network.get_submodule(step.path) for step in network.network_steps]
        self.counts = dict.fromkeys(range(len(self._modules)), 1)
        self._observer: Observer | None = None
        self._captured: list[LayerCall] | None = None
        object.__setattr__(network, "_compute_step", self._compute_step)

    def _compute_step(self, row: int, path: str, arguments: list[Tensor]) -> Any:
        module = self._modules[row]
        if self._captured is not None:
            self._captured.append(LayerCall(row, module, copied(tuple(arguments), set()), {}))
        if self._observer is None:
            return module(*arguments)
        return observed(self._observer, row, 0, module, tuple(arguments))

    @contextmanager
    def observing(self, observer: Observer) -> Iterator[None]:
        self._observer = observer
        try:
            yield
        finally:
            self._observer = None

    @contextmanager
    def capturing(self, into: list[LayerCall]) -> Iterator[None]:
        self._captured = into
        try:
            yield
        finally:
            self._captured = None
