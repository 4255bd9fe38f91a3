"""ReplayGpu: a GPU that runs the kernels of real recordings, with the faults that real tracers have."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event
from typing import Any

from fake_gpu import LAUNCH, FakeGpu
from recordings import recording

from cnnstat.profile.cuda.gpu import CaptureError

Layers = tuple[tuple[tuple[str, int], ...], ...]


def layers_of(name: str, most: int = 40) -> Layers:
    """The kernels of the first rows of a recording that have any: names, and nanoseconds as recorded."""
    from cnnstat.profile.traces.kernel_attribution import attribute
    from cnnstat.profile.traces.kineto_trace import read_trace

    (one,) = attribute(read_trace(recording(name)["traceEvents"])).passes
    rows: dict[int, list[tuple[str, int]]] = {}
    for piece in one.pieces:
        if piece.owner is not None and not piece.owner.backward and piece.kernel.work == "kernel":
            rows.setdefault(piece.owner.row, []).append((piece.kernel.name, piece.kernel.end - piece.kernel.start))
    return tuple(tuple(kernels) for _, kernels in sorted(rows.items()))[:most]


class ReplayGpu(FakeGpu):
    """Knobs, all off by default.

    tracer_cost: nanoseconds that each kernel of a graph takes longer while it is traced.
    misdated: kernels at the start of each session that CUPTI stamps with another clock.
    silent: no records at all. silent_replays: none of what graphs run. silent_launches: no driver launches.
    hangs: the session never returns. fails: it raises this.
    memory: bytes that a capture may take; a capture of more kernels than that runs out of it.
    queue: launches that the GPU takes before the CPU waits.
    stretches: by how much longer the first kernel of each pair of a graph is recorded than it ran (kineto#1165).
    rename: what becomes of the names of runtime calls.
    """

    def __init__(
        self, *, tracer_cost: int = 0, misdated: int = 0, silent: bool = False, silent_replays: bool = False,
        silent_launches: bool = False, hangs: bool = False, fails: Exception | None = None, memory: int | None = None,
        queue: int | None = None, stretches: float = 1.0, rename: Callable[[str], str] = str,
    ) -> None:  # fmt: skip
        super().__init__()
        self.tracer_cost, self.misdated, self.queue, self.rename = tracer_cost, misdated, queue, rename
        self.silent, self.silent_replays, self.silent_launches = silent, silent_replays, silent_launches
        self.stretches = stretches
        self.hangs, self.fails, self.memory = hangs, fails, memory
        self.released = Event()
        self._ends: list[int] = []
        self._in_graph = False

    def _run(self, duration: int) -> None:
        super()._run(duration + (self.tracer_cost if self._in_graph and self._recording is not None else 0))
        if self.queue is not None:
            self._ends = [end for end in self._ends if end > self.clock]
            if len(self._ends) >= self.queue:
                self.clock = self._ends[-self.queue]
            self._ends.append(self.free)

    def capture(self, run: Callable[[], object]) -> Callable[[], None]:
        if self.memory is not None:
            count = 0
            launch = self.launch

            def counting(kernel: str, duration: int) -> None:
                nonlocal count
                count += 1

            self.launch = counting  # type: ignore[method-assign]
            run()
            self.launch = launch  # type: ignore[method-assign]
            if count > self.memory:
                raise CaptureError("out of memory")
        replay = super().capture(run)

        def replayed() -> None:
            self._in_graph = True
            if self._recording is not None:
                # What the tracer adds lies between the kernels' records, as in real ones.
                self._recording.between = self.tracer_cost
            try:
                replay()
            finally:
                self._in_graph = False
                if self._recording is not None:
                    self._recording.between = 0
                    self.clock += LAUNCH

        return replayed

    def record(self, script: Callable[[], None]) -> list[dict[str, Any]]:
        if self.hangs:
            self.sessions += 1
            self.released.wait(30)
        if self.fails is not None:
            raise self.fails
        events = super().record(script)
        graphs = {e["args"]["correlation"] for e in events if e["name"] == "cudaGraphLaunch"}
        kept, misdated = [], self.misdated
        for event in events:
            is_kernel = event.get("cat") == "kernel"
            if is_kernel and (self.silent or (self.silent_replays and event["args"]["correlation"] in graphs)):
                continue
            if self.silent_launches and event["name"] == "cudaLaunchKernel":
                continue
            if is_kernel and event["args"]["correlation"] in graphs and len(kept) % 2:
                event = {**event, "dur": round(event["dur"] * self.stretches, 3)}
            if is_kernel and misdated:
                misdated -= 1
                event = {**event, "ts": event["ts"] - 1e11}
            if event.get("cat") == "cuda_runtime":
                event = {**event, "name": self.rename(event["name"])}
            kept.append(event)
        return kept
