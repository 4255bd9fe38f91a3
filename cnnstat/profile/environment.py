"""The environment of a measurement: hardware, versions, threads and settings."""

from __future__ import annotations

import platform
import re
from pathlib import Path

import torch

import cnnstat
from cnnstat.ir.graph import Graph
from cnnstat.profile.options import Options
from cnnstat.profile.result import Environment

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
    if device.type == "cuda":
        from cnnstat.profile.cuda.environment import cuda_settings

        settings |= cuda_settings(options.tf32)
    return Environment(
        device=str(device),
        device_name=device_name(device),
        dtype=graph.dtype,
        versions=_versions(device),
        settings=settings,
        threads=None if is_gpu else torch.get_num_threads(),
    )


def _text(value: bool) -> str:
    """Return a setting as text."""
    return "true" if value else "false"


def device_name(device: torch.device) -> str:
    """Return what the hardware calls itself."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = cpu_name()
    return f"{name} (GPU)" if device.type == "mps" else name


def cpu_name(cpu_info: Path = _CPU_INFO) -> str:
    """Return the model of the CPU, as Linux tells it, else as Python does."""
    try:
        text = cpu_info.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    found = re.search(r"^(?:model name|Model|cpu model|Hardware)\s*:\s*(\S.*)$", text, re.MULTILINE)
    said = found[1].strip() if found else platform.processor() or platform.machine()
    return " ".join(said.split()) or "unknown CPU"


def _versions(device: torch.device) -> dict[str, str]:
    """Return the versions of all that takes part."""
    versions = {
        "cnnstat": cnnstat.__version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
    }
    if device.type == "cuda":
        from cnnstat.profile.cuda.environment import driver_version

        versions |= {
            "cuda": str(torch.version.cuda),
            "cudnn": str(torch.backends.cudnn.version()),  # type: ignore[no-untyped-call]
            "driver": driver_version(),
        }
    return {name: version for name, version in versions.items() if version}
