"""Calls as plain values: names by which functions are found again, and arguments with references to tensors."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache, reduce
from types import FunctionType, ModuleType
from typing import Any

import torch
from torch.nn import functional

from cnnstat.ir.recorded_call import OwnDevice, SliceOf, TorchName

_PARTS = ("linalg", "fft", "special")
"""Parts of PyTorch whose functions have the part's name in front of their own."""


class NotPlainError(Exception):
    """A call cannot be written down."""


def path_of(function: Callable[..., Any]) -> str | None:
    """Return the name by which a function is found again, see `RecordedCall`; None where it has none."""
    try:
        return _path_of(function)
    except TypeError:
        return None  # what cannot be hashed is no function of PyTorch


@cache
def _path_of(function: Callable[..., Any]) -> str | None:
    """Work out what `path_of` returns."""
    if isinstance(function, torch._ops.OpOverload):
        return f"ops.{function.namespace}.{function._schema.name.split('::')[-1]}.{function._overloadname}"
    name = str(getattr(function, "__name__", ""))
    owner = getattr(function, "__self__", None)
    if name == "__get__":
        return f"Tensor.{getattr(owner, '__name__', '')}.get"
    for path in _candidates(name):
        home, *parts = path.split(".")
        root: Any = {"Tensor": torch.Tensor, "torch": torch, "F": functional}[home]
        try:
            result = reduce(getattr, parts, root)
        except AttributeError:
            continue
        if result is function and not isinstance(result, ModuleType):
            return path
    return None


def _candidates(name: str) -> list[str]:
    parts = [f"torch.{part}.{name.removeprefix(part + '_')}" for part in _PARTS if name.startswith(f"{part}_")]
    return [f"Tensor.{name}", f"Tensor.__{name}__", *parts, f"F.{name}", f"torch.{name}"]


def own_keywords(function: Callable[..., Any], keywords: dict[str, Any]) -> dict[str, Any]:
    """Return the keyword arguments that are no defaults of a function written in Python."""
    if not keywords or not isinstance(function, FunctionType):
        return keywords
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return keywords  # it stands for a function that is not written in Python
    defaults = {name: parameter.default for name, parameter in parameters.items()}
    return {
        name: value
        for name, value in keywords.items()
        if name not in defaults or type(value) is not type(defaults[name]) or value is not defaults[name]
    }


def plain_value(value: Any, tensor: Callable[[torch.Tensor], Any]) -> Any:
    """Return an argument as plain values and references; raises NotPlainError.

    tensor: returns the reference to a tensor.
    """
    if isinstance(value, torch.Tensor):
        return tensor(value)
    if value is None or value is ... or type(value) in (bool, int, float, str, complex):
        return value
    if isinstance(value, slice):
        return SliceOf(*(plain_value(part, tensor) for part in (value.start, value.stop, value.step)))
    if isinstance(value, (torch.dtype, torch.layout, torch.memory_format)):
        return TorchName(str(value).removeprefix("torch."))
    if isinstance(value, torch.device):
        return OwnDevice()
    if isinstance(value, (tuple, list)):
        result = tuple(plain_value(each, tensor) for each in value)
        # A list of numbers indexes, a tuple of numbers means one axis each.
        return list(result) if type(value) is list else result
    if isinstance(value, (int, float)):
        return plain_value(int(value) if isinstance(value, int) else float(value), tensor)
    item = getattr(value, "item", None)
    if type(value).__module__ == "numpy" and item is not None and getattr(value, "ndim", 1) == 0:
        return item()
    raise NotPlainError(f"it takes a {type(value).__name__}")
