"""What one thread changes for itself: functions of libraries that run another way, warnings, logs, standard output.

These are settings of the whole process. Other threads run models meanwhile, so that nothing here is replaced for them:
what is put in place asks which thread calls.
"""

from __future__ import annotations

import inspect
import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import wraps
from types import FunctionType, MethodDescriptorType
from typing import Any


class _Thread(threading.local):
    """What the running thread has changed: functions in the place of others, and how many contexts ask for silence.

    acting: the thread on whose behalf it runs; itself, unless that one waits for it.
    """

    def __init__(self) -> None:
        self.acting = threading.get_ident()
        self.substitutes: dict[tuple[int, str], Callable[..., Any]] = {}
        self.quiet = 0
        self.to_stderr = 0


_thread = _Thread()
_lock = threading.RLock()


def acting_thread() -> int:
    """Return the number of the thread on whose behalf the running one works."""
    return _thread.acting


def inherited() -> Callable[[], AbstractContextManager[None]]:
    """Return what lets another thread run with all that this one has changed, on its behalf."""
    given = dict(vars(_thread))

    @contextmanager
    def as_here() -> Iterator[None]:
        before = dict(vars(_thread))
        vars(_thread).update(given)
        try:
            yield
        finally:
            vars(_thread).update(before)

    return as_here


# Functions ------------------------------------------------------------------------------------------------------------

_MISSING = object()


class _TypeSwitch:
    """A type of a library that asks which thread makes an instance; in all else it is the type."""

    def __init__(self, original: type, key: tuple[int, str]) -> None:
        self._original, self._key = original, key

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        return _thread.substitutes.get(self._key, self._original)(*arguments, **keywords)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)

    def __instancecheck__(self, instance: Any) -> bool:
        return isinstance(instance, self._original)

    # What modules that are imported meanwhile do with types: bases of classes, annotations, keys of tables.
    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type, ...]:
        return (self._original,)

    def __or__(self, other: Any) -> Any:
        return self._original | other

    def __ror__(self, other: Any) -> Any:
        return other | self._original

    def __eq__(self, other: object) -> bool:
        return self._original is getattr(other, "_original", other)

    def __hash__(self) -> int:
        return hash(self._original)


class _Switch:
    """A function of a library that asks which thread calls; in place for as long as any thread needs it."""

    def __init__(self, owner: Any, name: str) -> None:
        self._users = 0
        self._owner, self._name = owner, name
        self._original = vars(owner).get(name, _MISSING)
        self.function, key = getattr(owner, name), (id(owner), name)
        function = self.function
        if isinstance(function, type):
            self._switch: Any = _TypeSwitch(function, key)
            return

        @wraps(function)
        def switch(*arguments: Any, **keywords: Any) -> Any:
            return _thread.substitutes.get(key, function)(*arguments, **keywords)

        is_method = isinstance(inspect.getattr_static(owner, name), (MethodDescriptorType, FunctionType))
        self._switch = staticmethod(switch) if isinstance(owner, type) and not is_method else switch

    def is_of_now(self) -> bool:
        """Whether it is in place, or can be put there again: nobody has replaced the function since it was made."""
        return self._users > 0 or vars(self._owner).get(self._name, _MISSING) is self._original

    def is_in_place(self) -> bool:
        """Whether some thread uses it."""
        return self._users > 0

    def put(self) -> None:
        """Put it in place for one more user."""
        if not self._users:
            setattr(self._owner, self._name, self._switch)
        self._users += 1

    def remove(self) -> None:
        """Put the original back after the last user, unless somebody else has replaced the function since."""
        self._users -= 1
        if self._users or vars(self._owner).get(self._name) is not self._switch:
            return
        if self._original is _MISSING:
            delattr(self._owner, self._name)
        else:
            setattr(self._owner, self._name, self._original)


_switches: dict[tuple[int, str], _Switch] = {}
"""The switches that were made: to make them takes longer than a small trace."""


def unreplaced(owner: Any, name: str) -> Any:
    """Return a function of a module or class as it is where no thread runs it another way."""
    with _lock:
        switch = _switches.get((id(owner), name))
        return switch.function if switch is not None and switch.is_in_place() else getattr(owner, name)


@contextmanager
def replaced(*replacements: tuple[Any, str, Callable[..., Any]]) -> Iterator[None]:
    """Let functions run another way in this thread alone; each is a module or class, a name, and what runs instead."""
    keys = [(id(owner), name) for owner, name, _ in replacements]
    before, switches = _thread.substitutes, list[_Switch]()
    with _lock:
        for key, (owner, name, _) in zip(keys, replacements):
            switch = _switches.get(key)
            if switch is None or not switch.is_of_now():
                switch = _switches[key] = _Switch(owner, name)
            switch.put()
            switches.append(switch)
    _thread.substitutes = {**before, **{key: function for key, (_, _, function) in zip(keys, replacements)}}
    try:
        yield
    finally:
        _thread.substitutes = before
        with _lock:
            for switch in switches:
                switch.remove()


# Warnings and logs ----------------------------------------------------------------------------------------------------


class _InQuietThread:
    """Stands in a warning filter for the pattern that a message has to match."""

    def match(self, message: str) -> bool:
        """Whether the running thread asks for silence, whatever the message is."""
        return _thread.quiet > 0


QUIET: Any = ("ignore", _InQuietThread(), Warning, None, 0)


_quiet_contexts = 0


@contextmanager
def quiet() -> Iterator[None]:
    """Keep this thread's warnings off the terminal; `warnings.catch_warnings` would change those of all threads."""
    global _quiet_contexts
    with _lock:
        _quiet_contexts += 1
        if QUIET not in warnings.filters:
            warnings.filters.insert(0, QUIET)  # type: ignore[attr-defined]  # a list, whatever its type says
    _thread.quiet += 1
    try:
        yield
    finally:
        _thread.quiet -= 1
        with _lock:
            _quiet_contexts -= 1
            if not _quiet_contexts and QUIET in warnings.filters:
                warnings.filters.remove(QUIET)  # type: ignore[attr-defined]


def silence_when_quiet(logger: str) -> None:
    """Let a logger drop what a thread logs that asks for silence."""
    logging.getLogger(logger).addFilter(lambda record: _thread.quiet == 0)


# Standard output ------------------------------------------------------------------------------------------------------


class _Stdout:
    """Standard output that sends to standard error what some threads write."""

    def __init__(self, original: Any) -> None:
        self.original = original
        self.users = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr if _thread.to_stderr else self.original, name)


@contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Send to standard error what this thread prints, as a report goes to standard output."""
    with _lock:
        proxy = sys.stdout if isinstance(sys.stdout, _Stdout) else _Stdout(sys.stdout)
        sys.stdout = proxy
        proxy.users += 1
    _thread.to_stderr += 1
    try:
        yield
    finally:
        _thread.to_stderr -= 1
        with _lock:
            proxy.users -= 1
            if not proxy.users and sys.stdout is proxy:
                sys.stdout = proxy.original
