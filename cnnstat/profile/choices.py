"""Choices: options of a measurement checked before anything heavy is imported or measured."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from typing import Any

from cnnstat.errors import CnnstatError, did_you_mean
from cnnstat.profile.options import Options

SAMPLES = 30
"""Measurements of everything unless another number is asked for: quartiles settle, and Ctrl-C is not missed."""

MOST_SAMPLES = 100_000
MOST_THREADS = 4096

DEVICES = ("cuda", "cpu", "mps")
DTYPES = ("float32", "float16", "bfloat16", "float64")


def make_options(
    *, device: str | None = None, dtype: str | None = None, samples: int = SAMPLES, threads: int | None = None,
    **others: Any,
) -> Options:  # fmt: skip
    """Return how to measure; raises CnnstatError with the nearest right word where an option is wrong."""
    if device is not None:
        check_device(device)
    if dtype is not None and dtype not in DTYPES:
        hint = did_you_mean(dtype, DTYPES) or f"; use {', '.join(DTYPES)}"
        raise CnnstatError(f"--dtype {dtype[:40]}: models are measured in floating point{hint}")
    _check_range("--samples", samples, MOST_SAMPLES)
    if threads is not None:
        _check_range("--threads", threads, MOST_THREADS)
    return Options(device=device, dtype=dtype, samples=samples, threads=threads, **others)


def check_device(device: str) -> None:
    """Raise CnnstatError with the nearest right word if a text names no device; whether it is there is not asked."""
    if not re.fullmatch(r"cuda(:\d{1,3})?|cpu|mps", device):
        nearest = "; did you mean cuda?" if device.startswith("gpu") else did_you_mean(device, DEVICES)
        hint = nearest or f"; use {', '.join(DEVICES)}, or cuda:1 for the second GPU"
        raise CnnstatError(f"--device {device[:40]}: there is no such device{hint}")


def _check_range(option: str, number: int, most: int) -> None:
    """Raise CnnstatError if a number is none that can be meant."""
    if not 1 <= number <= most:
        raise CnnstatError(f"{option} {number}: must be from 1 to {most:,}")


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
    try:
        with _patient():
            import torch  # noqa: F401

            import cnnstat.profile.run  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise CnnstatError("measuring needs PyTorch, which is not installed; pip install 'cnnstat[torch]'") from None
