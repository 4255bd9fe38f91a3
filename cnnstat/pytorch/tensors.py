"""Small facts about tensors: shape, dtype, storage, and the tensors of a nested value."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import torch

from cnnstat.ir.graph import DTYPE_BYTES
from cnnstat.ir.op import Shape

PLAIN = frozenset((bool, int, float, complex, str, type(None), type(...)))
"""Kinds of arguments that are what they are, and hold nothing."""

WITHOUT_TENSORS = PLAIN | {slice}
"""Kinds of arguments in which there is no tensor."""

_DTYPE_NAMES: dict[torch.dtype, str] = {}


def shape_of(tensor: torch.Tensor) -> Shape:
    """Return the sizes of a tensor as plain integers."""
    return tuple(tensor.shape)


def dtype_of(tensor: torch.Tensor) -> str:
    """Return the name of a tensor's dtype; one that cnnstat does not know is named by the size of its elements."""
    dtype = tensor.dtype
    if dtype not in _DTYPE_NAMES:
        # A quantized number is an integer: qint8 and quint8.
        name = str(dtype).removeprefix("torch.").removeprefix("q")
        sized = {1: "uint8", 2: "int16", 4: "int32", 8: "int64", 16: "complex128"}
        _DTYPE_NAMES[dtype] = name if name in DTYPE_BYTES else sized[dtype.itemsize]
    return _DTYPE_NAMES[dtype]


def storage_key(tensor: torch.Tensor) -> int:
    """Return a number that all views of one tensor have in common; 0 for one without a storage (a sparse one)."""
    try:
        return int(tensor.untyped_storage()._cdata)
    except (NotImplementedError, RuntimeError, ValueError):
        return 0


def view_of(tensor: torch.Tensor) -> tuple[Any, ...]:
    """Return which elements of its storage a tensor has, in which order and as what."""
    layout: Any = tensor.layout
    if layout is not torch.strided:
        return tensor.shape, layout, tensor.dtype
    return tensor.shape, tensor.stride(), tensor.storage_offset(), tensor.dtype


def changed_in(value: Any, kinds: type | tuple[type, ...], change: Callable[[Any], Any]) -> Any:
    """Return a nested value with all that is of some kinds changed, in order."""
    if isinstance(value, kinds):
        return change(value)
    if isinstance(value, dict):
        return {name: changed_in(item, kinds, change) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        parts = [changed_in(item, kinds, change) for item in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value


def tensors_in(value: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors of a nested value, in order; objects are looked into one level of fields deep."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from tensors_in(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors_in(item)
    elif hasattr(value, "__dict__") and not isinstance(value, (type, torch.nn.Module)):
        for item in vars(value).values():
            if isinstance(item, (torch.Tensor, list, tuple, dict)):
                yield from tensors_in(item)


_DEPTH = 4
"""How many objects, each held by the one before, a result is looked into."""


def results_in(value: Any, depth: int = _DEPTH, seen: set[int] | None = None) -> Iterator[torch.Tensor]:
    """Yield the tensors of a model's result, in order; objects are looked into several deep, each of them once."""
    seen = set() if seen is None else seen
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (list, tuple, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from results_in(item, depth, seen)
    elif depth and id(value) not in seen and _is_record(value):
        seen.add(id(value))
        for item in vars(value).values():
            yield from results_in(item, depth - 1, seen)


def _is_record(value: Any) -> bool:
    """Whether a value is an object that may hold tensors, rather than code."""
    return hasattr(value, "__dict__") and not callable(value) and not isinstance(value, (type, ModuleType))


def operands_in(arguments: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors among the arguments of a call."""
    for item in arguments:
        if type(item) in WITHOUT_TENSORS:
            continue
        if isinstance(item, torch.Tensor):
            yield item
        elif isinstance(item, (list, tuple)):
            # To walk through sizes and indices would take longer than all else.
            if not WITHOUT_TENSORS.issuperset(map(type, item)):
                yield from operands_in(item)
        elif isinstance(item, dict):
            yield from operands_in(item.values())
