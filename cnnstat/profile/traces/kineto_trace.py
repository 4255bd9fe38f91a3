"""Kernels: what a GPU ran, what launched it, and which ranges of the program's time that happened in.

Read from the JSON that torch.profiler's `export_chrome_trace` writes (Kineto's, in the Chrome trace event format).
Times are whole nanoseconds since a moment that is the same for all records of one trace.
"""

from __future__ import annotations

import re
import zlib
from bisect import bisect_right
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, NamedTuple, TypeVar

Work = Literal["kernel", "gpu_memcpy", "gpu_memset"]

LAYER_RANGE = "cnnstat#{row}#{call}"
"""Name of the range around one computation of a row."""

PASS_RANGE = "cnnstat#{kind}#{index}"
"""Name of the range around one pass; kind is `eager`, `replay`, or `probe` for what shows the cost of tracing."""

_LAYER_RANGE = re.compile(r"cnnstat#(-?\d+)#(\d+)")
_PASS_RANGE = re.compile(r"cnnstat#(eager|replay|probe)#(\d+)")
_LAUNCH = re.compile(
    r"(?:cu(?:da)?|hip)"
    r"(?:(?P<graph>GraphLaunch)|(?P<kernel>(?:Ext)?(?:Module)?Launch(?:Cooperative)?Kernel)|(?P<memory>Mem(?:cpy|set)))"
)
"""What puts work on a stream, in CUDA's runtime and driver and in HIP; CUPTI may append `_v7000` and `_ptsz`."""

_CALLS = ("cuda_runtime", "cuda_driver", "hip_runtime")
_WORK: tuple[Work, ...] = ("kernel", "gpu_memcpy", "gpu_memset")


class Signature(NamedTuple):
    """What two runs of one kernel have in common: its name, and grid and block (of a copy: the bytes)."""

    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A stretch of time from its first nanosecond to its last."""

    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadStretch(Stretch):
    """A stretch of one thread's time."""

    thread: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel(Stretch):
    """One kernel, copy or fill that ran on the GPU.

    correlation: number that it shares with what launched it, 0 where the trace gives none; node: its place in a CUDA
        graph, 0 outside of one.
    """

    signature: Signature
    work: Work
    stream: int
    correlation: int
    node: int = 0

    @property
    def name(self) -> str:
        """The kernel's name as the compiler made it."""
        return self.signature.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch(ThreadStretch):
    """A call of the CUDA runtime or driver that puts work on a stream.

    kind: a `kernel` always leaves a record of what ran, a `memory` call does not need to, a `graph` leaves many.
    operation: External id of the op that was running, as the trace gives it.
    """

    kind: Literal["kernel", "memory", "graph"]
    correlation: int
    operation: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation(ThreadStretch):
    """An op as PyTorch's dispatcher or autograd ran it.

    sequence: number that a backward op has in common with the forward op that it belongs to; None if it has none.
    forward_thread: above 0 in backward ops only.
    """

    name: str
    external_id: int | None
    sequence: int | None
    forward_thread: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRange(ThreadStretch):
    """The range around one computation of a row."""

    row: int
    call: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PassRange(ThreadStretch):
    """The range around one pass."""

    kind: str
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """All records of a trace that attribution needs, each kind in order of its start."""

    kernels: tuple[Kernel, ...] = ()
    launches: tuple[Launch, ...] = ()
    operations: tuple[Operation, ...] = ()
    layer_ranges: tuple[LayerRange, ...] = ()
    pass_ranges: tuple[PassRange, ...] = ()


Record = TypeVar("Record", bound=Stretch)


def place_at(moment: int, stretches: Sequence[Stretch]) -> int | None:
    """Return which of some stretches, in order and without overlap, a moment lies in; None if in none of them."""
    place = bisect_right(stretches, moment, key=lambda stretch: stretch.start) - 1
    return place if place >= 0 and moment <= stretches[place].end else None


def by_pass(records: Iterable[Record], passes: Sequence[Stretch]) -> list[list[Record]]:
    """Return the records that start in each of some passes, on whatever thread; passes do not overlap."""
    records_of: list[list[Record]] = [[] for _ in passes]
    for record in records:
        place = place_at(record.start, passes)
        if place is not None:
            records_of[place].append(record)
    return records_of


def read_trace(events: Iterable[Mapping[str, Any]]) -> Trace:
    """Return the records among the `traceEvents` of a Kineto trace; what attribution does not need is passed over."""
    records: dict[type, list[Any]] = {Kernel: [], Launch: [], Operation: [], LayerRange: [], PassRange: []}
    for event in events:
        record = _record(event) if event.get("ph") == "X" else None
        if record is not None:
            records[type(record)].append(record)
    for of_kind in records.values():
        of_kind.sort(key=lambda record: (record.start, -record.end))
    return Trace(
        kernels=tuple(records[Kernel]),
        launches=_distinct(records[Launch], {kernel.correlation for kernel in records[Kernel]}),
        operations=tuple(records[Operation]),
        layer_ranges=tuple(records[LayerRange]),
        pass_ranges=tuple(records[PassRange]),
    )


def _record(event: Mapping[str, Any]) -> Kernel | Launch | Operation | LayerRange | PassRange | None:
    category = event.get("cat")
    if category in _WORK:
        return _kernel(event, category)
    if category in _CALLS:
        return _launch(event)
    if category == "cpu_op":
        return _operation(event)
    return _range(event) if category == "user_annotation" else None


def _kernel(event: Mapping[str, Any], work: Work) -> Kernel:
    start, end = _interval(event)
    arguments = arguments_of(event)
    return Kernel(
        signature=Signature(str(event["name"]), _shape(arguments)),
        work=work,
        start=start,
        end=end,
        stream=_stream(arguments, event),
        correlation=_whole(arguments.get("correlation")) or 0,
        node=int(arguments.get("graph node id", 0)),
    )


def _shape(arguments: Mapping[str, Any]) -> tuple[int, ...]:
    """Return grid and block of a kernel, or the bytes of a copy or fill."""
    if "grid" in arguments:
        return (*map(int, arguments["grid"]), *map(int, arguments.get("block", ())))
    return (int(arguments["bytes"]),) if "bytes" in arguments else ()


def _launch(event: Mapping[str, Any]) -> Launch | None:
    match = _LAUNCH.match(str(event["name"]))
    kind = match and next((kind for kind in ("graph", "kernel", "memory") if match[kind]), None)
    arguments = arguments_of(event)
    if not kind or "correlation" not in arguments:
        return None
    start, end = _interval(event)
    return Launch(
        kind=kind,  # type: ignore[arg-type]  # one of the three names just asked for
        start=start,
        end=end,
        thread=thread_of(event),
        correlation=int(arguments["correlation"]),
        operation=_whole(arguments.get("External id")),
    )


def _operation(event: Mapping[str, Any]) -> Operation:
    start, end = _interval(event)
    arguments = arguments_of(event)
    sequence = _whole(arguments.get("Sequence number"))
    return Operation(
        name=str(event["name"]),
        start=start,
        end=end,
        thread=thread_of(event),
        external_id=_whole(arguments.get("External id")),
        sequence=None if sequence is None or sequence < 0 else sequence,
        forward_thread=int(arguments.get("Fwd thread id", 0)),
    )


def _range(event: Mapping[str, Any]) -> LayerRange | PassRange | None:
    """Return the mark or step that an annotation of the program's is, if it is one of ours."""
    name, thread = str(event["name"]), thread_of(event)
    start, end = _interval(event)
    if match := _LAYER_RANGE.fullmatch(name):
        return LayerRange(row=int(match[1]), call=int(match[2]), start=start, end=end, thread=thread)
    if match := _PASS_RANGE.fullmatch(name):
        return PassRange(kind=match[1], index=int(match[2]), start=start, end=end, thread=thread)
    return None


def read_layer_range(name: str) -> int | None:
    """Return the row that the name of a mark says; None for any other name."""
    match = _LAYER_RANGE.fullmatch(name)
    return int(match[1]) if match else None


def arguments_of(event: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what an event says beside its times; nothing where it says that in no form that is known."""
    arguments = event.get("args")
    return arguments if isinstance(arguments, dict) else {}


def thread_of(event: Mapping[str, Any]) -> int:
    """Return the number of an event's thread, one of its own where that has a name."""
    thread = event.get("tid", 0)
    try:
        return int(thread)
    except (TypeError, ValueError):
        return -1 - zlib.crc32(str(thread).encode())


def _stream(arguments: Mapping[str, Any], event: Mapping[str, Any]) -> int:
    return thread_of({"tid": arguments["stream"]} if "stream" in arguments else event)


def _interval(event: Mapping[str, Any]) -> tuple[int, int]:
    """Return start and end of an event; both stand there in microseconds with three decimals."""
    start = nanoseconds(event["ts"])
    return start, start + nanoseconds(event.get("dur", 0))


def nanoseconds(microseconds: Any) -> int:
    """Return whole nanoseconds; a float is taken by its shortest text, so that no rounding creeps in."""
    exact = microseconds if isinstance(microseconds, (Decimal, int)) else Decimal(str(microseconds))
    return round(exact * 1000)


def _whole(value: Any) -> int | None:
    return None if value is None else int(value)


def _distinct(launches: Iterable[Launch], working: Container[int]) -> tuple[Launch, ...]:
    """Return one launch for each kernel, of those in order of their start: a runtime call may hold a driver call.

    The two share a correlation, or only one of them has that of the kernel; working: the kernels' correlations.
    """
    distinct: dict[int, Launch] = {}
    outer: dict[int, Launch] = {}
    for launch in launches:
        around = outer.get(launch.thread)
        if launch.correlation in distinct:
            continue
        if launch.kind == "kernel" and around is not None and launch.end <= around.end:
            if launch.correlation not in working:
                continue
            if around.correlation not in working:
                distinct.pop(around.correlation, None)
        elif launch.kind == "kernel":
            outer[launch.thread] = launch
        distinct[launch.correlation] = launch
    return tuple(distinct.values())
