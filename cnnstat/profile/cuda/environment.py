"""Environment: what a CUDA measurement ran with, beside what holds on every device."""

from __future__ import annotations

from cnnstat.profile.cuda.nvml import Nvml


def driver_version() -> str:
    """Return the version of NVIDIA's driver; an empty string where NVML does not tell."""
    return Nvml(None).driver_version() or ""


def cuda_settings(tf32: bool) -> dict[str, str]:
    """Return the switches that decide which kernels ran."""
    return {"tf32": "true" if tf32 else "false", "cudnn_benchmark": "false"}
