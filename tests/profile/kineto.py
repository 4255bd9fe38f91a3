"""Makes traces in the form in which Kineto writes them, for tests that have no GPU."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import Any

PROCESS, MAIN, ENGINE = 4120, 4120, 4187
"""Process, its main thread, and the thread on which autograd runs backward ops of CUDA tensors."""

BASE = 4524132161822122
"""Nanoseconds at which recordings start: as far from Kineto's base time as real ones are."""


class Recording:
    """Events of one session; times are nanoseconds since its start, the clock moves by what is recorded."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.now = 0
        self.between = 0
        self.free: dict[int, int] = {}
        self._external = 0
        self._correlation = 2130000
        self._sequence = 41
        self._op: list[int] = []

    @contextmanager
    def range(self, name: str, *, category: str = "user_annotation", thread: int = MAIN, cost: int = 2500, **args: Any):
        """An annotation or an op around what is recorded inside."""
        self._external += 1
        external = self._external
        start = self.now
        self.now += cost
        if category == "cpu_op":
            self._op.append(external)
        event = self._event(category, name, PROCESS, thread, start, 0)
        event["args"] = {"External id": external, "Record function id": 0, **args, "Ev Idx": external - 1}
        try:
            yield
        finally:
            self.now += cost
            event["dur"] = micro(self.now - start)
            if category == "cpu_op":
                self._op.pop()

    def layer_range(self, row: int, call: int = 0, **keywords: Any):
        return self.range(f"cnnstat#{row}#{call}", **keywords)

    def step(self, kind: str, index: int):
        return self.range(f"cnnstat#{kind}#{index}")

    @contextmanager
    def op(self, name: str, *, node: bool = False, thread: int = MAIN, sequence: int | None = None, forward: int = 0):
        """An op; node: it makes a node of the autograd graph, and yields that one's number."""
        number = self._sequence + 1 if node else sequence
        args = {} if number is None else {"Sequence number": number, "Fwd thread id": forward}
        with self.range(name, category="cpu_op", thread=thread, **args):
            yield number
        if node:
            self._sequence += 1

    def launch(
        self,
        kernel: str,
        duration: int,
        *,
        call: str = "cudaLaunchKernel",
        stream: int = 7,
        thread: int = MAIN,
        shape: tuple[int, ...] = (132, 1, 1, 128, 1, 1),
        lost: bool = False,
        at: int | None = None,
    ) -> None:
        """A launch, and what it runs on its stream as soon as that is free; lost: the tracer has no record of it."""
        correlation = self.call(call, thread=thread)
        if not lost:
            self.kernel(kernel, duration, correlation, stream=stream, shape=shape, at=at)

    def call(self, name: str, *, thread: int = MAIN) -> int:
        """A call of the runtime or driver; returns its correlation."""
        self._correlation += 1
        category = "cuda_driver" if name.startswith(("cuL", "cuM")) else "cuda_runtime"
        event = self._event(category, name, PROCESS, thread, self.now, 4000)
        # What no op made shows its own correlation here.
        external = self._op[-1] if self._op else self._correlation
        event["args"] = {"External id": external, "cbid": 211, "correlation": self._correlation}
        self.now += 4200
        return self._correlation

    def kernel(
        self,
        name: str,
        duration: int,
        correlation: int,
        *,
        stream: int = 7,
        shape: tuple[int, ...] = (132, 1, 1, 128, 1, 1),
        node: int = 0,
        at: int | None = None,
    ) -> None:
        """What ran on the GPU; at: when, instead of as soon as possible."""
        start = max(self.now + 2000, self.free.get(stream, 0) + 900 + self.between) if at is None else at
        self.free[stream] = start + duration
        memory = next((kind for kind in ("Memcpy", "Memset") if name.startswith(kind)), None)
        category = f"gpu_{memory.lower()}" if memory else "kernel"
        event = self._event(category, name, 0, stream, start, duration)
        common = {"device": 0, "context": 1, "stream": stream, "correlation": correlation}
        graph = {"graph id": node >> 32, "graph node id": node}
        external = self._op[-1] if self._op else correlation
        if memory:
            event["args"] = {"External id": external, **common, "bytes": shape[0], "memory bandwidth (GB/s)": 1.0}
        else:
            event["args"] = {
                "External id": external,
                "queued": 0,
                **common,
                "registers per thread": 32,
                "shared memory": 0,
                "blocks per SM": 1.0,
                "warps per SM": 4.0,
                "grid": list(shape[:3]),
                "block": list(shape[3:]),
                "est. achieved occupancy %": 6,
            }
        event["args"].update(graph)

    def synchronize(self) -> None:
        """Wait until every stream is done."""
        start = self.now
        self.now = max(self.now + 5000, *self.free.values(), 0) + 3000
        event = self._event("cuda_runtime", "cudaDeviceSynchronize", PROCESS, MAIN, start, self.now - start)
        self._correlation += 1
        event["args"] = {"External id": self._correlation, "cbid": 165, "correlation": self._correlation}

    def _event(self, category: str, name: str, pid: int, tid: int, start: int, duration: int) -> dict[str, Any]:
        event: dict[str, Any] = {
            "ph": "X",
            "cat": category,
            "name": name,
            "pid": pid,
            "tid": tid,
            "ts": micro(BASE + start),
            "dur": micro(duration),
        }
        self.events.append(event)
        return event

    def document(self, note: str) -> dict[str, Any]:
        """The whole trace, as the JSON that `export_chrome_trace` writes; note: what it shows."""
        metadata = {
            "ph": "M",
            "name": "process_name",
            "ts": micro(BASE),
            "pid": 0,
            "tid": 0,
            "args": {"name": "python"},
        }
        flow = {"ph": "s", "id": 1, "pid": PROCESS, "tid": MAIN, "ts": micro(BASE), "cat": "ac2g", "name": "ac2g"}
        window = {"ph": "i", "name": "Record Window End", "pid": "", "tid": "", "ts": micro(BASE), "s": "g"}
        return {
            "hand-made": note,
            "schemaVersion": 1,
            "deviceProperties": [{"id": 0, "name": "NVIDIA H200", "totalGlobalMem": 150754820096}],
            "displayTimeUnit": "ms",
            "baseTimeNanoseconds": 1790857026000000000,
            "traceEvents": [metadata, flow, *self.events, window],
        }


def micro(nanoseconds: int) -> float:
    """Microseconds with three decimals, as Kineto prints them."""
    return float(f"{nanoseconds // 1000}.{nanoseconds % 1000:03d}")


def text(document: dict[str, Any]) -> str:
    """The document with one event a line."""
    events = ",\n".join(json.dumps(event) for event in document["traceEvents"])
    head = json.dumps({key: value for key, value in document.items() if key != "traceEvents"}, indent=1)[:-2]
    return f'{head},\n "traceEvents": [\n{events}\n]}}\n'
