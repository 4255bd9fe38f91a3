"""Network values: what reports say of networks, layers and receptive fields under the JSON contract."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from cnnstat.analysis.figures import LAYER_FIGURES, TOTAL_FIGURES
from cnnstat.report.document import SCHEMA

if TYPE_CHECKING:
    from cnnstat.analysis.analysis import Analysis, Layer, Totals
    from cnnstat.analysis.device_floor import DeviceFloor
    from cnnstat.analysis.receptive_field.fields import ReceptiveField


def analysis_values(
    analysis: Analysis, layers: Sequence[Mapping[str, Any]], floor: DeviceFloor | None = None
) -> dict[str, Any]:
    """Return totals and layers: integers raw, sizes in bytes."""
    from cnnstat.report.deployment_text import arena_values, deployment_values  # other documents do without
    from cnnstat.report.floor_text import floor_values

    deployment = analysis.graph.deployment
    return {
        "schema": SCHEMA,
        "model": model_values(analysis),
        "totals": total_values(analysis.totals),
        "coverage": {
            "ops": len(analysis.graph.nodes),
            "uncounted": list(analysis.uncounted),
            "notes": list(analysis.notes),
        },
        "warnings": list(analysis.warnings),
        **({} if deployment is None else {"deployment": deployment_values(deployment)}),
        "arena": arena_values(analysis),
        **({} if floor is None else floor_values(analysis, floor)),
        "layers": list(layers),
    }


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
