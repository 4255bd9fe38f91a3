"""Activation checkpoints, without which gradients are followed: they would run parts again on the way back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from torch.utils import checkpoint


def _followed(*arguments: Any, **keywords: Any) -> Iterator[None]:
    """Do nothing before and after a checkpointed part."""
    yield


def _called(function: Callable[..., Any], preserve: bool, *arguments: Any) -> Any:
    """Return what a checkpointed part makes."""
    return function(*arguments)


@contextmanager
def without_checkpoints() -> Iterator[None]:
    """Let checkpointed parts run as if they were not, whatever name a model knows `checkpoint` by."""
    plain = SimpleNamespace(apply=_called)
    with (
        patch.object(checkpoint, "_checkpoint_without_reentrant_generator", _followed),
        patch.object(checkpoint, "CheckpointFunction", plain),
    ):
        yield
