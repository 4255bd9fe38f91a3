"""NVML: clocks, power limit, energy and driver of an NVIDIA GPU, and the energy of a run."""

from __future__ import annotations

import ctypes
import math
import sys
from typing import Any

from cnnstat.profile.cuda.gpu import Gpu, Run

_SM_CLOCK, _MEMORY_CLOCK = 1, 2
"""nvmlClockType_t."""


class Nvml:
    """One GPU as NVML sees it."""

    def __init__(self, uuid: str | None) -> None:
        """Open the library, and in it the GPU of this UUID (`GPU-…`); without one, only the driver is known."""
        self._library = _library()
        self._device: Any = None
        if self._library is not None and uuid is not None:
            device = ctypes.c_void_p()
            if self._call("nvmlDeviceGetHandleByUUID", uuid.encode(), ctypes.byref(device)):
                self._device = device

    def driver_version(self) -> str | None:
        """Return the driver's version."""
        text = ctypes.create_string_buffer(96)
        length = ctypes.c_uint(len(text))
        return text.value.decode() if self._call("nvmlSystemGetDriverVersion", text, length) else None

    def joules(self) -> float | None:
        """Return the energy that the GPU has used since the driver was loaded."""
        millijoules = ctypes.c_ulonglong()
        return self._read("nvmlDeviceGetTotalEnergyConsumption", (), millijoules, 1e-3)

    def sm_megahertz(self) -> float | None:
        """Return the clock of the multiprocessors now."""
        return self._read("nvmlDeviceGetClockInfo", (_SM_CLOCK,), ctypes.c_uint(), 1)

    def memory_megahertz(self) -> float | None:
        """Return the clock of the memory now."""
        return self._read("nvmlDeviceGetClockInfo", (_MEMORY_CLOCK,), ctypes.c_uint(), 1)

    def power_limit(self) -> float | None:
        """Return the watts above which the GPU lowers its clocks."""
        return self._read("nvmlDeviceGetPowerManagementLimit", (), ctypes.c_uint(), 1e-3)

    def _read(self, name: str, arguments: tuple[int, ...], value: Any, unit: float) -> float | None:
        if self._device is None or not self._call(name, self._device, *arguments, ctypes.byref(value)):
            return None
        return float(value.value) * unit

    def _call(self, name: str, *arguments: Any) -> bool:
        """Call a function that returns nvmlReturn_t; whether it is there and succeeded."""
        function = getattr(self._library, name, None)
        return function is not None and function(*arguments) == 0


def _library() -> Any:
    """Return NVML, initialized; None where there is none."""
    names = ("nvml.dll",) if sys.platform == "win32" else ("libnvidia-ml.so.1", "libnvidia-ml.so")
    for name in names:
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        return library if library.nvmlInit_v2() == 0 else None
    return None


_SECONDS = 3.0
"""How long they take: NVML renews its counter every 20 to 100 ms, so that the error is a few percent at most."""

_SETTLING = 0.5
"""Seconds of runs before, so that clocks and power are those of steady work."""


def joules_per_run(gpu: Gpu, run: Run, seconds: float) -> float | None:
    """Return the energy of a run of about so many seconds, idle power included; None where NVML does not report it."""
    if gpu.joules() is None or seconds <= 0:
        return None
    gpu.elapsed(run, math.ceil(_SETTLING / seconds))
    runs = math.ceil(_SECONDS / seconds)
    before = gpu.joules()
    gpu.elapsed(run, runs)
    after = gpu.joules()
    return None if before is None or after is None or after <= before else (after - before) / runs
