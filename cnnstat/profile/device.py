"""Devices: which one is meant, whether it is there, how to wait for it, and what a measurement on it depends on."""

from __future__ import annotations

import contextlib
import platform
import re
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cnnstat.errors import CnnstatError, did_you_mean
from cnnstat.ir.graph import Graph
from cnnstat.profile.profile_options import DEVICES, Options
from cnnstat.profile.profile_result import Environment
from cnnstat.version import __version__


def choose_device(name: str | None) -> torch.device:
    """Return the device of that name; without one CUDA where there is a GPU, else the CPU.

    Raises CnnstatError where there is no such device, here or at all.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, number = name.partition(":")
    if kind not in DEVICES or (number and not number.isdecimal()) or name.endswith(":"):
        hint = did_you_mean(kind, DEVICES) if kind not in DEVICES else ""
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


Clock = Callable[[], int]
"""Gives the time in nanoseconds, after the device has done its work."""


def device_clock(device: torch.device) -> Clock:
    """Return the clock of a device."""
    wait = synchronizer(device)
    if wait is None:
        return time.perf_counter_ns

    def nanoseconds() -> int:
        wait()
        return time.perf_counter_ns()

    return nanoseconds


def synchronizer(device: torch.device) -> Callable[[], None] | None:
    """Return what waits until the device has done its work; None for the CPU, which does its work at once."""
    if device.type == "mps":
        return torch.mps.synchronize
    return torch.cuda.synchronize if device.type == "cuda" else None


USUAL_CACHE_BYTES = 64 * 2**20
"""Bytes where the system does not report them; larger than most."""

_CACHE_FOLDER = Path("/sys/devices/system/cpu/cpu0/cache")
_CACHE_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}


def last_level_cache_bytes(folder: Path = _CACHE_FOLDER) -> int:
    """Return the bytes of the largest cache of the first core, as Linux reports it."""
    sizes = []
    with contextlib.suppress(OSError, ValueError, KeyError):
        for file in folder.glob("index*/size"):
            text = file.read_text().strip()
            sizes.append(int(text[:-1]) * _CACHE_UNITS[text[-1]] if text[-1:].isalpha() else int(text))
    return max(sizes, default=0) or USUAL_CACHE_BYTES


_CPU_INFO = Path("/proc/cpuinfo")


def environment(graph: Graph, options: Options, device: torch.device, mode: str) -> Environment:
    """Return where and how a graph is measured; mode: `eval` or `train`."""
    is_gpu = device.type != "cpu"
    settings = {
        "batch": str(graph.inputs[0].shape[0] if graph.inputs and graph.inputs[0].shape else 1),
        "mode": mode,
        "backward": _text(options.backward),
        "channels_last": _text(options.channels_last),
        "tf32": _text(options.tf32),
    }
    if options.compiled:
        settings["compiled"] = "true"
    settings |= {name: word for name, word in (("autocast", options.autocast), ("step", options.step)) if word}
    if device.type == "cuda":
        settings["cudnn_benchmark"] = "false"
    return Environment(
        device=str(device),
        device_name=device_name(device),
        dtype=graph.dtype,
        versions=_versions(device),
        settings=settings,
        threads=None if is_gpu else torch.get_num_threads(),
    )


def _text(value: bool) -> str:
    return "true" if value else "false"


def device_name(device: torch.device) -> str:
    """Return what the hardware calls itself."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = cpu_name()
    return f"{name} (GPU)" if device.type == "mps" else name


def cpu_name(cpu_info: Path = _CPU_INFO) -> str:
    """Return the model of the CPU, as Linux reports it, else as Python does."""
    try:
        text = cpu_info.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    match = re.search(r"^(?:model name|Model|cpu model|Hardware)\s*:\s*(\S.*)$", text, re.MULTILINE)
    name = match[1].strip() if match else platform.processor() or platform.machine()
    return " ".join(name.split()) or "unknown CPU"


def _versions(device: torch.device) -> dict[str, str]:
    versions = {
        "cnnstat": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
    }
    if device.type == "cuda":
        from cnnstat.profile.cuda.nvml import Nvml

        versions |= {
            "cuda": torch.version.cuda or "",
            "hip": torch.version.hip or "",
            "cudnn": str(torch.backends.cudnn.version()),  # type: ignore[no-untyped-call]
            "driver": Nvml(None).driver_version() or "",
        }
    return {name: version for name, version in versions.items() if version}


@contextmanager
def kernel_settings(tf32: bool) -> Iterator[None]:
    """Let float32 products run in TF32 or not, and cuDNN choose its algorithms by its heuristics.

    Not by trials (`cudnn.benchmark`), whose choice can differ from run to run: PyTorch does not try either unless it is
    told to, and an ordinary pass and the captured one must launch the same kernels.
    """
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    families = [
        _Float32Switch(matmul, [matmul]),
        _Float32Switch(cudnn, [getattr(cudnn, name, None) for name in ("conv", "rnn")]),
    ]
    benchmark = cudnn.benchmark
    before = [family.read() for family in families]
    word = "tf32" if tf32 else "ieee"
    try:
        for family in families:
            family.write(tf32, [word] * len(family.parts))
        cudnn.benchmark = False
        yield
    finally:
        for family, (allowed, words) in zip(families, before):
            family.write(allowed, words)
        cudnn.benchmark = benchmark


class _Float32Switch:
    """The old switch of one library, and its new ones; none where this PyTorch has only the old one."""

    def __init__(self, owner: Any, parts: list[Any]) -> None:
        self._owner = owner
        # Older versions raise AttributeError for what they do not know.
        self.parts = [part for part in parts if hasattr(part, "fp32_precision")]

    def read(self) -> tuple[bool, list[str]]:
        """Return the old switch, and the new ones."""
        words = [str(part.fp32_precision) for part in self.parts]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return bool(self._owner.allow_tf32), words
            except RuntimeError:
                # Someone has set only the new ones, so that the old one says the opposite.
                return "tf32" not in words, words

    def write(self, allowed: bool, words: list[str]) -> None:
        """Set the old switch, which sets new ones too, and then the new ones."""
        with warnings.catch_warnings():
            # Some versions advise against the old switch every time; without it their products raise.
            warnings.simplefilter("ignore")
            self._owner.allow_tf32 = allowed
        for part, word in zip(self.parts, words):
            part.fp32_precision = word


FUSED = (nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.TransformerEncoder)


def has_fused_attention(model: nn.Module, backward: bool) -> bool:
    """Whether an ordinary call may run fused what is measured layer by layer."""
    return not (backward or model.training) and any(isinstance(module, FUSED) for module in model.modules())


@contextmanager
def fused_attention(enabled: bool) -> Iterator[None]:
    """Switch the path on or off, and back."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(enabled)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Let PyTorch's CPU ops use so many threads, and afterwards as many as before."""
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        if count is not None:
            torch.set_num_threads(before)
