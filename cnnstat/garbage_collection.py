"""Python's collector of garbage cycles, paused while large graphs are built."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """Pause the collector within a `with` block, or during each call of a decorated function.

    Reading and measuring a network makes many small objects and next to no cycles. The collector would walk over all of
    them again and again, which takes longer for each layer the more layers there are.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
