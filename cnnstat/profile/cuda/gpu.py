"""Gpu: what measuring needs of a GPU, so that the way of measuring can be tested without one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

Run = Callable[[], object]
"""Puts the work of one pass on the GPU; does not wait for it."""


class CaptureError(Exception):
    """What a run does cannot be recorded as a CUDA graph; the message is CUDA's or PyTorch's own first line."""


class Gpu(Protocol):
    """One GPU and the stream on which everything is measured."""

    @property
    def l2_bytes(self) -> int:
        """Size of its L2 cache."""

    def now(self) -> int:
        """Nanoseconds of the host's clock."""

    def synchronize(self) -> None:
        """Wait until all work is done."""

    def elapsed(self, run: Run, repeats: int) -> float:
        """Return the seconds between two events on the stream, with so many runs between them."""

    def capture(self, run: Run) -> Run:
        """Return a replay of the CUDA graph of a run; raises CaptureError."""

    def record(self, script: Callable[[], None]) -> list[dict[str, Any]]:
        """Run under torch.profiler, and return the events of its trace."""

    def range(self, name: str) -> AbstractContextManager[object]:
        """A range of that name in the trace."""

    def peak_bytes(self, run: Run) -> int:
        """Return the most memory that is allocated at once during a run, over what was before it."""

    def free_bytes(self) -> int:
        """Return the memory that can still be allocated."""

    def sweep(self, size: int) -> Run:
        """Return what reads so many bytes of memory that nothing else uses."""

    def clocks(self) -> Mapping[str, float]:
        """Return `sm_MHz` and `memory_MHz` now, and `power_limit_W`; those that NVML tells."""

    def joules(self) -> float | None:
        """Return the energy used since the driver was loaded; None where NVML does not tell."""
