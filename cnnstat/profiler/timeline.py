"""The timeline of one instrumented pass, written as a Chrome trace."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cnnstat.passes.analysis import Analysis
from cnnstat.profiler.observer import UNATTRIBUTED
from cnnstat.profiler.stopwatch import BackwardStopwatch, Lap, Stopwatch
from cnnstat.timing.chrome import Slice, write_trace


def write_timeline(watch: Stopwatch, analysis: Analysis, path: Path) -> None:
    """Write what a stopwatch took of a pass; raises CnnstatError where the file cannot be written."""
    slices = _slices(watch.laps, analysis, "")
    if isinstance(watch, BackwardStopwatch):
        slices += _slices(watch.backward_laps, analysis, " (backward)")
    write_trace(path, slices)


def _slices(laps: Sequence[Lap], analysis: Analysis, suffix: str) -> list[Slice]:
    """Return the layers of a pass on one track."""
    nodes = analysis.graph.nodes
    return [
        Slice("layers", ("unattributed" if row == UNATTRIBUTED else nodes[row].name) + suffix, begin, end)
        for row, begin, end in laps
    ]
