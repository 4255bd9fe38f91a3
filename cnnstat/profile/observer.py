"""Observers: who is told when the computation of a row begins and ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

UNATTRIBUTED = -1
"""The row of op calls that belong to no layer: work on weights, constants, and what the trace did not see."""


class Observer:
    """Told of every op call of a marked run; measures nothing itself.

    row: index of the node in the graph, or UNATTRIBUTED; call: how often the row was called before in this run.
    """

    def enter(self, row: int, call: int) -> None:
        """The computation of a row begins now."""

    def leave(self, row: int, call: int) -> None:
        """It has ended, with or without an error."""

    def made(self, row: int, result: Any) -> None:
        """What it returned; told after `leave`."""


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


class Marks(Protocol):
    """Knows which row every op call of a model belongs to.

    counts: how often each row is called in a run.
    passed_over: calls of a run that are looked at and let pass.
    diverged: how many marked runs took another path than the first one.
    """

    diverged: int

    @property
    def counts(self) -> Mapping[int, int]:
        """Calls of each row."""

    @property
    def passed_over(self) -> int:
        """Calls that belong to no row and are not told of."""

    def marking(self, observer: Observer) -> AbstractContextManager[None]:
        """While active, every run of the model tells the observer."""

    def capturing(self, found: list[LayerCall]) -> AbstractContextManager[None]:
        """While active, a run of the model puts its computations there."""


def copied(value: Any, stored: set[int]) -> Any:
    """Return nested arguments with copies of their tensors but those that are stored; memory formats are kept."""
    if isinstance(value, Tensor):
        if id(value) in stored:
            return value
        return value.detach().clone(memory_format=torch.preserve_format)
    if isinstance(value, dict):
        return {name: copied(item, stored) for name, item in value.items()}
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        return type(value)(copied(item, stored) for item in value)
    return value
