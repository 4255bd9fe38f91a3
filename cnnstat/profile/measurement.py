"""Measurement: what one device's measuring part hands over, before counts and ceilings are put beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cnnstat.profile.result import Whole


@dataclass(frozen=True, slots=True, kw_only=True)
class RowTimes:
    """The measured times of one row (a node of the graph), in seconds; one entry for each pass.

    forward: all calls of the row in one forward pass, the cost of the instrumentation already taken off.
    backward: the same of one backward pass; None where none ran.
    warm, cold: the layer alone (`--isolate`); None where it was not measured.
    calls: how often the row was called in one pass; 0 for a row that never runs by itself (parameters that are not
        used, a view that is made inside another call).
    kernels, kernel_names: GPU kernels of one pass; None and empty on a CPU.
    """

    forward: tuple[float, ...]
    backward: tuple[float, ...] | None = None
    warm: tuple[float, ...] | None = None
    cold: tuple[float, ...] | None = None
    calls: int = 1
    kernels: int | None = None
    kernel_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """All times of one model; seconds.

    rows: by the index of the node in the graph; a row that is missing did not run.
    whole: one pass without instrumentation.
    gaps: median time of an instrumented pass in which nothing computed, the cost of the instrumentation taken off.
    unattributed: median time of op calls or kernels that belong to no row.
    clocks: MHz and watts, as `Environment.clocks` has them.
    """

    rows: Mapping[int, RowTimes]
    whole: Whole
    gaps: float
    unattributed: float
    peak_bytes: int | None = None
    joules: float | None = None
    lost_kernels: int = 0
    complete: bool = True
    notes: tuple[str, ...] = ()
    clocks: Mapping[str, float] = field(default_factory=dict)
