"""Random generators of PyTorch, Python, NumPy and CUDA: their states, and how to leave them as they were."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


def generators() -> tuple[Any, Any, Any, Any]:
    """Return the states of PyTorch's, Python's and (where they are in use) NumPy's and CUDA's random generators."""
    numpy = sys.modules.get("numpy")
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None  # type: ignore[no-untyped-call]  # in PyTorch
    return torch.get_rng_state(), random.getstate(), numpy.random.get_state() if numpy is not None else None, devices


def restore_generators(states: tuple[Any, Any, Any, Any]) -> None:
    """Set the random generators to former states."""
    torch.set_rng_state(states[0])
    random.setstate(states[1])
    if states[2] is not None:
        sys.modules["numpy"].random.set_state(states[2])
    if states[3] is not None:
        torch.cuda.set_rng_state_all(states[3])


@contextmanager
def same_random_numbers() -> Iterator[None]:
    """Leave the random generators as they were."""
    states = generators()
    try:
        yield
    finally:
        restore_generators(states)
