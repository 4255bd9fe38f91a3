"""How a model is to be profiled: the options, their checks, and the progress that a measurement reports."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from cnnstat.errors import CnnstatError, did_you_mean
from cnnstat.files import check_output

SAMPLES = 30
"""Measurements of everything unless another number is asked for: quartiles settle, and Ctrl-C is not missed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a model is to be profiled.

    device: "cuda", "cuda:1", "cpu", "mps"; None is CUDA where there is a GPU, else the CPU.
    dtype: of weights and activations; the model's own if None.
    channels_last: memory format of four-dimensional tensors.
    backward: measure the gradient of the outputs' sum too.
    tf32: let float32 products run in TF32.
    isolate: measure every layer alone too, warm and cold.
    energy: ask NVML for the energy of a pass.
    autocast: dtype of automatic mixed precision; None without it.
    step: optimizer whose step is part of a pass, `sgd` or `adam`; None without one.
    compiled: measure what torch.compile makes of the model.
    ops: tell the ops inside each layer too.
    samples: measurements of everything, at least.
    threads: of PyTorch's CPU ops; as PyTorch has it if None.
    trace: file for a Chrome trace with layer names.
    """

    device: str | None = None
    dtype: str | None = None
    channels_last: bool = False
    backward: bool = False
    tf32: bool = False
    isolate: bool = False
    energy: bool = False
    autocast: str | None = None
    step: str | None = None
    compiled: bool = False
    ops: bool = False
    samples: int = SAMPLES
    threads: int | None = None
    trace: Path | None = None


class Progress(Protocol):
    """Told of the stages of a measurement; the command line draws a bar with the time left from it."""

    def stage(self, title: str, steps: int) -> None:
        """A stage of so many steps begins."""

    def step(self) -> None:
        """One step of the stage is done."""


class Silent:
    """Draws nothing."""

    def stage(self, title: str, steps: int) -> None:
        """Do nothing."""

    def step(self) -> None:
        """Do nothing."""


MOST_SAMPLES = 100_000
MOST_THREADS = 4096

AUTOCAST_DTYPES = ("bfloat16", "float16")
STEPS = ("sgd", "adam")

DEVICES = ("cuda", "cpu", "mps")
DTYPES = ("float32", "float16", "bfloat16", "float64")


def make_options(*, backward: bool = False, step: str | None = None, **others: Any) -> Options:
    """Return how to measure; raises CnnstatError with the nearest right word where an option is wrong.

    A step of an optimizer needs the backward pass, which need not be asked for then.
    """
    options = Options(backward=backward or step is not None, step=step, **others)
    device, dtype = options.device, options.dtype
    if device is not None:
        check_device(device)
    if dtype is not None and dtype not in DTYPES:
        hint = did_you_mean(dtype, DTYPES) or f"; use {', '.join(DTYPES)}"
        raise CnnstatError(f"--dtype {dtype[:40]}: models are measured in floating point{hint}")
    _check_range("--samples", options.samples, MOST_SAMPLES)
    if options.threads is not None:
        _check_range("--threads", options.threads, MOST_THREADS)
    if options.trace is not None:
        check_output(options.trace, option="--trace")
    _check_word("--autocast", options.autocast, AUTOCAST_DTYPES)
    _check_word("--step", step, STEPS)
    if options.autocast is not None and dtype not in (None, "float32"):
        raise CnnstatError(f"--autocast and --dtype {dtype} exclude each other; mixed precision starts from float32")
    if options.compiled and (options.isolate or options.energy):
        option = "--isolate" if options.isolate else "--energy"
        raise CnnstatError(f"--compile and {option} exclude each other: what is compiled has no layers to run alone")
    return options


def _check_word(option: str, word: str | None, known: tuple[str, ...]) -> None:
    if word is not None and word not in known:
        hint = did_you_mean(word, known) or f"; use {' or '.join(known)}"
        raise CnnstatError(f"{option} {word[:40]}: there is no such choice{hint}")


def check_device(device: str) -> None:
    """Raise CnnstatError with the nearest right word if a text names no device; whether it is there is not asked."""
    if not re.fullmatch(r"cuda(:\d{1,3})?|cpu|mps", device):
        nearest = "; did you mean cuda?" if device.startswith("gpu") else did_you_mean(device, DEVICES)
        hint = nearest or f"; use {', '.join(DEVICES)}, or cuda:1 for the second GPU"
        raise CnnstatError(f"--device {device[:40]}: there is no such device{hint}")


def _check_range(option: str, number: int, most: int) -> None:
    if not 1 <= number <= most:
        raise CnnstatError(f"{option} {number}: must be from 1 to {most:,}")
