"""What a model's own code sees during a trace: plain types of tensors."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

import torch
from torch import nn

from cnnstat.pytorch.fake import FAKE_TYPE
from cnnstat.pytorch.module_stack import Modules
from cnnstat.pytorch.nested_state import SIMPLE
from cnnstat.pytorch.random_generators import DATES, SYSTEM_CALLS, is_generator
from cnnstat.pytorch.thread_changes import acting_thread, replaced, unreplaced


class _KindOfType(builtins.type):
    """Lets `type(x)` say of a fake tensor what it stands for; all else is as with Python's `type`."""

    def __call__(cls, *arguments: Any, **keywords: Any) -> Any:
        """Return the type of a value, or a new type."""
        if len(arguments) != 1:
            return builtins.type(*arguments, **keywords)
        result = builtins.type(arguments[0])
        return _plain_type(arguments[0]) if result is FAKE_TYPE else result

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, builtins.type)

    def __subclasscheck__(cls, subclass: Any) -> bool:
        return issubclass(subclass, builtins.type)


class _PlainType(builtins.type, metaclass=_KindOfType):
    """Stands for `type` in a model's own code."""


def _plain_type(fake: Any) -> builtins.type:
    """Return the type of the tensor that a fake one stands for."""
    return nn.Parameter if getattr(fake, "_is_param", False) else torch.Tensor


_tracing: list[int] = []
"""The threads in which traces are made, the running one last."""


class _PlainClass(torch.Tensor):
    """A base that fake tensors have during a trace, for an attribute that cannot be set on a class that is there."""

    @property  # type: ignore[misc]  # a class cannot be set, and nobody does
    def __class__(self) -> Any:
        """The type of the tensor that it stands for."""
        return _plain_type(self) if acting_thread() == _tracing[-1] else builtins.type(self)


def _has_none(*_: Any) -> bool:
    """Stand for `has_torch_function`, since a trace is not to be seen."""
    return False


_NAMES = ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")


def _asked_by_name(name: str) -> tuple[Any, str, Any]:
    """Return what stands for such a function where it is called as `torch.overrides.has_torch_function`."""

    def ask(*arguments: Any) -> bool:
        # Above this one is the switch that asks which thread calls.
        is_of_torch = _top(sys._getframe(2).f_globals.get("__name__") or "") == "torch"
        return is_of_torch and bool(unreplaced(torch.overrides, name)(*arguments))

    return torch.overrides, name, ask


_ASKED_BY_NAME = tuple(_asked_by_name(name) for name in _NAMES if hasattr(torch.overrides, name))

_OF_TORCH = {id(getattr(torch.overrides, name)): _has_none for name in _NAMES if hasattr(torch.overrides, name)}

_ASKS = frozenset({**_OF_TORCH, **DATES, **SYSTEM_CALLS})
"""What asks for a trace or the system, by identity: every trace looks for them among all names of a library."""


def _stand_in(value: Any) -> Any:
    """Return what a model's code has for a value of these; the value itself where it is none of them."""
    if id(value) in SYSTEM_CALLS:
        return getattr(*SYSTEM_CALLS[id(value)])  # asks which thread calls, as does all that is replaced for one
    return _OF_TORCH.get(id(value)) or DATES.get(id(value), value)


@contextmanager
def told_by_stand_ins(names: Iterable[str]) -> Iterator[list[_Home]]:
    """Let the code of a model ask stand-ins for torch's overrides and the system, whatever it has imported by name.

    names: of the modules of Python that its classes or functions are in; the modules of all its code are yielded.
    """
    homes = list(_homes_of(names))
    changed: list[tuple[dict[str, Any], str, Any]] = []
    for home in homes:
        for own in home.asking:
            value = home.names.get(own)
            stand_in = _stand_in(value)
            if stand_in is not value:
                changed.append((home.names, own, value))
                home.names[own] = stand_in
    try:
        yield homes
    finally:
        for table, own, value in reversed(changed):
            table[own] = value


class _Home(NamedTuple):
    """A module of Python and its names, with how many there were, and those of functions that ask.

    drawing: random generators, and containers and objects that may hold some, in files of the user's own.
    """

    name: str
    module: ModuleType
    names: dict[str, Any]
    size: int
    asking: list[str]
    drawing: list[Any]


class _Homes:
    """The modules of packages as they were last time: to look through a library takes longer than a small trace.

    count, last: how many modules were loaded, and the last of them by name and itself.
    """

    def __init__(self) -> None:
        self._count = 0
        self._last: tuple[str, Any] = ("", None)
        self._of: dict[str, list[_Home]] = {}

    def of(self, package: str) -> list[_Home]:
        """Return the modules of a package that are loaded."""
        # New modules come last, so that there are more of them or the last is another; one may also be replaced.
        last = next(reversed(sys.modules))
        if len(sys.modules) != self._count or (last, sys.modules.get(last)) != self._last:
            self._count, self._last = len(sys.modules), (last, sys.modules.get(last))
            self._of.clear()
        known = self._of.get(package)
        if known is None:
            loaded = [(name, home) for name, home in list(sys.modules.items()) if home is not None]
            known = [_looked_through(*each) for each in loaded if _top(each[0]) == package]
        elif package == "__main__" or not all(map(_is_as_it_was, known)):
            # What a person types has new values under old names; code in a file has not.
            homes = [(home, sys.modules.get(home.name)) for home in known]
            is_typed = package == "__main__"
            known = [
                old if _is_as_it_was(old) and not is_typed else _looked_through(old.name, new)
                for old, new in homes
                if new
            ]
        self._of[package] = known
        return known


_homes = _Homes()


def _is_as_it_was(home: _Home) -> bool:
    return len(home.names) == home.size and sys.modules.get(home.name) is home.module


def _looked_through(name: str, module: ModuleType) -> _Home:
    names = vars(module)
    asking = [own for own, value in names.items() if id(value) in _ASKS]
    is_own = "-packages" not in (getattr(module, "__file__", None) or "")
    drawing = [value for own, value in names.items() if not own.startswith("__") and _may_draw(value, is_own)]
    return _Home(name, module, names, len(names), asking, drawing)


def _may_draw(value: Any, is_own: bool) -> bool:
    kind: Any = builtins.type(value)
    return is_generator(kind) or (is_own and kind not in SIMPLE - {builtins.type} and kind is not ModuleType)


_NO_MODELS = frozenset(sys.stdlib_module_names) | {"", "torch", "builtins", "cnnstat", "numpy", "typing_extensions"}
"""Packages whose code is not a model's."""


def _top(module: str) -> str:
    return module.partition(".")[0]


@lru_cache(maxsize=8)
def _packages(own: frozenset[str], imported: int) -> frozenset[str]:
    """Return the packages of a model's classes, and those of whose functions these make use, and so on.

    imported: how many modules are imported, as the answer holds until there are more.
    """
    found: set[str] = set()
    waiting = own - _NO_MODELS
    while waiting:
        found |= waiting
        homes = [vars(home) for name, home in list(sys.modules.items()) if home is not None and _top(name) in waiting]
        used = {_top(_home_of(value)) for names in homes for value in list(names.values())}
        waiting = frozenset(used - found - _NO_MODELS)
    return frozenset(found)


def _home_of(value: Any) -> str:
    """Return the module of a function or class, or the name of a module; empty for other values."""
    kind = builtins.type(value)  # isinstance would ask objects that import what they stand for
    if issubclass(kind, ModuleType):
        return str(value.__name__)
    return str(value.__module__ or "") if issubclass(kind, FunctionType | builtins.type) else ""


def _homes_of(names: Iterable[str]) -> Iterator[_Home]:
    """Yield the modules of Python that a model's code is in; names: of those that its classes or functions are in."""
    packages = _packages(frozenset(map(_top, names)), len(sys.modules))
    for package in packages - {"torch", "builtins", "cnnstat"}:
        yield from _homes.of(package)


def names_of(modules: Modules) -> Iterator[str]:
    """Yield the names of the modules of Python that a model's classes are in."""
    return (type(module).__module__ or "" for _, module in modules)


def drawing_values(names: Iterable[str]) -> Iterator[Any]:
    """Yield the random generators that the files of a model's code hold, and what may hold further ones.

    names: of the modules of Python that its classes or functions are in.
    """
    for home in _homes_of(names):
        yield from home.drawing


@contextmanager
def plain_types(modules: Modules) -> Iterator[None]:
    """Let the code of a model take fake tensors for plain ones in `type(x) is torch.Tensor` and `has_torch_function`.

    Attention that is copied from PyTorch asks both, and would take another way. PyTorch's own functions go on asking,
    which is how a trace sees them. `x.__class__` is a plain type too.
    """
    with told_by_stand_ins(names_of(modules)) as homes:
        # A module of Python may be there under two names.
        untyped = list({id(home.names): home.names for home in homes if "type" not in home.names}.values())
        for names in untyped:
            names["type"] = _PlainType
        _tracing.append(acting_thread())
        bases, FAKE_TYPE.__bases__ = FAKE_TYPE.__bases__, (_PlainClass,)
        try:
            with replaced(*_ASKED_BY_NAME):
                yield
        finally:
            FAKE_TYPE.__bases__ = bases
            _tracing.pop()
            for names in untyped:
                del names["type"]
