"""Measures a model on a device: `cnnstat.profile.profile` returns a Profile."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from typing import TYPE_CHECKING

from cnnstat.errors import needing

if TYPE_CHECKING:
    from cnnstat.profile.profile_options import Options, Progress
    from cnnstat.profile.profile_result import Profile
    from cnnstat.sources.model import ModelReference


def profile(model: ModelReference, options: Options, progress: Progress, *, refresh: bool = False) -> Profile:
    """Return the measured times of a model, layer by layer and whole.

    refresh: measure the machine's roofline anew instead of using the one that is remembered.
    After Ctrl-C the profile holds what was measured and `complete` is False; it is raised again if nothing was.
    Raises CnnstatError where the device is missing or the model cannot be built, run or followed.
    """
    from cnnstat.profile.profile_model import profile_model

    return profile_model(model, options, progress, refresh=refresh)


@contextmanager
def _patient() -> Iterator[None]:
    """Keep Ctrl-C back until the end: in the midst of PyTorch's import it may be lost, or crash the process."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler or current_thread() is not main_thread():
        yield
        return
    pressed: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if pressed:
        raise KeyboardInterrupt


def need_torch() -> None:
    """Import PyTorch; raises CnnstatError with what to install where it is missing."""
    # Kineto prints a line on stderr for every session unless this stands before PyTorch is imported.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    with needing("torch", "measuring"), _patient():
        import torch  # noqa: F401

        import cnnstat.profile.profile_model  # noqa: F401
