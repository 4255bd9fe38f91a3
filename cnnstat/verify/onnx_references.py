"""ONNX Runtime and onnxsim as references of an ONNX file: the shapes of every tensor as it runs, and total MACs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from cnnstat.analysis.analysis import Analysis, analyze_graph
from cnnstat.ir.graph import Graph
from cnnstat.ir.op import Shape
from cnnstat.sources.request import Request
from cnnstat.verify.findings import (
    NO_REFERENCE,
    LayerFinding,
    Reference,
    ReferenceCount,
    TotalFinding,
    Verdict,
    Verification,
    explained,
    not_comparable,
    unexplained,
)

MOST = 500 * 2**20
"""Largest file that is run: the runtime reads its weights."""

_RUNTIME, _ONNXSIM = "ONNX Runtime", "onnxsim"
_CONVENTIONS = {
    _RUNTIME: "shapes and dtypes of all tensors as they come out of a run on random numbers",
    _ONNXSIM: "multiply-accumulates of convolutions and matrix products",
}

Output = tuple[Shape, str]
"""Shape and dtype of a tensor of a run."""


def with_onnx_references(
    graph: Graph, request: Request, tensors: Sequence[str], base: Verification | None, why_not: str, may_run: bool
) -> Verification:
    """Return a verification with what ONNX Runtime and onnxsim say of the file, as far as they are installed.

    tensors: for each layer the name of its first result in the file, empty for none. base: what other references say of
    the module that is built of the graph; None where there is none, for the reason `why_not`.
    """
    analysis = analyze_graph(graph) if base is None else base.analysis
    run_outputs, problem = _run(graph, request, set(tensors) - {""}) if may_run else ({}, "--no-run")
    layers = base.layers if base is not None else tuple(_without_references(analysis))
    counted, no_count = _counted(graph, request)
    totals = [] if base is None else [_explained(total, analysis) for total in base.totals]
    if counted is not None:
        totals.append(_total(analysis, counted))
    modules = () if base is not None else (Reference("PyTorch", "a module that is built of the graph", why_not),)
    return Verification(
        analysis=analysis,
        layers=tuple(_with_shape(layer, run_outputs.get(name), analysis) for layer, name in zip(layers, tensors)),
        totals=tuple(totals),
        fields=() if base is None else base.fields,
        references=(
            *(modules if base is None else base.references),
            Reference(_RUNTIME, _CONVENTIONS[_RUNTIME], problem),
            Reference(_ONNXSIM, _CONVENTIONS[_ONNXSIM], no_count),
        ),
        notes=() if base is None else base.notes,
    )


def _without_references(analysis: Analysis) -> Iterator[LayerFinding]:
    for layer in analysis.layers:
        yield LayerFinding(
            layer=layer.name, op=layer.op.kind, macs=layer.macs, flop_counter=NO_REFERENCE, fvcore=NO_REFERENCE,
            shapes=layer.output_shapes, made=None, shape=NO_REFERENCE,
        )  # fmt: skip


def _with_shape(layer: LayerFinding, output: Output | None, analysis: Analysis) -> LayerFinding:
    """Return a finding with the shape that the runtime made."""
    if output is None:
        return layer
    shape, _ = output
    ours = layer.shapes[0]
    if shape == ours:
        return layer if layer.shape.verdict is not Verdict.NO_REFERENCE else replace(
            layer, made=(shape,), shape=ReferenceCount(None)
        )  # fmt: skip
    text = "×".join(map(str, shape)) or "a number"
    is_bound = any("upper bound" in note or "at most" in note for note in analysis.notes)
    if is_bound and len(shape) == len(ours) and all(theirs <= own for theirs, own in zip(shape, ours)):
        reason = f"{_RUNTIME} makes {text} of these numbers; ours is the most that it can be"
        return replace(layer, made=(shape,), shape=explained(None, reason))
    return replace(layer, made=(shape,), shape=unexplained(None, f"{_RUNTIME} makes {text}"))


def _explained(total: TotalFinding, analysis: Analysis) -> TotalFinding:
    """Return a total with the reason where a built module counts the batches that its norms were trained on."""
    if "buffers" not in total.figure or total.theirs.value is None or total.theirs.verdict is not Verdict.UNEXPLAINED:
        return total
    norms = sum(layer.op.kind.startswith("BatchNorm") for layer in analysis.layers)
    each = 8 if "bytes" in total.figure else 1
    if total.theirs.value - total.ours != norms * each:
        return total
    reason = "the built module's norms count the batches that they were trained on, the file does not"
    return replace(total, theirs=explained(total.theirs.value, reason))


def _total(analysis: Analysis, counted: int) -> TotalFinding:
    ours = analysis.totals.macs
    if ours == counted:
        theirs = ReferenceCount(counted)
    elif counted < ours:
        # What it leaves out (quantized convolutions, turns of loops) it does not say layer by layer.
        theirs = not_comparable(counted, f"{_ONNXSIM} does not count all operations of this file")
    else:
        theirs = unexplained(counted, "for no known reason")
    return TotalFinding(figure="MACs", reference=_ONNXSIM, ours=ours, theirs=theirs)


def _run(graph: Graph, request: Request, wanted: set[str]) -> tuple[Mapping[str, Output], str]:
    """Return what the runtime makes of the tensors of these names, or why it could not run."""
    try:
        import numpy
        import onnx
        import onnxruntime
    except ImportError:
        return {}, "onnxruntime is not installed"
    if Path(graph.source).stat().st_size > MOST:
        return {}, f"the file has more than {MOST >> 20} MiB"
    try:
        model = onnx.load(graph.source)
        results_of_nodes = {name for node in model.graph.node for name in node.output}
        stated = {each.name for each in model.graph.output}
        names = sorted(wanted & results_of_nodes)
        model.graph.output.extend(
            onnx.helper.make_empty_tensor_value_info(name) for name in names if name not in stated
        )
        onnxruntime.set_default_logger_severity(4)
        options = onnxruntime.SessionOptions()
        # The layers are those of the file, not those that the runtime would make of them.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        generator = numpy.random.default_rng(0)
        feeds = {}
        for each, declared in zip(session.get_inputs(), graph.inputs):
            value = request.input_values.get(each.name)
            kind = _numpy_type(each.type)
            values = generator.random(declared.shape) if value is None else numpy.array(value)
            is_float = numpy.dtype(kind).kind == "f"
            values = values if is_float or value is not None else numpy.zeros(declared.shape)
            feeds[each.name] = numpy.broadcast_to(values, declared.shape).astype(kind)
        results = session.run(names, feeds)
    except Exception as error:
        return {}, f"it could not run: {' '.join(str(error).split())[:160]}"
    return {
        name: (tuple(result.shape), str(result.dtype))
        for name, result in zip(names, results)
        if hasattr(result, "shape")
    }, ""


def _numpy_type(kind: str) -> str:
    """Return numpy's name of the runtime's `tensor(float)`."""
    plain = kind.removeprefix("tensor(").removesuffix(")")
    return {"float": "float32", "double": "float64"}.get(plain, plain)


def _counted(graph: Graph, request: Request) -> tuple[int | None, str]:
    """Return the multiply-accumulates that onnxsim counts, or why there are none."""
    try:
        import onnx
        from onnxsim import model_info
    except ImportError:
        return None, "onnxsim is not installed"
    try:
        model = onnx.load(graph.source, load_external_data=False)
        sizes = {each.name: each.shape for each in graph.inputs}
        for value in model.graph.input:
            for dim, size in zip(value.type.tensor_type.shape.dim, sizes.get(value.name, ())):
                dim.dim_value = size
        del model.graph.value_info[:]
        macs = model_info.ModelInfo(model).macs
        return int(macs), ""
    except Exception as error:
        return None, f"it could not count: {' '.join(str(error).split())[:120]}"
