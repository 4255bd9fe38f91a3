"""What is put back when a call of the Python interface ends; a command ends its process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any


class _Thread(threading.local):
    """The contexts that end with the call of the running thread, and what made them."""

    def __init__(self) -> None:
        self.contexts: ExitStack | None = None
        self.entered: set[Callable[..., Any]] = set()


_thread = _Thread()


@contextmanager
def call_cleanup() -> Iterator[None]:
    """Let contexts of `until_call_ends` last to the end of this block, or of the outermost such block around it."""
    if _thread.contexts is not None:
        yield
        return
    with ExitStack() as contexts:
        _thread.contexts = contexts
        try:
            yield
        finally:
            _thread.contexts = None
            _thread.entered.clear()


def until_call_ends(make: Callable[[], AbstractContextManager[Any]]) -> None:
    """Enter a context that lasts until the call ends, unless the call has entered it already; none outside of calls."""
    if _thread.contexts is not None and make not in _thread.entered:
        _thread.entered.add(make)
        _thread.contexts.enter_context(make())
