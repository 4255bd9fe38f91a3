"""Calls whose answer may differ from run to run although every file is the same: random numbers, the time, arguments.

While a model is built they are watched; one that the model's own code makes is a reason not to keep what it built.
"""

from __future__ import annotations

import importlib.util
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

Refuse = Callable[[str], None]
"""Notes what a model asks, if the code that calls is the model's own and no framework's."""

DIRECT = {
    (time, "time"): "the time",
    (time, "time_ns"): "the time",
    (time, "localtime"): "the time",
    (time, "gmtime"): "the time",
    (time, "ctime"): "the time",
    (os, "getpid"): "the number of its process",
}
"""What only counts if the model's code calls it itself: Python's library asks for its own purposes, as logging does."""

THROUGH = {
    (os, "urandom"): "random numbers of the system",
    (random, "_urandom"): "random numbers of the system",
    (importlib.util, "find_spec"): "",
}
"""What counts through Python's library too, as through `secrets` and `uuid`; an empty reason stands for a module."""

TORCH = {
    "seed": "random numbers of the system",
    "from_file": "a file by native code",
}
"""The same of PyTorch."""


class _Arguments(list[str]):
    """The arguments of the command, which note that they are looked at."""

    look: Callable[[], None]

    def __getitem__(self, place: Any) -> Any:
        self.look()
        return super().__getitem__(place)

    def __iter__(self) -> Iterator[str]:
        self.look()
        return super().__iter__()

    def __len__(self) -> int:
        self.look()
        return super().__len__()


@contextmanager
def watched(refuse_direct: Refuse, refuse: Refuse, note_module: Callable[[str], None]) -> Iterator[None]:
    """While active, tell what is asked; for one that asks through Python's own library, `refuse` is called."""

    def noting(function: Callable[..., Any], tell: Callable[..., None]) -> Callable[..., Any]:
        @wraps(function)
        def call(*arguments: Any, **options: Any) -> Any:
            tell(*arguments)
            return function(*arguments, **options)

        return call

    replaced: list[tuple[Any, str, Any]] = []

    def replace(owner: Any, name: str, tell: Callable[..., None]) -> None:
        function = getattr(owner, name, None)
        if function is not None:
            replaced.append((owner, name, function))
            setattr(owner, name, noting(function, tell))

    for (owner, name), reason in DIRECT.items():
        replace(owner, name, lambda *_, reason=reason: refuse_direct(reason))
    for (owner, name), reason in THROUGH.items():
        replace(owner, name, lambda *a, reason=reason: refuse(reason) if reason else note_module(str(*a[:1])))
    unseeded = "random numbers without a seed"
    replace(random, "seed", lambda *a: refuse(unseeded) if not any(each is not None for each in a) else None)
    replace(random.Random, "seed", lambda _, *a: refuse(unseeded) if not any(e is not None for e in a) else None)
    if (torch := sys.modules.get("torch")) is not None:
        for name, reason in TORCH.items():
            replace(torch, name, lambda *_, reason=reason: refuse(reason))
    arguments = sys.argv
    sys.argv = looked_at = _Arguments(arguments)
    looked_at.look = lambda: refuse("the arguments of the command")
    try:
        yield
    finally:
        for owner, name, function in replaced:
            setattr(owner, name, function)
        if sys.argv is looked_at:
            sys.argv = arguments
