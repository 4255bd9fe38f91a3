"""Measurement: the times that were measured on one device, and the profile they make with counts and roofline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from itertools import accumulate

from cnnstat.analysis.analysis import Analysis
from cnnstat.analysis.memory import alive_by_node, moved_bytes, peak_beside_inputs
from cnnstat.ir.graph import Graph
from cnnstat.profile.profile_details import Details, LayerMemory
from cnnstat.profile.profile_result import Environment, LayerTime, Profile, Samples, TimeBreakdown, Whole, summarize
from cnnstat.profile.roofline import Roofline


def row_names(graph: Graph) -> list[str]:
    """Return what the rows are called: the nodes of the graph, and behind them an optimizer's step."""
    return [*(node.name for node in graph.nodes), "optimizer"]


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


Beside = tuple[str, str, RowTimes]
"""Name, kind and times of what is measured with a model and is none of its layers."""


@dataclass(frozen=True, slots=True)
class IsolatedTimes:
    """Seconds of each row alone, all its calls added up, one entry for each visit."""

    warm: dict[int, tuple[float, ...]] = field(default_factory=dict)
    cold: dict[int, tuple[float, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    complete: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement(Details):
    """All times of one model; seconds.

    rows: by the index of the node in the graph; a row that is missing did not run.
    whole: one pass without instrumentation.
    idle: median time of an instrumented pass in which nothing computed, the cost of the instrumentation taken off.
    unattributed: median time of op calls or kernels that belong to no row.
    tracing: as `TimeBreakdown` has it; kernel_count: its `kernels`.
    beside: what is measured with the model and is none of its layers, as (name, kind, times), such as an optimizer.
    is_stuck: whether the device hangs, so that nothing more may be measured on it.
    memory: the most bytes allocated while each row's forward pass ran, over what was when the pass began.
    clocks: MHz and watts, as `Environment.clocks` has them.
    """

    rows: Mapping[int, RowTimes]
    whole: Whole
    idle: float
    unattributed: float
    tracing: float = 0.0
    kernel_count: int = 0
    beside: tuple[Beside, ...] = ()
    memory: Mapping[int, int] = field(default_factory=dict)
    is_stuck: bool = False
    notes: tuple[str, ...] = ()
    clocks: Mapping[str, float] = field(default_factory=dict)


DID_NOT_RUN = RowTimes(forward=(), calls=0)


def assemble(
    analysis: Analysis,
    source: str,
    measurement: Measurement,
    roofline: Roofline,
    environment: Environment,
    *,
    training: bool,
    backward: bool,
) -> Profile:
    """Return the profile of what was measured; the layers are the rows of the analysis, in their order.

    training: whether the model ran in train mode; backward: whether its backward pass ran too.
    """
    graph = analysis.graph
    moved = moved_bytes(graph, analysis.values, training=training)
    layers = tuple(
        _layer(analysis, row, measurement.rows.get(row, DID_NOT_RUN), roofline, moved[row])
        for row in range(len(graph.nodes))
    )
    layers += tuple(_time_beside(name, kind, times) for name, kind, times in measurement.beside)
    time_breakdown = TimeBreakdown(
        whole=measurement.whole.plain.median,
        layers=sum(layer.seconds for layer in layers),
        idle=measurement.idle,
        unattributed=measurement.unattributed,
        tracing=measurement.tracing,
        kernels=measurement.kernel_count,
    )
    return Profile(
        model=graph.name,
        source=source,
        inputs={each.name: each.shape for each in graph.inputs},
        environment=replace(environment, clocks={**environment.clocks, **measurement.clocks}),
        roofline=roofline,
        layers=layers,
        whole=measurement.whole,
        time_breakdown=time_breakdown,
        predicted_peak_bytes=_predicted_peak(analysis, backward),
        notes=(*measurement.notes, *graph.about.get("notes_torch", ())),
        memory=_memory(analysis, backward, measurement.memory),
        analysis=analysis,
        **{each.name: getattr(measurement, each.name) for each in fields(Details)},
    )


def with_roofline(profile: Profile, roofline: Roofline, note: str) -> Profile:
    """Return a profile with its bounds by another roofline, and a note of that."""
    layers = tuple(
        replace(layer, bound_seconds=bound_seconds, bound=bound) if layer.bound is not None else layer
        for layer in profile.layers
        for bound_seconds, bound in [roofline.bound(layer.flops, layer.moved)]
    )
    return replace(profile, roofline=roofline, layers=layers, notes=(*profile.notes, note))


def _predicted_peak(analysis: Analysis, backward: bool) -> int:
    """Return the bytes of activations at the peak of a pass, inputs and parameters aside.

    With a backward pass: what it keeps, and the gradients of the parameters.
    """
    if backward:
        return analysis.memory.saved_bytes + analysis.memory.gradient_bytes
    return peak_beside_inputs(analysis.graph, analysis.values)


def _memory(analysis: Analysis, backward: bool, by_row: Mapping[int, int]) -> tuple[LayerMemory, ...]:
    """Return measured and predicted bytes of the rows that were measured, in their order."""
    if not by_row:
        return ()
    graph = analysis.graph
    # Before a backward pass what it needs is kept.
    saved = tuple(accumulate(analysis.memory.layer_saved_bytes)) if backward else ()
    predicted = saved or alive_by_node(graph, analysis.values)
    return tuple(
        LayerMemory(layer=node.name, measured=by_row[row], predicted=predicted[row])
        for row, node in enumerate(graph.nodes)
        if row in by_row
    )


def _layer(analysis: Analysis, row: int, times: RowTimes, roofline: Roofline, moved: int) -> LayerTime:
    """Return one row; what never runs by itself, or neither computes nor moves anything, has no bound."""
    # not `analysis.layers`, which would compute receptive fields too
    node, work = analysis.graph.nodes[row], analysis.work
    moved = moved if times.calls else 0
    flops = work.flops[row] if times.calls else 0
    bound_seconds, bound = roofline.bound(flops, moved) if moved or flops else (0.0, None)
    return LayerTime(
        name=node.name,
        kind=node.op.kind,
        calls=times.calls,
        forward=_samples(times.forward) or Samples(0.0, 0.0, 0.0, 0),
        macs=work.macs[row] if times.calls else 0,
        flops=flops,
        moved=moved,
        bound_seconds=bound_seconds,
        bound=bound,
        kernels=times.kernels,
        kernel_names=times.kernel_names,
        backward=_samples(times.backward),
        warm=_samples(times.warm),
        cold=_samples(times.cold),
        counted=node.op.modelled,
    )


def _time_beside(name: str, kind: str, times: RowTimes) -> LayerTime:
    """Return what is no layer of the graph: of its work nothing is counted."""
    return LayerTime(
        name=name, kind=kind, calls=times.calls, forward=_samples(times.forward) or Samples(0.0, 0.0, 0.0, 0), macs=0,
        flops=0, moved=0, bound_seconds=0.0, bound=None, kernels=times.kernels, kernel_names=times.kernel_names,
        backward=_samples(times.backward), counted=True,
    )  # fmt: skip


def _samples(values: tuple[float, ...] | None) -> Samples | None:
    return summarize(values) if values else None
