"""The terminal: where output goes and how errors are printed."""

from __future__ import annotations

import errno
import io
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cnnstat.errors import CnnstatError, SpecError, inert_line, printable
from cnnstat.files import write_output

if TYPE_CHECKING:
    from rich.console import Console

MAX_PROBLEMS = 30
"""Faults of a spec that are printed; the rest is only counted."""

UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""System errors that a full disk behind standard output gives."""

FILE_WIDTH = 120
"""Columns of a table that is written to a file, unless COLUMNS says otherwise."""


_shown: set[str] = set()
"""What errors show beside their own line."""


def show_tracebacks(wanted: bool) -> bool:
    """Let errors of a model show where in it they come from, if wanted."""
    (_shown.add if wanted else _shown.discard)("traceback")
    return wanted


def prepare_streams() -> None:
    """Let characters that the terminal's encoding lacks print as `?`, and let what a closed stream gets be lost."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller, as in `cnnstat … >&-`
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115  # stays open to the end
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


@contextmanager
def open_output(path: Path | None) -> Iterator[Console]:
    """Yield a console on stdout or, where a path is given, on a buffer that is written once all went well."""
    from rich.console import Console

    if path is None:
        yield Console(highlight=False, markup=False, emoji=False, soft_wrap=False)
        return
    buffer = io.StringIO()
    width = int(columns) if (columns := os.environ.get("COLUMNS", "")).isdigit() else FILE_WIDTH
    yield Console(file=buffer, width=width, highlight=False, markup=False, emoji=False, color_system=None)
    write_output(path, buffer.getvalue())


def write_bytes(content: str | bytes, path: Path | None) -> None:
    """Write text or bytes to a file, or to stdout as they are."""
    if path is not None:
        write_output(path, content)
    elif isinstance(content, str):
        sys.stdout.write(content)
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(content)


def report_error(error: CnnstatError) -> int:
    """Print an error that cnnstat raised on purpose; return the exit code."""
    if isinstance(error, SpecError):
        lines = [str(problem) for problem in error.problems[:MAX_PROBLEMS]]
        more = len(error.problems) - len(lines)
        lines += [f"… and {more} more"] * (more > 0)
    else:
        lines = [f"cnnstat: {error}"]
    print(*(inert_line(printable(line)) for line in lines), sep="\n", file=sys.stderr)
    if "traceback" in _shown and error.__cause__ is not None:
        cause = "".join(traceback.format_exception(error.__cause__))
        print(*(inert_line(printable(line)) for line in cause.splitlines()), sep="\n", file=sys.stderr)
    return 2


def report_unexpected(error: Exception) -> int:
    """Print a usage error of the command-line parser, or a fault of cnnstat itself; return the exit code."""
    message = getattr(error, "format_message", None)
    if isinstance(error, OSError) and error.errno in UNWRITABLE:
        print(f"cnnstat: the output cannot be written: {error.strerror}", file=sys.stderr)
        return 2
    if isinstance(error, OSError) and error.filename is not None and not os.environ.get("CNNSTAT_TRACEBACK"):
        line = f"cnnstat: {str(error.filename)[:200]}: {error.strerror or error}; name another file"
        print(inert_line(printable(line)), file=sys.stderr)
        return 2
    if message is None:
        if os.environ.get("CNNSTAT_TRACEBACK"):
            raise error
        line = f"internal error, please report it ({type(error).__name__}: {error}); CNNSTAT_TRACEBACK=1 shows where"
        print(inert_line(printable(f"cnnstat: {line}")), file=sys.stderr)
        return 2
    if not message():  # no arguments at all: the help is already printed
        return 2
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "cnnstat"
    line = message().replace("Value error, ", "")  # what pydantic puts before typer's own message
    print(inert_line(printable(f"{command}: {line} (`{command} --help` shows how)")), file=sys.stderr)
    return int(getattr(error, "exit_code", 2))
