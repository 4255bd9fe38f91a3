"""Time limit: work that may hang or crash, on a thread that is given up after a time, or in a process of its own."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any, TypeVar

from cnnstat.child_process import python_command

Result = TypeVar("Result")


class GivenUpError(Exception):
    """Work that did not end in time, or whose process crashed; the message says which."""


def on_a_thread(work: Callable[[], Result], seconds: float) -> Result:
    """Return what work returns, and raise what it raises; raises GivenUpError after so many seconds.

    A thread cannot be stopped: what hangs goes on hanging, but nobody waits for it, not even the end of the process.
    """
    results: list[Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # raised again where the work was asked for
            errors.append(error)

    thread = Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise GivenUpError(f"it did not end within {seconds:,.0f} s")
    return results[0]


class NotSendableError(Exception):
    """Work that another process cannot be given, such as a class that was defined in a notebook."""


def in_a_process(function: Callable[..., Any], arguments: tuple[Any, ...], seconds: float) -> Any:
    """Return what a function of a module returns in a Python process of its own, and raise what it raises.

    Raises GivenUpError where the process hangs or crashes, and NotSendableError where it cannot be given the work.
    """
    with TemporaryDirectory() as folder:
        asked, answered = Path(folder, "asked"), Path(folder, "answered")
        try:
            asked.write_bytes(pickle.dumps((function, arguments)))
        except Exception as error:  # pickling runs code of the model, which raises whatever it likes
            raise NotSendableError(str(error)) from error
        nowhere = subprocess.DEVNULL
        command = python_command(__name__, "answer", str(asked), str(answered))
        process = subprocess.Popen(command, stdin=nowhere, stdout=nowhere, stderr=nowhere)
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise GivenUpError(f"it did not end within {seconds:,.0f} s") from None
        finally:
            process.kill()
            process.wait()
        if not answered.exists():
            raise GivenUpError(f"its process ended with {f'signal {-code}' if code < 0 else f'exit code {code}'}")
        kind, value = pickle.loads(answered.read_bytes())
    if kind == "unreadable":
        raise NotSendableError(value)
    if kind == "error":
        raise value
    return value


def answer() -> None:
    """Do the work that a file asks for, and write what comes of it to another; both stand on the command line."""
    asked, answered = map(Path, sys.argv[1:])
    try:
        function, arguments = pickle.loads(asked.read_bytes())
    except Exception as error:
        result: tuple[str, Any] = ("unreadable", str(error))
    else:
        try:
            result = ("result", function(*arguments))
        except Exception as error:
            result = ("error", error)
    try:
        content = pickle.dumps(result)
    except Exception:
        content = pickle.dumps(("error", RuntimeError(str(result[1]))))
    partial = answered.with_suffix(".partial")
    partial.write_bytes(content)
    partial.replace(answered)
