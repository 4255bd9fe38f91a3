"""Chrome traces: a timeline with the names of layers, for chrome://tracing, Perfetto and the like."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cnnstat.analysis.analysis import Analysis
from cnnstat.errors import CnnstatError
from cnnstat.files import write_text
from cnnstat.profile.measurement import row_names
from cnnstat.profile.profile_result import UNATTRIBUTED
from cnnstat.profile.stopwatch import Lap, Stopwatch
from cnnstat.profile.traces.kernel_attribution import Pass

_PROCESS = 2_000_000_000
"""Process number of the tracks that are added; above those that Linux gives out (2**22 at most)."""


@dataclass(frozen=True, slots=True)
class Slice:
    """Something that took time: a layer or a kernel on a track of its own; times in nanoseconds."""

    track: str
    name: str
    start: int
    end: int
    arguments: Mapping[str, Any] = field(default_factory=dict)


def slices_of(passes: Iterable[Pass], names: Sequence[str]) -> Iterator[Slice]:
    """Yield tracks of passes on a GPU: the layers, and under them each stream's kernels; names: of all rows.

    Neighbouring kernels of one layer are one slice of the track of layers.
    """
    for one in passes:
        pieces = sorted(one.pieces, key=lambda piece: piece.kernel.start)
        for piece in pieces:
            name = "unattributed" if piece.owner is None else names[piece.owner.row]
            arguments = {"layer": name, "grid and block": list(piece.kernel.signature.shape)}
            kernel = piece.kernel
            yield Slice(f"stream {kernel.stream}", kernel.name, kernel.start, kernel.end, arguments)
        begin = 0
        for place, piece in enumerate(pieces):
            if place + 1 < len(pieces) and pieces[place + 1].owner == piece.owner:
                continue
            group = [member.kernel for member in pieces[begin : place + 1]]
            begin = place + 1
            name = "unattributed" if piece.owner is None else names[piece.owner.row]
            name += " (backward)" if piece.owner and piece.owner.backward else ""
            end = max(kernel.end for kernel in group)
            yield Slice("layers", name, group[0].start, end, {"kernels": [kernel.name for kernel in group]})


def chrome_trace(slices: Iterable[Slice], events: Iterable[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """Return a trace in Chrome's format: other events as they are, and a process called cnnstat with the tracks.

    Slices of one track that overlap are put on tracks beside each other, of the same name.
    """
    written: list[Any] = [dict(event) for event in events]
    tracks: dict[str, list[int]] = {}
    numbers = 0
    written.append(_metadata_event("process_name", 0, "cnnstat"))
    for piece in sorted(slices, key=lambda piece: (piece.start, -piece.end)):
        lanes = tracks.setdefault(piece.track, [])
        lane = next((lane for lane, busy in enumerate(lanes) if busy <= piece.start), len(lanes))
        if lane == len(lanes):
            lanes.append(0)
        lanes[lane] = piece.end
        written.append(_event(piece, lane))
    order = sorted(tracks, key=lambda track: (track != "layers", track))
    first: dict[str, int] = {}
    for track in order:
        first[track] = numbers
        written += [_metadata_event("thread_name", numbers + lane, track) for lane in range(len(tracks[track]))]
        numbers += len(tracks[track])
    for event in written:
        if event.get("pid") == _PROCESS and event["ph"] == "X":
            event["tid"] += first[event["args"].pop("track")]
    return {"traceEvents": written, "displayTimeUnit": "ns"}


def _event(piece: Slice, lane: int) -> dict[str, Any]:
    """Return a slice as an event; its track's number is added to the lane's once all tracks are known."""
    return {
        "ph": "X",
        "cat": "cnnstat",
        "name": piece.name,
        "pid": _PROCESS,
        "tid": lane,
        "ts": piece.start / 1000,
        "dur": (piece.end - piece.start) / 1000,
        "args": {**piece.arguments, "track": piece.track},
    }


def _metadata_event(kind: str, thread: int, name: str) -> dict[str, Any]:
    return {"ph": "M", "name": kind, "pid": _PROCESS, "tid": thread, "args": {"name": name}}


def write_trace(path: Path, slices: Iterable[Slice], events: Iterable[Mapping[str, Any]] = ()) -> None:
    """Write a trace to a file, in a folder that is made if it is missing; raises CnnstatError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(chrome_trace(slices, events), default=float))
    except OSError as error:
        raise CnnstatError(f"{path}: cannot write the trace ({error.strerror}); name another file") from None


def write_timeline(watch: Stopwatch, analysis: Analysis, path: Path) -> None:
    """Write what a stopwatch took of a pass; raises CnnstatError where the file cannot be written."""
    forward, backward = (watch.laps, ""), (watch.backward_laps, " (backward)")
    write_trace(path, [each for laps, suffix in (forward, backward) for each in _layer_slices(laps, analysis, suffix)])


def _layer_slices(laps: Sequence[Lap], analysis: Analysis, suffix: str) -> list[Slice]:
    """Return the layers of a pass on one track."""
    names = row_names(analysis.graph)
    return [
        Slice("layers", ("unattributed" if row == UNATTRIBUTED else names[row]) + suffix, begin, end)
        for row, begin, end in laps
    ]
