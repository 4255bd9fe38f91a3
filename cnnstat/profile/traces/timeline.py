"""Timeline: which layer ran when in one recorded pass, on each stream of a GPU or thread of a CPU."""

from __future__ import annotations

from collections.abc import Sequence

from cnnstat.profile.profile_details import MOST_SLICES, TimelineSlice
from cnnstat.profile.traces.kernel_attribution import Pass
from cnnstat.profile.traces.kernel_owners import Owner

TOGETHER = 10_000
"""Nanoseconds between two kernels of one layer that are still one slice: what a GPU takes to start a kernel."""


def timeline(one: Pass, names: Sequence[str], track: str = "stream") -> tuple[TimelineSlice, ...]:
    """Return the slices of a pass in order of their start; names: of all rows; track: what its streams are called."""
    pieces = sorted(one.pieces, key=lambda piece: (piece.kernel.stream, piece.kernel.start))
    begin = min((piece.kernel.start for piece in pieces), default=0)
    streams = dict.fromkeys(piece.kernel.stream for piece in pieces)
    # Numbers of threads say nothing, those of streams are the tracer's.
    numbers = {stream: stream if track == "stream" else place for place, stream in enumerate(streams, start=1)}
    found: list[tuple[int, Owner | None, int, int]] = []
    for piece in pieces:
        kernel = piece.kernel
        stream, owner, start, end = found[-1] if found else (None, None, 0, 0)
        if (stream, owner) == (kernel.stream, piece.owner) and kernel.start - end <= TOGETHER:
            found[-1] = (kernel.stream, owner, start, max(end, kernel.end))
        else:
            found.append((kernel.stream, piece.owner, kernel.start, kernel.end))
    slices = [
        TimelineSlice(
            layer="unattributed" if owner is None or owner.row >= len(names) else names[owner.row],
            backward=owner is not None and owner.backward, track=f"{track} {numbers[stream]}",
            start=(start - begin) / 1e9, seconds=(end - start) / 1e9,
        )
        for stream, owner, start, end in found
    ]  # fmt: skip
    return tuple(sorted(slices, key=lambda each: (each.start, each.track))[:MOST_SLICES])
