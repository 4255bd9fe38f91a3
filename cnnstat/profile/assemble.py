"""From a measurement, the counts and the ceilings to a profile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from cnnstat.analysis.analysis import Analysis
from cnnstat.analysis.memory import peak_beside_inputs
from cnnstat.ir.op import Family, Shape, Storage, numel
from cnnstat.profile.identity import Identity
from cnnstat.profile.measurement import Measurement, RowTimes
from cnnstat.profile.result import Environment, LayerTime, Profile
from cnnstat.profile.roofline import Ceilings
from cnnstat.profile.samples import Samples, summarize
from cnnstat.profile.subject import Subject
from cnnstat.units import dtype_bytes

DID_NOT_RUN = RowTimes(forward=(), calls=0)


def assemble(
    subject: Subject, source: str, measurement: Measurement, ceilings: Ceilings, environment: Environment
) -> Profile:
    """Return the profile of what was measured; the layers are the rows of the analysis, in their order."""
    graph = subject.analysis.graph
    layers = tuple(
        _layer(subject, row, measurement.rows.get(row, DID_NOT_RUN), ceilings) for row in range(len(graph.nodes))
    )
    identity = Identity(
        whole=measurement.whole.plain.median,
        layers=sum(layer.seconds for layer in layers),
        gaps=measurement.gaps,
        unattributed=measurement.unattributed,
    )
    return Profile(
        model=graph.name,
        source=source,
        inputs={each.name: each.shape for each in graph.inputs},
        environment=replace(environment, clocks={**environment.clocks, **measurement.clocks}),
        ceilings=ceilings,
        layers=layers,
        whole=measurement.whole,
        identity=identity,
        peak_bytes=measurement.peak_bytes,
        predicted_peak_bytes=predicted_peak(subject),
        joules=measurement.joules,
        lost_kernels=measurement.lost_kernels,
        complete=measurement.complete,
        notes=(*subject.notes, *measurement.notes, *_of_trace(subject.analysis)),
    )


def with_ceilings(profile: Profile, ceilings: Ceilings, note: str) -> Profile:
    """Return a profile with its floors by other ceilings, and a note of that."""
    layers = tuple(
        replace(layer, floor=floor, bound=bound) if layer.bound is not None else layer
        for layer in profile.layers
        for floor, bound in [ceilings.floor(layer.flops, layer.moved)]
    )
    return replace(profile, ceilings=ceilings, layers=layers, notes=(*profile.notes, note))


def _of_trace(analysis: Analysis) -> tuple[str, ...]:
    """Return what a traced graph rests on."""
    return tuple(analysis.graph.about.get("notes_torch", ()))


def predicted_peak(subject: Subject) -> int:
    """Return the bytes of activations at the peak of a pass, inputs and parameters aside.

    With a backward pass: what it keeps, and the gradients of the parameters.
    """
    analysis = subject.analysis
    if subject.backward:
        return analysis.memory.saved_bytes + analysis.memory.gradient_bytes
    return peak_beside_inputs(analysis.graph, analysis.values)


def _layer(subject: Subject, row: int, times: RowTimes, ceilings: Ceilings) -> LayerTime:
    """Return one row; what never runs by itself, or neither computes nor moves anything, has no floor."""
    layer = subject.analysis.layers[row]
    moved = moved_bytes(subject.analysis, row, subject.model.training) if times.calls else 0
    flops = layer.flops if times.calls else 0
    floor, bound = ceilings.floor(flops, moved) if moved or flops else (0.0, None)
    return LayerTime(
        name=layer.name,
        kind=layer.op.kind,
        calls=times.calls,
        forward=_samples(times.forward) or Samples(0.0, 0.0, 0.0, 0),
        macs=layer.macs if times.calls else 0,
        flops=flops,
        moved=moved,
        floor=floor,
        bound=bound,
        kernels=times.kernels,
        kernel_names=times.kernel_names,
        backward=_samples(times.backward),
        warm=_samples(times.warm),
        cold=_samples(times.cold),
        counted=layer.op.modelled,
    )


def _samples(values: tuple[float, ...] | None) -> Samples | None:
    """Return the median and quartiles of measurements; None where there are none."""
    return summarize(values) if values else None


def moved_bytes(analysis: Analysis, row: int, training: bool = False) -> int:
    """Return the bytes that a row cannot help moving: its inputs, weights and outputs, each once; 0 for a view.

    Of a table that is looked up, only as much as the outputs hold.
    """
    graph, values = analysis.graph, analysis.values
    node = graph.nodes[row]
    storage = node.op.training_storage if training else node.op.storage
    if storage is Storage.VIEW:
        return 0
    value = graph.arity + row
    reads = sum(
        numel(values.outputs[edge.value][edge.output]) * dtype_bytes(values.dtypes[edge.value][edge.output])
        for edge in set(node.inputs)
    )
    writes = sum(numel(s) * dtype_bytes(d) for s, d in zip(values.outputs[value], values.dtypes[value]))
    shapes = values.inputs[row]
    weights = _bytes({**node.op.weights(shapes), **node.op.buffers(shapes)}, graph.dtype)
    if node.op.family is Family.EMBEDDING:
        weights = min(weights, writes)
    return reads + weights + writes


def _bytes(tensors: Mapping[str, Shape], dtype: str) -> int:
    """Return the bytes of named tensors."""
    return sum(numel(shape) for shape in tensors.values()) * dtype_bytes(dtype)
