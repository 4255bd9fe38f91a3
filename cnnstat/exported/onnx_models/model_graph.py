"""Loading an ONNX file: its layer graph, and what the reader of a report has to know about it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from cnnstat.exported.layer_builder import LayerBuilder, Match
from cnnstat.exported.layer_names import Label
from cnnstat.exported.onnx_models.control_flow import ModelWalk, walked
from cnnstat.exported.onnx_models.graph_inputs import graph_inputs
from cnnstat.exported.onnx_models.model_file import read_model
from cnnstat.exported.onnx_models.values import DTYPES, Value
from cnnstat.exported.stored_tensors import Role, main_dtype
from cnnstat.ir.graph import Edge, Graph, check_dtype, collector_paused
from cnnstat.ir.op import Family, numel
from cnnstat.numbers import plural
from cnnstat.ops.traced import Recorded
from cnnstat.sources.request import Request


@collector_paused()
def load_model(source: str, request: Request) -> Graph:
    """Return the layer graph of an ONNX file.

    Raises SourceError for a file that is no model, or one of parts that do not fit, RequestError for sizes or values
    that it cannot have.
    """
    dtype = None if request.dtype is None else check_dtype(request.dtype)
    model = read_model(source)
    inputs, values = graph_inputs(model.graph, request, source[:200])
    weights = ((DTYPES.get(each.data_type, ""), numel(tuple(each.dims))) for each in model.graph.initializer)
    own = main_dtype(weights) or main_dtype((each.dtype, 1) for each in inputs) or "float32"
    walk = ModelWalk(source[:200], model, LayerBuilder(len(inputs), dtype or own), dtype)
    outputs = tuple(_edge(walk, value, number) for number, value in enumerate(walked(walk, {**values})))
    nodes = walk.builder.named()
    if dtype is not None:
        inputs = tuple(replace(each, dtype=dtype) if "float" in each.dtype else each for each in inputs)
    notes = tuple(_notes(walk))
    about: dict[str, Any] = {"notes_torch": notes} if notes else {}
    about["onnx_tensors"] = tuple(walk.tensor_of.get(number, "") for number in range(len(nodes)))
    return Graph(
        name=Path(source).stem,
        inputs=inputs,
        nodes=nodes,
        outputs=outputs,
        dtype=walk.builder.dtype,
        source=source,
        blocks=walk.blocks,
        about=about,
    )


def _edge(walk: ModelWalk, value: Value, number: int) -> Edge:
    """Return where an output comes from; one that no input decides gets a row of its own."""
    if value.edge is not None:
        return value.edge
    uses = [source.as_read(Role.DATA) for source in value.sources]
    op = Recorded(
        function="stored" if value.sources else "constant",
        outputs=((0,) if value.shape is None else value.shape,),
        result_dtypes=(value.dtype,),
        family=Family.OTHER,
    )
    label = Label("", op.function)
    return Edge(walk.builder.emit(label, Match(op, ()), uses, op.outputs, op.result_dtypes))


def _notes(walk: ModelWalk) -> list[str]:
    """Return what the counts rest on, and which constants of the file are no parameters."""
    notes = list(walk.notes)
    merged = [each for each in walk.constants if each.owner is not None and len(each.readers) > 1]
    fewer = sum(numel(each.shape) * (len(each.readers) - 1) for each in merged if each.kind == "parameters")
    if fewer:
        notes.append(
            f"{plural(len(merged), 'tensor')} that layers of several modules read, stored once: {fewer:,} parameters "
            "fewer than with a copy for each"
        )
    if walk.bounded:
        names = ", ".join(sorted(walk.bounded))
        notes.append(f"how much is kept by {names} depends on values; counted as if all were kept: an upper bound")
    return notes
