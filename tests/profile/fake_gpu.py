"""A GPU that only keeps time, and a model on it: the way of measuring can be followed step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

from kineto import Recording

from cnnstat.profile.cuda.gpu import CaptureError
from cnnstat.profile.instrumentation import LayerCall, Observer

LAUNCH = 4200
"""Nanoseconds that a launch takes the CPU; as in a Recording."""

GAP = 900
"""Nanoseconds between two kernels of one stream; as in a Recording."""


EVENT = 700
"""Nanoseconds that an event takes in a graph."""


class FakeGpu:
    """Runs kernels one after the other; its host's clock moves by launches and waits only.

    capturable: whether graphs can be captured; loses: the numbers of kernels, counted over all sessions, of which the
    profiler has no record; energy: watts, None if it is not told; log: what was done, in order.
    """

    l2_bytes = 1000

    def __init__(self, *, capturable: bool = True, loses: tuple[int, ...] = (), energy: float | None = 100.0) -> None:
        self.clock = 0
        self.free = 0
        self.capturable = capturable
        self.energy = energy
        self.log: list[str] = []
        self.sessions = 0
        self.peak = 4096
        self._loses = loses
        self._recorded = 0
        self._captured: list[tuple[str, int]] | None = None
        self._recording: Recording | None = None
        self._used = 0.0
        self.interrupt_at: int | None = None
        self.events: dict[str, int] = {}
        self.has_graph_events = True
        self.pairs = 0

    def launch(self, kernel: str, duration: int) -> None:
        """Put a kernel on the stream."""
        if self._captured is not None:
            self._captured.append((kernel, duration))
            return
        if self._recording is not None:
            self._recorded += 1
            self._recording.launch(kernel, duration, lost=self._recorded in self._loses)
        self.clock += LAUNCH
        self._run(duration)

    def _run(self, duration: int) -> None:
        self.free = max(self.clock, self.free + GAP) + duration
        self._used += duration

    def now(self) -> int:
        return self.clock

    def synchronize(self) -> None:
        self.clock = max(self.clock, self.free)
        if self._recording is not None:
            self._recording.synchronize()

    def elapsed(self, run: Callable[[], object], repeats: int) -> float:
        self.pairs += 1
        if self.interrupt_at == self.pairs:
            raise KeyboardInterrupt
        self.synchronize()
        start = self.clock
        for _ in range(repeats):
            run()
        self.synchronize()
        self.log.append(f"elapsed {repeats}")
        return (self.clock - start) / 1e9

    def capture(self, run: Callable[[], object]) -> Callable[[], None]:
        if not self.capturable:
            raise CaptureError("operation not permitted when stream is capturing")
        self._captured = found = []
        try:
            run()
        finally:
            self._captured = None

        def replay() -> None:
            if self._captured is not None:
                raise AssertionError("replayed during a capture")
            recording = self._recording
            correlation = recording.call("cudaGraphLaunch") if recording else 0
            self.clock += LAUNCH
            for place, (kernel, duration) in enumerate(found):
                if kernel in self.events:
                    self.free += EVENT
                    self.events[kernel] = self.free
                    continue
                self._recorded += recording is not None
                if recording is not None and self._recorded not in self._loses:
                    recording.kernel(kernel, duration, correlation, node=(5 << 32) + place)
                self._run(duration)

        return replay

    def graph_event(self) -> object:
        if not self.has_graph_events:
            raise CaptureError("PyTorch before 2.8 records no events in graphs")
        if self._captured is None:
            raise AssertionError("an event of no graph")
        name = f"event {len(self.events)}"
        self.events[name] = 0
        self._captured.append((name, 0))
        return name

    def between(self, first: Any, second: Any) -> float:
        return (self.events[second] - self.events[first]) / 1e9

    def record(self, script: Callable[[], None]) -> list[dict[str, Any]]:
        self.sessions += 1
        self.log.append("session")
        self._recording = Recording()
        try:
            script()
            return list(self._recording.document("made in a test")["traceEvents"])
        finally:
            self._recording = None

    def range(self, name: str) -> Any:
        return self._recording.range(name) if self._recording else nullcontext()

    def op(self) -> Any:
        return self._recording.op("aten::op") if self._recording else nullcontext()

    def peak_bytes(self, run: Callable[[], object]) -> int:
        run()
        return self.peak

    def free_bytes(self) -> int:
        return 10**6

    def sweep(self, size: int) -> Callable[[], object]:
        return lambda: self.launch("sweep", 5 * size)

    def clocks(self) -> Mapping[str, float]:
        return {"sm_MHz": 1980.0, "memory_MHz": 3201.0, "power_limit_W": 700.0}

    def joules(self) -> float | None:
        return None if self.energy is None else self._used / 1e9 * self.energy


class FakeModel:
    """A model whose layers are lists of kernels; the last kernel of a pass belongs to no layer."""

    backward = False

    def __init__(self, gpu: FakeGpu, layers: tuple[tuple[tuple[str, int], ...], ...]) -> None:
        self.gpu = gpu
        self.layers = layers
        self.passes = 0
        nodes = tuple(SimpleNamespace(name=f"layer{row}") for row in range(len(layers)))
        self.analysis = SimpleNamespace(graph=SimpleNamespace(nodes=nodes))
        self.instrumentation = SimpleNamespace(counts=dict.fromkeys(range(len(layers)), 1))
        self._observer: Observer | None = None

    def run(self) -> None:
        self.passes += 1
        for row, kernels in enumerate(self.layers):
            if self._observer is not None:
                self._observer.enter(row, 0)
            self._layer(kernels)
            if self._observer is not None:
                self._observer.leave(row, 0)
        self._layer((("sum", 1000),))

    def _layer(self, kernels: tuple[tuple[str, int], ...]) -> None:
        for name, duration in kernels:
            with self.gpu.op():
                self.gpu.launch(name, duration)

    @contextmanager
    def observing(self, observer: Observer) -> Iterator[None]:
        self._observer = observer
        try:
            yield
        finally:
            self._observer = None

    def capture(self) -> list[LayerCall]:
        return [LayerCall(row, self._layer, (kernels,), {}) for row, kernels in enumerate(self.layers)]


class Counting:
    """Progress that remembers its stages."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, int]] = []
        self.steps = 0

    def stage(self, title: str, steps: int) -> None:
        self.stages.append((title, steps))

    def step(self) -> None:
        self.steps += 1
