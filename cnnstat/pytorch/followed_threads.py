"""Threads that a model starts in its forward pass: each runs as a part of the pass, while the one that starts it waits.

PyTorch's modes belong to a thread, so that a new one would run its layers unseen.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import overrides
from torch.overrides import TorchFunctionMode
from torch.utils import _python_dispatch

from cnnstat.errors import ModelError
from cnnstat.pytorch.thread_changes import inherited, replaced, unreplaced

PATIENCE = 0.5
"""Seconds without a call after which a thread is taken to wait for another one."""


class _Follower:
    """A thread of a model's that runs under the modes of the one that started it.

    is_left: whether nobody waits for it any more, so that what it calls would mix with what others call.
    """

    def __init__(self, work: Callable[[], Any], may_call: bool = True) -> None:
        self._work = work
        self._modes = overrides._get_current_function_mode_stack()  # type: ignore[no-untyped-call]
        self._dispatch_modes = _python_dispatch._get_current_dispatch_mode_stack()
        self._inherited, self._has_gradients = inherited(), torch.is_grad_enabled()
        self.lock, self.calls = threading.Lock(), 0
        self.is_left, self.has_called_alone = not may_call, False
        self.error: BaseException | None = None
        self._ended = threading.Event()

    def run(self) -> None:
        """Do the work, in the new thread."""
        try:
            with self._inherited(), ExitStack() as modes:
                torch.set_grad_enabled(self._has_gradients)
                for mode in self._dispatch_modes:
                    _python_dispatch._push_mode(mode)
                    modes.callback(_python_dispatch._pop_mode)
                for mode in self._modes:
                    overrides._push_mode(mode)  # type: ignore[no-untyped-call]
                    modes.callback(overrides._pop_mode)
                modes.enter_context(_Gate(self))
                self._work()
        except BaseException as error:
            if self.is_left and not self.has_called_alone:
                raise
            self.error = error
        finally:
            self._ended.set()

    def wait(self) -> None:
        """Wait until it ends, or calls nothing any more; raises its error."""
        before = -1
        while not self.is_left and not self._ended.wait(PATIENCE):
            # A call that runs takes as long as it takes.
            if self.lock.acquire(blocking=False):
                self.is_left = self.calls == before
                before = self.calls
                self.lock.release()
        if self.error is not None and not self.is_left:
            raise self.error


class _Gate(TorchFunctionMode):
    """Sees every call of a thread first, and keeps those of a thread that is left from the modes below."""

    def __init__(self, follower: _Follower) -> None:
        super().__init__()
        self._follower = follower

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one call."""
        follower = self._follower
        with follower.lock:
            follower.calls += 1
            if not follower.is_left:
                return func(*args, **(kwargs or {}))
            follower.has_called_alone = True
        with torch._C.DisableTorchFunction(), _python_dispatch._disable_current_modes():
            return func(*args, **(kwargs or {}))


class UnfollowedError(ModelError):
    """Threads of a model cannot be followed, whatever its input and its weights are."""


def check_followed(is_followed: bool) -> None:
    """Raise UnfollowedError unless all that a pass calls has been seen."""
    if not is_followed:
        raise UnfollowedError(
            "the model runs layers in threads that wait for others or were there before: not followed"
        )


@contextmanager
def followed_threads() -> Iterator[None]:
    """Let the threads and tasks of executors that this thread starts be parts of what it runs, one after the other.

    Raises UnfollowedError where some of them wait for each other and call PyTorch meanwhile, which cannot be followed.
    """
    followers: list[_Follower] = []

    def follow(thread: threading.Thread, work: Callable[[], Any], start: Callable[[], None]) -> None:
        # Those of Python's own pools wait for tasks.
        target = getattr(getattr(thread, "_target", None), "__module__", "") or ""
        follower = _Follower(work, target.partition(".")[0] not in sys.stdlib_module_names - {"__main__"})
        followers.append(follower)
        thread.run = follower.run  # type: ignore[method-assign]
        start()
        follower.wait()

    def start(thread: threading.Thread) -> None:
        original = unreplaced(threading.Thread, "start")
        follow(thread, thread.run, lambda: original(thread))

    def submit(executor: Any, function: Callable[..., Any], /, *arguments: Any, **keywords: Any) -> Future[Any]:
        future: Future[Any] = Future()

        def work() -> None:
            try:
                if executor._initializer is not None:
                    executor._initializer(*executor._initargs)
                future.set_result(function(*arguments, **keywords))
            except BaseException as error:
                future.set_exception(error)

        threading.Thread(target=work).start()
        return future

    with replaced((threading.Thread, "start", start), (ThreadPoolExecutor, "submit", submit)):
        try:
            yield
        except Exception:
            check_followed(not any(follower.has_called_alone for follower in followers))
            raise
    check_followed(not any(follower.has_called_alone for follower in followers))


@contextmanager
def no_threads() -> Iterator[None]:
    """Let this thread start no other, where whoever looks at what it calls would not see that one."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise RuntimeError("layers in threads are not seen")

    with replaced((threading.Thread, "start", refuse), (ThreadPoolExecutor, "submit", refuse)):
        yield
