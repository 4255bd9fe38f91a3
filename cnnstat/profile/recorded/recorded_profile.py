"""Recorded profile: a profile of a recording that was made elsewhere, of the same kind as one that is measured here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

from cnnstat.analysis.analysis import Analysis, analyze_graph
from cnnstat.analysis.memory import moved_bytes
from cnnstat.errors import CnnstatError
from cnnstat.profile.measurement import IsolatedTimes, Measurement, RowTimes, assemble, row_names
from cnnstat.profile.profile_result import Environment, Profile, Whole, summarize
from cnnstat.profile.recorded.engine_profile import EngineProfile, first_layer_shape, onto_rows, read_engine_profile
from cnnstat.profile.recorded.op_rows import rows_of
from cnnstat.profile.recorded.torch_recording import (
    TorchRecording,
    first_shape,
    is_torch_recording,
    read_torch_recording,
)
from cnnstat.profile.roofline import LAUNCH, Roofline, data_sheet
from cnnstat.profile.traces.kernel_times import CAUSES, kernel_times, row_times
from cnnstat.profile.traces.recording_file import read_recording
from cnnstat.profile.traces.timeline import timeline
from cnnstat.sources.model import ModelReference, NamedReference
from cnnstat.sources.request import input_shape
from cnnstat.version import __version__

NOMINAL = {
    "cuda": Roofline(flops_per_second=19.5e12, bandwidth=1.555e12, launch=0.0, measured=""),
    "cpu": Roofline(flops_per_second=1e11, bandwidth=1e10, launch=0.0, measured=""),
}
"""Usual rates by which layers of a fused region share its time; only their ratio counts. Nothing is launched inside."""


def profile_recording(
    reference: ModelReference, path: Path, layer_info: Path | None = None, *, has_ops: bool = False
) -> Profile:
    """Return the profile of a recording of torch.profiler, TensorRT or ONNX Runtime; nothing is run.

    layer_info: what TensorRT's `--exportLayerInfo` wrote. has_ops: whether the ops inside layers are wanted too.
    Raises CnnstatError where the file is none of these, or of another model.
    """
    document = read_recording(path)
    analysis = analyze_graph(reference.load())
    try:
        if is_torch_recording(document):
            shape = first_shape(document, analysis)
            reference, analysis, notes = _with_recorded_sizes(reference, analysis, shape)
            recording = read_torch_recording(document, analysis, floors(analysis, "cpu"), has_ops=has_ops)
            return _profile_torch(reference, analysis, recording, notes)
        engine = read_engine_profile(document, None if layer_info is None else read_recording(layer_info))
        if engine is not None:
            shape = first_layer_shape(engine, analysis)
            reference, analysis, notes = _with_recorded_sizes(reference, analysis, shape)
            return _profile_engine(reference, analysis, engine, notes)
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        problem = f"{type(error).__name__}: {error}"[:100]
        raise CnnstatError(f"{path}: damaged ({problem}); record it again") from None
    except CnnstatError as error:
        raise CnnstatError(f"{path}: {error}") from None
    raise CnnstatError(
        f"{path}: no recording; give what torch.profiler's export_chrome_trace, trtexec --exportProfile or "
        "ONNX Runtime's profiling wrote"
    )


def _profile_engine(
    reference: ModelReference, analysis: Analysis, engine: EngineProfile, notes: Sequence[str]
) -> Profile:
    first = min((median(layer.seconds) for layer in engine.layers if layer.seconds), default=0.0)
    measurement = onto_rows(engine, rows_of(analysis), floors(analysis, engine.device))
    measurement = replace(measurement, notes=(*notes, *measurement.notes))
    return _profile(reference, analysis, measurement, engine.device, engine.engine, first)


def floors(analysis: Analysis, device: str, *, training: bool = False) -> list[float]:
    """Return the least seconds of each row at usual rates; training: whether the model ran in train mode."""
    return [NOMINAL[device].bound(*work)[0] for work in _work(analysis, training)]


def _with_recorded_sizes(
    reference: ModelReference, analysis: Analysis, shape: tuple[int, ...] | None
) -> tuple[ModelReference, Analysis, list[str]]:
    """Return the model on the input of its recording, where that tells it and the request does not."""
    graph, request = analysis.graph, reference.request
    if shape is None or len(graph.inputs) != 1 or request.batch is not None or request.values is not None:
        return reference, analysis, []
    (declared,) = graph.inputs
    size = "×".join(map(str, shape))
    if len(shape) != len(declared.shape) or shape == declared.shape or shape[1] != declared.shape[1]:
        return reference, analysis, []
    try:
        if shape[1:] == declared.shape[1:] or request.inputs:
            changed = reference.with_request(batch=shape[0])
        else:
            changed = reference.with_inputs({"": input_shape(shape)})
        resized = analyze_graph(changed.load())
    except CnnstatError:
        return reference, analysis, [f"the recording's input is {size}, not that of this network"]
    return changed, resized, [f"input as in the recording, {size}"]


def _profile_torch(
    reference: ModelReference, analysis: Analysis, recording: TorchRecording, notes: Sequence[str]
) -> Profile:
    backward = any(one.backward for one in recording.passes)
    # Autograd runs in eval mode as well; who records a backward pass trains.
    training = backward or reference.request.mode == "train"
    measurement = measurement_of(recording, analysis)
    measurement = replace(measurement, notes=(*notes, *measurement.notes, _OWN_WHOLE))
    return _profile(
        reference,
        analysis,
        measurement,
        "cpu" if recording.is_cpu else "cuda",
        recording.device_name or "CPU of the recording",
        recording.shortest / 1e9,
        recording.versions,
        training=training,
        backward=backward,
    )


_OWN_WHOLE = (
    "the whole is the recorded pass itself: drift shows only by how much passes differ, not what recording cost"
)


def measurement_of(recording: TorchRecording, analysis: Analysis) -> Measurement:
    """Return the times of a recording's passes; the whole is the passes as they were recorded."""
    passes, is_cpu, names = recording.passes, recording.is_cpu, row_names(analysis.graph)
    backward = any(one.backward for one in passes)
    rows = row_times(passes, recording.calls, backward=backward, isolated=IsolatedTimes(), has_kernels=not is_cpu)
    optimizer = rows.pop(len(analysis.graph.nodes), None)
    spans = summarize([one.span / 1e9 for one in passes])
    eager = summarize([each / 1e9 for each in recording.eager]) if recording.eager else spans
    kernel_counts = [sum(not piece.is_continued for piece in one.pieces) for one in passes]
    causes = CAUSES if recording.gaps else ()
    return Measurement(
        rows=rows,
        whole=Whole(plain=spans, eager=eager),
        idle=median(one.idle for one in passes) / 1e9,
        unattributed=median(one.unattributed for one in passes) / 1e9,
        kernel_count=0 if is_cpu else round(median(kernel_counts)),
        kernels=() if is_cpu else kernel_times(passes, names[:-1]),
        gap_causes={cause: median(gaps[cause] for gaps in recording.gaps) / 1e9 for cause in causes},
        lost_kernels=recording.kept_lost,
        ops=recording.ops,
        memory={row: size for row, size in recording.memory.items() if 0 <= row < len(analysis.graph.nodes)},
        peak_bytes=recording.memory.get(-1),
        timeline=timeline(passes[0], names, "thread" if is_cpu else "stream"),
        notes=recording.notes,
        beside=() if optimizer is None else (("optimizer", recording.optimizer, optimizer),),
    )


def _profile(
    reference: ModelReference,
    analysis: Analysis,
    measurement: Measurement,
    device: str,
    device_name: str,
    launch: float,
    versions: Mapping[str, str] = {},  # read only
    *,
    training: bool = False,
    backward: bool = False,
) -> Profile:
    """Return the profile of what was recorded on a device; launch: seconds of the smallest kernel."""
    graph = analysis.graph
    batch = graph.inputs[0].shape[0] if graph.inputs and graph.inputs[0].shape else 1
    environment = Environment(
        device=device,
        device_name=device_name,
        dtype=graph.dtype,
        versions={"cnnstat": __version__, **versions},
        settings={
            "batch": str(batch),
            "mode": "train" if training else "eval",
            "backward": "true" if backward else "false",
            "recorded": "true",
        },
    )
    source = reference.label if isinstance(reference, NamedReference) else graph.source or graph.name
    roofline = _roofline(analysis, device_name, measurement.rows, launch, training)
    return assemble(analysis, source, measurement, roofline, environment, training=training, backward=backward)


def _work(analysis: Analysis, training: bool) -> list[tuple[float, float]]:
    moved = moved_bytes(analysis.graph, analysis.values, training=training)
    return list(zip(analysis.work.flops, moved))


def _roofline(analysis: Analysis, name: str, rows: Mapping[int, RowTimes], launch: float, training: bool) -> Roofline:
    """Return a roofline of the device on paper; else of the best that the recording itself shows."""
    sheet = data_sheet(name, analysis.graph.dtype, launch)
    if sheet is not None:
        return sheet
    seconds = {row: median(times.forward) for row, times in rows.items() if times.forward}
    work = [(*each, seconds.get(row, 0.0)) for row, each in enumerate(_work(analysis, training))]
    timed = [each for each in work if each[2]] or [(flops, moved, 1.0) for flops, moved, _ in work]
    return Roofline(
        flops_per_second=max((flops / time for flops, _, time in timed), default=0.0) or 1.0,
        bandwidth=max((moved / time for _, moved, time in timed), default=0.0) or 1.0,
        launch=launch or LAUNCH,
        measured="",
        source="the best that this recording itself shows: 100 % is as fast as its fastest layer",
    )
