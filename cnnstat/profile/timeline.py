"""The timeline of one instrumented pass, written as a Chrome trace."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cnnstat.analysis.analysis import Analysis
from cnnstat.profile.chrome import Slice, write_trace
from cnnstat.profile.observer import UNATTRIBUTED
from cnnstat.profile.stopwatch import Lap, Stopwatch


def write_timeline(watch: Stopwatch, analysis: Analysis, path: Path) -> None:
    """Write what a stopwatch took of a pass; raises CnnstatError where the file cannot be written."""
    forward, backward = (watch.laps, ""), (watch.backward_laps, " (backward)")
    write_trace(path, [each for laps, suffix in (forward, backward) for each in _slices(laps, analysis, suffix)])


def _slices(laps: Sequence[Lap], analysis: Analysis, suffix: str) -> list[Slice]:
    """Return the layers of a pass on one track."""
    nodes = analysis.graph.nodes
    return [
        Slice("layers", ("unattributed" if row == UNATTRIBUTED else nodes[row].name) + suffix, begin, end)
        for row, begin, end in laps
    ]
