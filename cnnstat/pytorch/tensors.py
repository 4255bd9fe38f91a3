"""Small facts about tensors: shape, dtype, storage, and the tensors of a nested value."""

from __future__ import annotations

import copy
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


def is_dense(tensor: torch.Tensor) -> bool:
    """Whether a tensor has a place in memory for each of its elements, unlike a sparse one."""
    layout: Any = tensor.layout
    return layout is torch.strided


def view_of(tensor: torch.Tensor) -> tuple[Any, ...]:
    """Return which elements of its storage a tensor has, in which order and as what."""
    layout: Any = tensor.layout
    if layout is not torch.strided:
        return tensor.shape, layout, tensor.dtype
    return tensor.shape, tensor.stride(), tensor.storage_offset(), tensor.dtype


def changed_in(value: Any, kinds: type | tuple[type, ...], change: Callable[[Any], Any]) -> Any:
    """Return a nested value with all that is of some kinds changed, in order; objects that hold some are copied."""
    if isinstance(value, kinds):
        return change(value)
    if isinstance(value, (list, tuple, dict)):
        items = value.values() if isinstance(value, dict) else value
        return with_items(value, [changed_in(item, kinds, change) for item in items])
    if not is_record(value) or next(found_in(value, kinds), None) is None:
        return value
    return with_fields(value, {name: changed_in(item, kinds, change) for name, item in fields_of(value).items()})


def with_items(value: Any, items: list[Any]) -> Any:
    """Return a list, tuple or dictionary of the same kind with other items."""
    if type(value) is dict:
        return dict(zip(value, items))
    if isinstance(value, dict):
        result = copy.copy(value)
        for name, item in zip(value, items):
            result[name] = item
        return result
    return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)


def with_fields(value: Any, fields: dict[str, Any]) -> Any:
    """Return a copy of an object with other values of some attributes."""
    result = copy.copy(value)
    for name, item in fields.items():
        # Data classes may be frozen.
        object.__setattr__(result, name, item)
    return result


def fields_of(value: Any) -> dict[str, Any]:
    """Return the attributes of an object, those of classes with slots too."""
    slots = (each for cls in type(value).__mro__ for each in getattr(cls, "__slots__", ()) if each != "__dict__")
    return {**{name: getattr(value, name) for name in slots if hasattr(value, name)}, **getattr(value, "__dict__", {})}


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


def results_in(value: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors of a model's result, in order; objects are looked into several deep, each of them once."""
    return found_in(value, torch.Tensor)


def found_in(
    value: Any, kinds: type | tuple[type, ...], depth: int = _DEPTH, seen: set[int] | None = None
) -> Iterator[Any]:
    """Yield what is of some kinds in a nested value, in order, as `results_in` does."""
    seen = set() if seen is None else seen
    if isinstance(value, kinds):
        yield value
    elif isinstance(value, (list, tuple, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from found_in(item, kinds, depth, seen)
    elif depth and id(value) not in seen and is_record(value):
        seen.add(id(value))
        for item in fields_of(value).values():
            yield from found_in(item, kinds, depth - 1, seen)


def is_record(value: Any) -> bool:
    """Whether a value is an object that may hold tensors, rather than code or a number."""
    if type(value) in PLAIN or callable(value) or isinstance(value, (type, ModuleType)):
        return False
    return hasattr(value, "__dict__") or hasattr(type(value), "__slots__")


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
