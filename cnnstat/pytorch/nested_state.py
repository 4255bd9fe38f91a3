"""Nested module state: containers and objects that modules hold, of any depth, with snapshot and restore."""

from __future__ import annotations

import sys
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from functools import _lru_cache_wrapper
from types import FunctionType, SimpleNamespace
from typing import Any

import torch
from torch import nn

MAX_DEPTH = 12
"""How deep containers and objects are looked into."""

MAX_COUNT = 10_000
"""How many of them are, so that a model that knows its whole training program costs no time."""

_KINDS: tuple[type, ...] = (OrderedDict, dict, list, set, deque)

SIMPLE = frozenset((int, float, complex, bool, str, bytes, type(None), type, FunctionType, torch.dtype, torch.Size))
"""Kinds of values that hold nothing."""

_FOREIGN = (sys.stdlib_module_names | {"torch", "numpy"}) - {"__main__"}
"""Packages whose objects are no part of a model's state."""


class NestedState:
    """The containers and objects below some values; tensors in them have substitutes until `restore`."""

    def __init__(self, modules: Iterable[nn.Module], substitute: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self._substitute = substitute
        self._seen: dict[int, Any] = {id(module): module for module in modules}
        self._limit = len(self._seen) + MAX_COUNT
        self._contents: list[tuple[Any, Any]] = []
        self._caches: list[tuple[Any, int]] = []

    def replaced(self, value: Any, depth: int = 0) -> Any:
        """Return the substitute of a value: containers and objects are themselves, but their tensors are replaced."""
        if type(value) in SIMPLE:
            return value
        if isinstance(value, torch.Tensor):
            return self._substitute(value)
        if isinstance(value, tuple):
            return self._tuple(value, depth)
        # Visited once, as containers may be shared or contain themselves; kept alive, so that no id is used again.
        if id(value) not in self._seen and depth < MAX_DEPTH and len(self._seen) < self._limit:
            self._seen[id(value)] = value
            if isinstance(value, _KINDS):
                self._look_into(value, depth)
            if has_state(value):
                self._look_into(vars(value), depth)
        return value

    def add_class(self, cls: type) -> None:
        """Keep the containers and caches that a class holds for all its instances."""
        for name, value in vars(cls).items():
            if isinstance(value, _lru_cache_wrapper):
                self._caches.append((value, value.cache_info().currsize))
            elif isinstance(value, _KINDS) and not name.startswith("__"):
                self.replaced(value)

    def restore(self) -> None:
        """Give all of them their former content."""
        for table, content in self._contents:
            if not _is_same(table, content):
                _fill(table, content)
        for cache, size in self._caches:
            # Entries of the trace cannot be told from older ones, and may hold fake tensors: all of them go.
            if cache.cache_info().currsize != size:
                cache.cache_clear()

    def _tuple(self, value: tuple[Any, ...], depth: int) -> tuple[Any, ...]:
        """Return a tuple with substitutes; the same one if nothing in it has to be."""
        if SIMPLE.issuperset(map(type, value)):
            return value
        result = [self.replaced(item, depth + 1) for item in value]
        if all(new is old for new, old in zip(result, value)):
            return value
        return type(value)(*result) if hasattr(value, "_fields") else type(value)(result)

    def _look_into(self, table: Any, depth: int) -> None:
        """Keep a container's content, and put substitutes in the places of its tensors."""
        content: Any = dict(table) if isinstance(table, dict) else list(table)
        result: Any = (
            {key: self.replaced(item, depth + 1) for key, item in content.items()}
            if isinstance(table, dict)
            else [self.replaced(item, depth + 1) for item in content]
        )
        self._contents.append((table, content))
        # Tensors in a set are left alone: they have no place.
        if not isinstance(table, set) and not _is_same(table, result):
            _fill(table, result)


def has_state(value: Any) -> bool:
    """Whether a value is an object with attributes that a model's code may change."""
    kind = type(value)
    if not hasattr(value, "__dict__") or isinstance(value, type):
        return False
    if isinstance(value, (nn.Module, SimpleNamespace)):
        return not isinstance(value, torch.jit.ScriptModule)
    return (kind.__module__ or "").partition(".")[0] not in _FOREIGN


def _is_same(table: Any, content: Any) -> bool:
    """Whether a container holds these very objects."""
    if len(table) != len(content):
        return False
    if isinstance(table, dict):
        return all(old[0] == new[0] and old[1] is new[1] for old, new in zip(table.items(), content.items()))
    if isinstance(table, set):
        return {*map(id, table)} == {*map(id, content)}
    return all(old is new for old, new in zip(table, content))


def _fill(table: Any, content: Any) -> None:
    """Give a container other content, whatever its class makes of the ways to change it."""
    base: Any = next(kind for kind in _KINDS if isinstance(table, kind))
    base.clear(table)
    if isinstance(table, dict):
        for key, item in content.items():
            base.__setitem__(table, key, item)
    elif isinstance(table, set):
        set.update(table, content)
    else:
        base.extend(table, content)
