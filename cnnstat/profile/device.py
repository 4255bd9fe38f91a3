"""Devices: which one is meant, whether it is there, and how to wait for it."""

from __future__ import annotations

from collections.abc import Callable

import torch

from cnnstat.errors import CnnstatError, did_you_mean

KINDS = ("cpu", "cuda", "mps")
"""What can be profiled on."""


def choose_device(name: str | None) -> torch.device:
    """Return the device of that name; without one CUDA where there is a GPU, else the CPU.

    Raises CnnstatError where there is no such device, here or at all.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, number = name.partition(":")
    if kind not in KINDS or (number and not number.isdecimal()) or name.endswith(":"):
        hint = did_you_mean(kind, KINDS) if kind not in KINDS else ""
        raise CnnstatError(f"--device {name[:60]}: {hint.removeprefix('; ') or 'write cpu, cuda, cuda:1 or mps'}")
    if kind == "cuda":
        _check_cuda(int(number or 0))
    elif int(number or 0) > 0:
        raise CnnstatError(f"--device {name[:60]}: there is one {kind} only; write {kind}")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise CnnstatError(
            "no Apple GPU is available here (torch.backends.mps.is_available() is false); use --device cpu"
        )
    return torch.device(kind, int(number)) if number and kind == "cuda" else torch.device(kind)


def _check_cuda(number: int) -> None:
    """Raise CnnstatError where there is no CUDA GPU of this number."""
    if not torch.cuda.is_available():
        reason = "PyTorch is built without CUDA" if torch.version.cuda is None else "PyTorch finds no GPU or driver"
        raise CnnstatError(
            f"no CUDA GPU is available here (torch.cuda.is_available() is false: {reason}); use --device cpu"
        )
    count = torch.cuda.device_count()
    if number >= count:
        raise CnnstatError(f"--device cuda:{number}: there are {count} CUDA GPUs here, numbered from 0")


def synchronizer(device: torch.device) -> Callable[[], None] | None:
    """Return what waits until the device has done its work; None for the CPU, which does its work at once."""
    if device.type == "mps":
        return torch.mps.synchronize
    return torch.cuda.synchronize if device.type == "cuda" else None
