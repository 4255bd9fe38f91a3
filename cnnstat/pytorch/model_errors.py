"""Errors of models' own code, and what keeps that code from the terminal."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import torch

from cnnstat.errors import ModelError

_HOMES = tuple(str(Path(file).parent) for file in (torch.__file__, sys.modules["cnnstat"].__file__ or "") if file)
"""Folders whose code is not the model's."""


class ValueNeededError(Exception):
    """The values of a tensor are asked for, and a fake tensor has none."""


class TracerError(Exception):
    """The tracer itself failed; nothing that the model could be blamed for, or that a real pass would mend."""


@contextmanager
def contained(source: str) -> Iterator[None]:
    """Let code of a model neither write to standard output, where a report goes, nor end the program."""
    try:
        with redirect_stdout(sys.stderr):
            yield
    except SystemExit as left:
        raise ModelError(f"{source[:200]}: its code ends the program (sys.exit, code {left.code})") from left


def error_line(error: BaseException) -> str:
    """Return an error in one line, with the last place in the model's own code."""
    message = " ".join(str(error).split())[:300]
    place = _place(error)
    what = type(error).__name__ + (f": {message}" if message else "")
    return what + (f" ({place})" if place and place not in message else "")


def _place(error: BaseException) -> str:
    """Return the innermost file and line outside of PyTorch and cnnstat, such as `nets.py:12`."""
    result = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        file = frame.f_code.co_filename
        if not file.startswith(("<", *_HOMES)) and "importlib" not in file:
            result = f"{Path(file).name}:{line}"
    return result
