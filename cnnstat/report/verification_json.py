"""JSON of a verification, under the `cnnstat/1` contract."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from cnnstat.report.document import SCHEMA
from cnnstat.report.network_json import model_values

if TYPE_CHECKING:
    from cnnstat.verify.findings import FieldFinding, LayerFinding, ReferenceCount, TotalFinding, Verification

VERDICTS = ("agrees", "explained", "no witness", "unexplained")
"""The words for how a figure compares with that of a reference."""


def document(found: Verification) -> dict[str, Any]:
    """Return the findings as JSON-ready values; a count that a reference does not give is null."""
    return {
        "schema": SCHEMA,
        "model": model_values(found.analysis),
        "verified": found.exit_code == 0,
        "verdicts": counts(found),
        "layers": [_layer(layer) for layer in found.layers],
        "totals": [_total(total) for total in found.totals],
        "receptive_fields": [_field(field) for field in found.fields],
        "witnesses": [
            {"name": w.name, "convention": w.convention, "heard": not w.problem, "reason": w.problem}
            for w in found.references
        ],
        "notes": list(found.notes),
    }


def _layer(layer: LayerFinding) -> dict[str, Any]:
    """Return one layer for JSON."""

    def said(reference: ReferenceCount) -> dict[str, Any]:
        value = reference.value
        return {
            "macs": value,
            "difference": None if value is None else value - layer.macs,
            "verdict": reference.verdict.value,
            "reasons": list(reference.reasons),
        }

    return {
        "name": layer.layer,
        "op": layer.op,
        "macs": layer.macs,
        "flop_counter": said(layer.flop_counter),
        "fvcore": said(layer.fvcore),
        "output_shapes": [list(shape) for shape in layer.shapes],
        "made_shapes": None if layer.made is None else [list(shape) for shape in layer.made],
        "shape_verdict": layer.shape.verdict.value,
        "verdict": layer.verdict.value,
        "reasons": list(layer.reasons),
    }


def _field(field: FieldFinding) -> dict[str, Any]:
    """Return one receptive field for JSON."""
    return {
        "layer": field.layer,
        "position": list(field.position),
        "input": list(field.shape),
        "field": None if field.ours is None else [list(pair) for pair in field.ours],
        "gradient": None if field.gradient is None else [list(pair) for pair in field.gradient],
        "clipped": field.clipped,
        "verdict": field.verdict.value,
        "reason": field.reason,
    }


def _total(total: TotalFinding) -> dict[str, Any]:
    """Return one figure for JSON."""
    return {
        "figure": total.figure,
        "witness": total.reference,
        "ours": total.ours,
        "theirs": total.theirs.value,
        "verdict": total.theirs.verdict.value,
        "reasons": list(total.theirs.reasons),
    }


def counts(found: Verification) -> dict[str, int]:
    """Return how many layers have each verdict."""
    counts = Counter(layer.verdict.value for layer in found.layers)
    return {verdict: counts[verdict] for verdict in VERDICTS}
