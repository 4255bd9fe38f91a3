"""Replays: recorded calls with their arguments, as plain values, so that they can be made again."""

from __future__ import annotations

from typing import Any, NamedTuple


class InputNumber(NamedTuple):
    """Stands for an input of the node among the arguments of a call."""

    number: int


class SliceOf(NamedTuple):
    """Stands for a slice."""

    start: int | None
    stop: int | None
    step: int | None


class DtypeName(NamedTuple):
    """Stands for a dtype of PyTorch."""

    name: str


class Replay(NamedTuple):
    """How to make a recorded call again: function, arguments and keyword arguments, as plain values and stand-ins."""

    function: str
    arguments: tuple[Any, ...]
    keywords: tuple[tuple[str, Any], ...] = ()
