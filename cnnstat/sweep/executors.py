"""Executors: batches of points computed side by side, by processes of this machine or by anything with `submit`."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from itertools import islice
from typing import Any, Protocol, TypeVar

from cnnstat.errors import CnnstatError

Item = TypeVar("Item")
Result = TypeVar("Result")

POLL_SECONDS = 0.05
"""How often executors whose futures cannot be waited for together are asked."""


class Executor(Protocol):
    """What runs functions elsewhere: an executor of concurrent.futures or submitit, a client of dask."""

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Any:
        """Return a future, whose `result()` is the function's value."""


def available_cores() -> int:
    """Return the processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def batches(items: Iterable[Item], size: int | Callable[[], int]) -> Iterator[list[Item]]:
    """Yield items in lists of at most so many; a function is asked anew for each list."""
    iterator = iter(items)
    while batch := list(islice(iterator, size() if callable(size) else size)):
        yield batch


def in_this_process(work: Callable[[list[Item]], list[Result]], items: Iterable[list[Item]]) -> Iterator[list[Result]]:
    """Yield the results of each batch, one after the other."""
    return map(work, items)


def in_processes(
    work: Callable[[list[Item]], list[Result]],
    items: Iterable[list[Item]],
    jobs: int,
    lost: Callable[[Item, str], Result],
) -> Iterator[list[Result]]:
    """Yield the results of batches as they are ready, from so many new processes of Python.

    A process that dies takes the batch in its hands with it: the items are then tried one by one, and `lost` gives the
    result of one that kills its process alone. Few batches wait at a time, so that memory does not grow with their
    number; processes start anew (`spawn`), as a forked copy of PyTorch's threads may hang.
    """
    waiting = iter(items)
    pending: dict[Future[list[Result]], list[Item]] = {}
    pool = _pool(jobs)
    has_worked = False
    try:
        while True:
            for batch in islice(waiting, max(0, 2 * jobs + 1 - len(pending))):
                pending[pool.submit(work, batch)] = batch
            if not pending:
                return
            ready, _ = wait(pending, return_when=FIRST_COMPLETED)
            died: list[list[Item]] = []
            for future in ready:
                batch = pending.pop(future)
                try:
                    results = future.result()
                except BrokenProcessPool:
                    died.append(batch)
                    continue
                has_worked = True
                yield results
            if died and not has_worked:
                _check_start()
            if died:
                # Which batch was at fault is not known: every one that was under way is tried again.
                died += pending.values()
                pending.clear()
                _end(pool)
                for batch in died:
                    yield _one_by_one(work, batch, lost)
                pool = _pool(jobs)
    finally:
        _end(pool)


def _check_start() -> None:
    """Raise CnnstatError where no process can be started at all, whatever it is to do."""
    pool = _pool(1)
    try:
        pool.submit(os.getpid).result()
    except BrokenProcessPool:
        message = (
            "no process can be started; a script needs `if __name__ == '__main__':` around what it runs, or jobs=1"
        )
        raise CnnstatError(message) from None
    finally:
        _end(pool)


def _one_by_one(
    work: Callable[[list[Item]], list[Result]], batch: list[Item], lost: Callable[[Item, str], Result]
) -> list[Result]:
    results: list[Result] = []
    pool = _pool(1)
    try:
        for item in batch:
            try:
                results += pool.submit(work, [item]).result()
            except BrokenProcessPool:
                results.append(lost(item, "its process died, for want of memory or by a fault of native code"))
                _end(pool)
                pool = _pool(1)
    finally:
        _end(pool)
    return results


def _pool(jobs: int) -> ProcessPoolExecutor:
    from multiprocessing import get_context

    return ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_prepare_worker)


def _end(pool: ProcessPoolExecutor) -> None:
    """End a pool at once, whatever its processes are at."""
    processes = [*(getattr(pool, "_processes", None) or {}).values()]
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        with suppress(OSError, ValueError):
            process.kill()


def _prepare_worker() -> None:
    """Leave Ctrl-C to the parent, and end when it ends, however that may be."""
    from multiprocessing import connection, parent_process

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    if parent is not None:
        sentinel = parent.sentinel

        def watch() -> None:
            connection.wait([sentinel])
            os._exit(1)

        threading.Thread(target=watch, daemon=True).start()
    if "torch" in os.environ.get("CNNSTAT_SWEEP_PRELOAD", ""):
        with suppress(ImportError):
            __import__("torch")


def in_executor(
    executor: Executor, work: Callable[[list[Item]], list[Result]], items: Iterable[list[Item]], most: int
) -> Iterator[list[Result]]:
    """Yield the results of batches as they are ready, from any executor; at most so many are submitted at a time.

    Raises CnnstatError where it has no `submit`; what a future raises is raised here.
    """
    if not callable(getattr(executor, "submit", None)):
        raise CnnstatError(
            f"executor: {type(executor).__name__} has no submit(); give one of concurrent.futures, submitit or dask"
        )
    waiting = iter(items)
    pending: list[Any] = []
    try:
        while True:
            pending += [executor.submit(work, batch) for batch in islice(waiting, max(0, most - len(pending)))]
            if not pending:
                return
            for future in _ready(pending):
                pending.remove(future)
                yield future.result()
    finally:
        for future in pending:
            with suppress(Exception):
                future.cancel()


def _ready(pending: Sequence[Any]) -> list[Any]:
    """Return the futures that are done, one at least; the oldest where a future cannot say whether it is."""
    if all(isinstance(future, Future) for future in pending):
        return list(wait(pending, return_when=FIRST_COMPLETED).done)
    while True:
        ready = [future for future in pending if not callable(getattr(future, "done", None)) or future.done()]
        if ready:
            return ready[:1] if not callable(getattr(ready[0], "done", None)) else ready
        time.sleep(POLL_SECONDS)
