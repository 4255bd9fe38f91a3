"""JSON: the `cnnstat/1` contract that other programs rely on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from cnnstat.analysis.analysis import Analysis, Totals
from cnnstat.analysis.receptive_field.fields import ReceptiveField
from cnnstat.report.page import Verbatim, show
from cnnstat.report.row import Row, layer_row
from cnnstat.report.sheet import EVERYTHING, View, sheet

if TYPE_CHECKING:
    from rich.console import Console

SCHEMA = "cnnstat/1"
"""Name and version of the contract."""


def print_json(analysis: Analysis, view: View, console: Console) -> None:
    """Print the document, one line a layer."""
    show(Verbatim(json_text(document(analysis, view), "layers")), console)


def document(analysis: Analysis, view: View | None = None) -> dict[str, Any]:
    """Return totals and layers as JSON-ready values: integers raw, sizes in bytes.

    view: folds, sorts and limits `layers`; totals stay those of the whole network, and columns are always all.
    """
    return {
        "schema": SCHEMA,
        "model": model(analysis),
        "totals": totals(analysis.totals),
        "coverage": _coverage(analysis),
        "layers": [_layer(row) for row in sheet(analysis, view or EVERYTHING).rows],
    }


def _coverage(analysis: Analysis) -> dict[str, Any]:
    """Return what could not be counted and, for traced models, what the result rests on, where there is such a note."""
    notes = list(analysis.notes)
    counted = {"ops": len(analysis.graph.nodes), "uncounted": list(analysis.uncounted)}
    return {**counted, "notes": notes} if notes else counted


def model(analysis: Analysis) -> dict[str, Any]:
    """Return what was analyzed."""
    graph = analysis.graph
    inputs = [list(i.shape) for i in graph.inputs]
    return {"name": graph.name, "source": graph.source, "inputs": inputs, "dtype": graph.dtype}


def totals(found: Totals) -> dict[str, Any]:
    """Return the figures of the whole network."""
    memory, field = found.memory, found.receptive_field
    return {
        "params": found.params,
        "trainable_params": found.trainable_params,
        "buffers": found.buffers,
        "macs": found.macs,
        "flops": found.flops,
        "layers": found.layers,
        "memory": {
            "params_bytes": memory.params_bytes,
            "activation_bytes": memory.activation_bytes,
            "weighted_activation_bytes": memory.weighted_activation_bytes,
            "peak_inference_bytes": memory.peak_inference_bytes,
            "training_bytes": memory.training_bytes,
        },
        "receptive_field": None if field is None else _geometry(field),
    }


def _layer(row: Row) -> dict[str, Any]:
    """Return one layer, or one folded block."""
    return {
        "name": row.name,
        "op": row.kind,
        "inputs": list(row.inputs),
        "input_shapes": [list(shape) for shape in row.input_shapes],
        "output_shape": list(row.output_shape or ()),
        "params": row.params,
        "macs": row.macs,
        "flops": row.flops,
        "output_bytes": row.output_bytes,
        "receptive_field": None if row.receptive_field is None else _field(row.receptive_field),
    }


def layer_document(analysis: Analysis, index: int) -> dict[str, Any]:
    """Return the entry of one layer."""
    return _layer(layer_row(analysis, index))


def _geometry(field: ReceptiveField) -> dict[str, Any]:
    """Return size, stride and start along each axis."""
    return {"size": list(field.size), "stride": _strides(field.stride), "start": list(field.start)}


def _strides(strides: Sequence[Fraction | None]) -> list[int | float | None]:
    """Return strides as integers where they are whole; null where branches of different stride have met."""
    return [None if s is None else int(s) if s.denominator == 1 else float(s) for s in strides]


def _field(field: ReceptiveField) -> dict[str, Any]:
    """Return the geometry and whether it is exact; what else restricts it only where it does."""
    restrictions = {
        **({} if field.aligned else {"aligned": False}),
        **({} if field.centred else {"centred": False}),
        **({"global_context": True} if field.global_context else {}),
    }
    return {**_geometry(field), "exact": field.exact, **restrictions}


def json_text(values: dict[str, Any], *listed: str) -> str:
    """Return JSON text, one line for each key; lists called `listed` have one line for each entry.

    ASCII throughout, so that any terminal and file encoding will do.
    """
    lines = []
    for key, value in values.items():
        if key in listed and value:
            entries = ",\n".join(f"    {_compact(entry)}" for entry in value)
            lines.append(f"  {_compact(key)}: [\n{entries}\n  ]")
        else:
            lines.append(f"  {_compact(key)}: {_compact(value)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _compact(value: Any) -> str:
    """Return one value on one line."""
    return json.dumps(value, allow_nan=False)
