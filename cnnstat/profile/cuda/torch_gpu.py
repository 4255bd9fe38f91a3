"""TorchGpu: a GPU through PyTorch, and its errors as one line with a remedy; the only file that puts work on one."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

import torch

from cnnstat.errors import CnnstatError
from cnnstat.ir.graph import collector_paused
from cnnstat.profile.cuda.gpu import CaptureError, Run
from cnnstat.profile.cuda.nvml import Nvml
from cnnstat.profile.traces.recording_file import recorded_events


@contextmanager
def explained() -> Iterator[None]:
    """Turn errors of the GPU into CnnstatError; others pass."""
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise CnnstatError(
            f"the GPU's memory is too small ({first_line(error)}); use a smaller --batch or --dtype bfloat16"
        ) from error
    except RuntimeError as error:
        # torch.AcceleratorError, where there is one, is a RuntimeError too.
        if not _is_of_the_gpu(error):
            raise
        raise CnnstatError(
            f"the GPU stopped with an error ({first_line(error)}); CUDA_LAUNCH_BLOCKING=1 shows which op it was"
        ) from error


def _is_of_the_gpu(error: RuntimeError) -> bool:
    kind = type(error).__name__
    return kind == "AcceleratorError" or any(word in str(error) for word in ("CUDA", "cuDNN", "CUBLAS", "cublas"))


def first_line(error: BaseException) -> str:
    """Return what an error says before it becomes long."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].split(". ")[0].rstrip(".")[:200]


_HEAD = 256
"""Kernels run at the start of each session of the profiler before anything is measured in it.

CUPTI loses the first kernels of a session, one more in each session of a process (PyTorch issue 192021).
"""


class TorchGpu:
    """A GPU, and one stream that is not the default one: captures need that, and warm-ups must use it too."""

    def __init__(self, device: torch.device) -> None:
        self._device = torch.device("cuda", torch.cuda.current_device() if device.index is None else device.index)
        properties = torch.cuda.get_device_properties(self._device)
        self._l2_bytes = int(properties.L2_cache_size)
        self._stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]  # untyped in PyTorch
        self._pool: Any = None
        self._anchors: list[Any] = []
        self._failed: list[Any] = []
        self.is_stuck = False
        uuid = getattr(properties, "uuid", None)
        self._nvml = Nvml(None if uuid is None else f"GPU-{uuid}")

    @contextmanager
    def active(self) -> Iterator[None]:
        """While active, PyTorch's ops go to this GPU and its stream."""
        with torch.cuda.device(self._device):
            torch.cuda.synchronize()
            with torch.cuda.stream(self._stream):
                yield
            if not self.is_stuck:
                torch.cuda.synchronize()

    @property
    def l2_bytes(self) -> int:
        return self._l2_bytes

    def now(self) -> int:
        return time.perf_counter_ns()

    def synchronize(self) -> None:
        torch.cuda.synchronize()

    def elapsed(self, run: Run, repeats: int) -> float:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()
        start.record()
        for _ in range(repeats):
            run()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / 1000

    # A tensor or graph that is collected during a capture would make calls that break it.
    @collector_paused()
    def capture(self, run: Run) -> Run:
        """Return a replay of the CUDA graph of a run; raises CaptureError.

        All graphs share one pool of memory: they are replayed one after the other, and nobody reads what they make.
        """
        graph = torch.cuda.CUDAGraph()
        try:
            if self._pool is None:
                self._open_pool()
            torch.cuda.synchronize()
            # During a capture the allocator gives back none of what it keeps, as `torch.cuda.graph` knows too.
            gc.collect()
            torch.cuda.empty_cache()
            self._capture_into(graph, run)
        except RuntimeError as error:
            # The allocator still asks a graph that failed whether memory is its own.
            self._failed.append(graph)
            torch.cuda.synchronize()
            # A capture that failed leaves its pool closed to others (PyTorch issue 180395, before 2.12), and random
            # numbers refused outside of captures; one that succeeds, in another pool, ends both.
            with suppress(RuntimeError):
                self._open_pool()
            if isinstance(error, torch.cuda.OutOfMemoryError):
                why = "out of memory: a graph needs memory of its own; a smaller --batch leaves it some"
                raise CaptureError(why) from error
            raise CaptureError(first_line(error)) from error
        return graph.replay

    def _open_pool(self) -> None:
        """Make a pool of memory for captures, with a graph in it: one that no graph uses is given up for good."""
        scratch = torch.zeros(1, device=self._device)
        torch.cuda.synchronize()
        self._pool = torch.cuda.graph_pool_handle()
        anchor = torch.cuda.CUDAGraph()
        self._capture_into(anchor, lambda: scratch.add_(1))
        self._anchors.append(anchor)

    def _capture_into(self, graph: torch.cuda.CUDAGraph, run: Run) -> None:
        """Capture a run; ends the capture whatever happens, since else every later call of CUDA fails."""
        graph.capture_begin(pool=self._pool)
        try:
            result = run()
        except BaseException:
            # CUDA only says again that the capture is broken; the first error is the one that tells.
            with suppress(RuntimeError):
                graph.capture_end()
            raise
        graph.capture_end()
        del result

    def graph_event(self) -> object:
        try:
            event = torch.cuda.Event(enable_timing=True, external=True)  # type: ignore[no-untyped-call]
        except TypeError:
            raise CaptureError("PyTorch before 2.8 records no events in graphs") from None
        event.record()
        return event

    def between(self, first: object, second: object) -> float:
        return float(first.elapsed_time(second)) / 1000  # type: ignore[attr-defined]  # both are events of CUDA

    def prepare_tracing(self) -> None:
        """Have the tracer meet a kernel before the first capture, where it would hang or crash else.

        CUPTI before CUDA 12.6 does (PyTorch issues 135003, 75504); later ones record nothing after an empty session.
        """
        version = tuple(map(int, (torch.version.cuda or "99").split(".")[:2]))
        if version < (12, 6):
            self._trace(lambda: None)

    def record(self, script: Callable[[], None]) -> list[dict[str, Any]]:
        """Run under torch.profiler, and return the events of its trace; times are exact decimals.

        On whatever thread: a thread has a current device and stream of its own.
        """
        with torch.cuda.device(self._device), torch.cuda.stream(self._stream):
            return self._trace(script)

    def _trace(self, script: Callable[[], None]) -> list[dict[str, Any]]:
        from torch.profiler import ProfilerActivity, profile

        # Kineto prints lines about its own state on stderr otherwise.
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")
        scratch = torch.zeros(1, device=self._device)
        torch.cuda.synchronize()
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA], profile_memory=True) as profiler:
            for _ in range(_HEAD):
                scratch.add_(1)
            torch.cuda.synchronize()
            script()
            torch.cuda.synchronize()
        return recorded_events(profiler)

    def range(self, name: str) -> AbstractContextManager[object]:
        context: AbstractContextManager[object] = torch.profiler.record_function(name)
        return context

    def peak_bytes(self, run: Run) -> int:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        result = run()
        torch.cuda.synchronize()
        peak = torch.cuda.max_memory_allocated()
        del result
        return int(peak - before)

    def free_bytes(self) -> int:
        """Return the memory that can still be allocated, PyTorch's own reserve included.

        What graphs reserve in their pools is not free, although nothing is allocated in it.
        """
        free, _ = torch.cuda.mem_get_info()
        kept = _kept_by_graphs() if self._anchors else 0
        return int(free + torch.cuda.memory_reserved() - torch.cuda.memory_allocated() - kept)

    def sweep(self, size: int) -> Run:
        numbers = torch.randn(max(1, size // 4), device=self._device)
        return numbers.sum

    def clocks(self) -> Mapping[str, float]:
        readings = {
            "sm_MHz": self._nvml.sm_megahertz(),
            "memory_MHz": self._nvml.memory_megahertz(),
            "power_limit_W": self._nvml.power_limit(),
        }
        return {name: value for name, value in readings.items() if value is not None}

    def joules(self) -> float | None:
        return self._nvml.joules()


def _kept_by_graphs() -> int:
    """Return the bytes that the pools of graphs reserve and do not use."""
    segments = torch.cuda.memory_snapshot()  # type: ignore[no-untyped-call]  # untyped in PyTorch
    pools = (segment for segment in segments if tuple(segment.get("segment_pool_id", (0, 0))) != (0, 0))
    return sum(segment["total_size"] - segment["allocated_size"] for segment in pools)
