"""Network: its name, shapes, figures and receptive fields as all reports write them, in text and in JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from cnnstat.analysis.figures import LAYER_FIGURES, TOTAL_FIGURES
from cnnstat.ir.op import Shape
from cnnstat.numbers import MISALIGNED as MISALIGNED  # reports take both from here
from cnnstat.numbers import number_text as number_text
from cnnstat.report.document import glued
from cnnstat.report.terminal_text import printable

if TYPE_CHECKING:
    from cnnstat.analysis.analysis import Analysis, Layer, Totals
    from cnnstat.analysis.receptive_field.fields import ReceptiveField

GLOBAL_CONTEXT = "global context"
NOT_CENTRED = "not centred"
BOUND = "bound"
WHOLE_INPUT = "whole input"

NOTES = {
    MISALIGNED: "branches of different stride meet; the size is that of the centre output",
    GLOBAL_CONTEXT: "a gate or statistics over space have seen the whole input beside it",
    NOT_CENTRED: "branches of different centre meet, their padding differs",
    BOUND: "at most this size",
}
"""What the notes on a receptive field mean."""


def shape_text(shape: Shape | None) -> str:
    """Return sizes joined by × (`64×55×55`)."""
    if shape is None:
        return ""
    return "×".join(map(str, shape)) or "scalar"


def shapes_text(shapes: Sequence[Shape]) -> str:
    """Return several shapes; equal ones once with their number (`2 of 64×56×56`)."""
    if len(shapes) > 1 and len(set(shapes)) == 1:
        return f"{len(shapes)} of {shape_text(shapes[0])}"
    return ", ".join(map(shape_text, shapes))


def axes_text(numbers: Sequence[Fraction | int | None], joint: str = "×") -> str:
    """Return one number for each axis, or just one if all are equal."""
    texts = [number_text(number) for number in numbers]
    return texts[0] if len(set(texts)) == 1 else joint.join(texts)


def point_text(numbers: Sequence[int]) -> str:
    """Return a position, with one number where all are equal (`−3`, `(−3, 0)`)."""
    text = axes_text(numbers, ", ")
    return f"({text})" if ", " in text else text


def field_notes(field: ReceptiveField | None) -> tuple[str, ...]:
    """Return the words that restrict what a receptive field's figures say."""
    if field is None:
        return ()
    return (
        *((MISALIGNED,) if not field.aligned else ()),
        *((GLOBAL_CONTEXT,) if field.global_context else ()),
        *((NOT_CENTRED,) if not field.centred else ()),
        *((BOUND,) if not field.exact else ()),
    )


def size_text(field: ReceptiveField, joint: str = "×") -> str:
    """Return the size of a receptive field along each axis, `whole` where the axis is read as a whole."""
    if not field.whole:
        return axes_text(field.size, joint)
    return joint.join("whole" if is_whole else f"{size:,}" for size, is_whole in zip(field.size, field.whole))


def field_text(field: ReceptiveField) -> str:
    """Return size, stride and start of a receptive field in words."""
    figures = (
        f"size {size_text(field, ' × ')}",
        f"stride {axes_text(field.stride, ' × ')}",
        f"start {point_text(field.start)}",
    )
    return ", ".join(map(glued, figures))


def heading(analysis: Analysis) -> str:
    """Return the network's name and title."""
    graph = analysis.graph
    title = graph.about.get("title", "")
    name = graph.name or graph.source or "network"
    return printable(f"{name}: {title}" if title and title != name else name)


def input_text(analysis: Analysis) -> str:
    """Return the shapes and dtypes of the inputs, and the dtype of everything else where it is another."""
    graph = analysis.graph
    inputs = (
        f"{printable(i.name) + ' ' if len(graph.inputs) > 1 else ''}{shape_text(i.shape)} {i.dtype}"
        for i in graph.inputs
    )
    model = "" if all(i.dtype == graph.dtype for i in graph.inputs) else f", model {graph.dtype}"
    deployed = "" if graph.deployment is None else f", deployed in {graph.deployment.precision}"
    return f"input {', '.join(inputs)}{model}{deployed}"


def has_common_batch(analysis: Analysis) -> bool:
    """Return whether the first axis of every tensor is the batch, so that tables can leave it out."""
    # One tensor without the batch, such as a table of positions, and dropping the axis would be wrong.
    batch = batch_of(analysis)
    return all(shape and shape[0] == batch for shapes in analysis.values.outputs for shape in shapes)


def batch_of(analysis: Analysis) -> int:
    """Return the size of the first input's first axis."""
    shape = analysis.graph.inputs[0].shape if analysis.graph.inputs else ()
    return shape[0] if shape else 1


# JSON -----------------------------------------------------------------------------------------------------------------


def model_values(analysis: Analysis) -> dict[str, Any]:
    """Return what was analyzed, for JSON."""
    graph = analysis.graph
    inputs = [list(i.shape) for i in graph.inputs]
    deployed = {} if graph.deployment is None else {"deploy": graph.deployment.precision}
    return {"name": graph.name, "source": graph.source, "inputs": inputs, "dtype": graph.dtype, **deployed}


def total_values(totals: Totals) -> dict[str, Any]:
    """Return the figures of a whole network, those of its memory under `memory`."""
    values: dict[str, Any] = {}
    for figure in TOTAL_FIGURES:
        *folders, key = figure.total.split(".")
        place = values
        for folder in folders:
            place = place.setdefault(folder, {})
        place[key] = figure.of(totals)
    field = totals.receptive_field
    values["flop_parts"] = dict(totals.flop_parts)
    values["macs_by_precision"] = dict(totals.macs_by_precision)
    return {**values, "receptive_field": None if field is None else _geometry(field)}


def layer_values(layer: Layer) -> dict[str, Any]:
    """Return the entry of one layer."""
    return row_values(layer.name, layer.op.kind, layer.inputs, (layer,))


def row_values(name: str, kind: str, inputs: Iterable[str], layers: Sequence[Layer]) -> dict[str, Any]:
    """Return the entry of one layer, or of the layers of a folded block."""
    first, last = layers[0], layers[-1]
    field = last.receptive_field
    return {
        "name": name,
        "op": kind,
        "kind": kind,
        "inputs": list(inputs),
        "input_shapes": [list(shape) for shape in first.input_shapes],
        "output_shape": list(last.output_shape),
        "output_shapes": [list(shape) for shape in last.output_shapes],
        **{f.layer: f.of_layers(layers) for f in LAYER_FIGURES if f.in_layers},
        "receptive_field": None if field is None else _field_values(field),
        "receptive_field_extent": last.field_extent.value,
        **({"operation": str(first.op), "arguments": first.op.arguments()} if len(layers) == 1 else {}),
        **({"folded": [name for layer in layers for name in layer.folded]} if any(x.folded for x in layers) else {}),
    }


def _geometry(field: ReceptiveField) -> dict[str, Any]:
    return {"size": list(field.size), "stride": _strides(field.stride), "start": list(field.start)}


def _strides(strides: Sequence[Fraction | None]) -> list[int | float | None]:
    """Return strides as integers where they are whole; null where branches of different stride have met."""
    return [None if s is None else int(s) if s.denominator == 1 else float(s) for s in strides]


def _field_values(field: ReceptiveField) -> dict[str, Any]:
    """Return the geometry and whether it is exact; what else restricts it only where it does."""
    restrictions = {
        # Most fields have no restriction: leaving the keys out keeps the file of a large network readable.
        **({} if field.aligned else {"aligned": False}),
        **({} if field.centred else {"centred": False}),
        **({"global_context": True} if field.global_context else {}),
        **({"whole": list(field.whole)} if field.whole else {}),
    }
    return {**_geometry(field), "exact": field.exact, **restrictions}
