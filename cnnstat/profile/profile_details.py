"""Details of a profile beside its layers: kernels, ops inside layers, memory, the timeline, a check of the tracer."""

from __future__ import annotations

from dataclasses import dataclass


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
