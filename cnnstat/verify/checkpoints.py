"""Activation checkpoints, without which gradients are followed: they would run parts again on the way back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
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
    """Let checkpointed parts run as if they were not, whatever name a model knows `checkpoint` by.

    What PyTorch does before and after such a part has other names in other releases; where none is known, gradients
    that do not come through are told of.
    """
    inner = [name for name in vars(checkpoint) if name.startswith("_checkpoint_without_reentrant_generator")]
    with ExitStack() as stack:
        for name in inner:
            stack.enter_context(patch.object(checkpoint, name, _followed))
        stack.enter_context(patch.object(checkpoint, "CheckpointFunction", SimpleNamespace(apply=_called)))
        yield
