"""Arguments of PyTorch calls in the form that ops write them."""

from __future__ import annotations

from typing import Any

import torch


def short(value: Any) -> Any:
    """Return a list of equal numbers as that number, another list as a tuple, and all else unchanged."""
    if isinstance(value, (list, tuple, torch.Size)):
        numbers = tuple(int(v) for v in value)
        return numbers[0] if numbers and len(set(numbers)) == 1 else numbers
    return value


def optional(value: Any) -> Any:
    """Return `short(value)`, and None for an empty list (PyTorch's other way to leave a stride out)."""
    made = short(value)
    return None if made == () else made


def number(value: Any) -> float:
    """Return a Python number."""
    return value if isinstance(value, (int, float)) else float(value)
