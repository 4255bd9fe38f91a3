"""Details of a profile beside its layers: kernels, ops inside layers, memory, the timeline, a check of the tracer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelTime:
    """All kernels of one name in a pass.

    count, seconds: how many, and what they take together, those that overlap in full.
    grid, block: of the one that takes longest; empty for copies and fills, and where the tracer does not say.
    tensor_cores: whether its name is one of those that compute on tensor cores.
    layers: names of the layers that run it.
    """

    name: str
    count: int
    seconds: float
    grid: tuple[int, ...] = ()
    block: tuple[int, ...] = ()
    tensor_cores: bool = False
    layers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class OpTime:
    """All calls of one op inside one layer in a pass; seconds of its kernels, on a CPU those that it takes itself."""

    layer: str
    backward: bool
    op: str
    calls: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerMemory:
    """The most bytes allocated while a layer's forward pass runs, measured and predicted; inputs, parameters aside."""

    layer: str
    measured: int
    predicted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineSlice:
    """A stretch of one pass in which a stream or thread worked for one layer; seconds since the pass began."""

    layer: str
    backward: bool
    track: str
    start: float
    seconds: float


MOST_SLICES = 5000
"""Slices that a profile keeps: what begins later in a longer pass is left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowCheck:
    """How the tracer's times of layers compare with events that a CUDA graph records around them, which need no tracer.

    rows: how many layers were compared, those of 10 µs and more; median: of the differences as shares, in size.
    worst, worst_apart: the layer that differs most, and by which share the tracer's time is longer.
    """

    rows: int
    median: float
    worst: str
    worst_apart: float

    @property
    def agrees(self) -> bool:
        """Whether half of the layers differ by at most 5 %."""
        return self.median <= ROWS_APART


ROWS_APART = 0.05
"""Share by which half of the layers may differ from events inside the graph."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """What a measurement tells beside the times of the layers and of the whole; a profile has it as it was measured.

    peak_bytes: most bytes alive in a pass beside parameters and inputs; None if not measured.
    joules: energy of one pass (`--energy`); None where the machine does not tell.
    lost_kernels: launches whose kernel the tracer did not report, over all steps that were kept.
    complete: False if the run was stopped before everything was measured.
    kernels: of a GPU, by name, the heaviest first. gap_causes: seconds of the gaps by why they are there (`host`,
        `launch`, `dependency`), where ordinary passes were traced.
    """

    peak_bytes: int | None = None
    joules: float | None = None
    lost_kernels: int = 0
    complete: bool = True
    kernels: tuple[KernelTime, ...] = ()
    gap_causes: Mapping[str, float] = field(default_factory=dict)
    row_check: RowCheck | None = None
    ops: tuple[OpTime, ...] = ()
    timeline: tuple[TimelineSlice, ...] = ()
