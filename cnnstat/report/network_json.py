"""Network JSON: what several subjects say of a network and its layers under the `cnnstat/1` contract."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any

from cnnstat.analysis.analysis import Analysis, Layer, Totals
from cnnstat.analysis.figures import LAYER_FIGURES, TOTAL_FIGURES
from cnnstat.analysis.receptive_field.fields import ReceptiveField


def model_values(analysis: Analysis) -> dict[str, Any]:
    """Return what was analyzed, for JSON."""
    graph = analysis.graph
    inputs = [list(i.shape) for i in graph.inputs]
    return {"name": graph.name, "source": graph.source, "inputs": inputs, "dtype": graph.dtype}


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
        "inputs": list(inputs),
        "input_shapes": [list(shape) for shape in first.input_shapes],
        "output_shape": list(last.output_shape),
        **{f.layer: sum(map(f.of_layer, layers)) for f in LAYER_FIGURES if f.in_layers},
        "receptive_field": None if field is None else _field_values(field),
        "receptive_field_extent": last.field_extent.value,
    }


def _geometry(field: ReceptiveField) -> dict[str, Any]:
    """Return size, stride and start along each axis."""
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
