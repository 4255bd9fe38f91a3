"""JSON: the `cnnstat-check/1` contract; integers raw, sizes in bytes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from cnnstat.check.report import CheckReport, LayerChange, ModelReport, Place, Status, Verdict

SCHEMA = "cnnstat-check/1"
"""Name and version of the contract."""


def render(report: CheckReport) -> str:
    """Return the document as text, in ASCII throughout and the same from run to run."""
    return json.dumps(document(report), indent=2, allow_nan=False) + "\n"


def document(report: CheckReport) -> dict[str, Any]:
    """Return everything that was found as JSON-ready values."""
    found = Counter(verdict.status for verdict in report.verdicts)
    return {
        "schema": SCHEMA,
        "exit_code": report.exit_code,
        "verdicts": {status.value: found[status] for status in Status},
        "configuration": report.configuration,
        "baseline": report.baseline,
        "convention": report.convention,
        "notes": list(report.notes),
        "models": [_model(model) for model in report.models],
    }


def _model(model: ModelReport) -> dict[str, Any]:
    """Return one model."""
    return {
        "name": model.name,
        "source": model.source,
        "place": _place(model.place),
        "notes": list(model.notes),
        "verdicts": [_verdict(verdict) for verdict in model.verdicts],
        "totals": dict(model.totals),
        "baseline": _figures(model.baseline),
        "changed_layers": [_change(change) for change in model.changed_layers],
    }


def _verdict(verdict: Verdict) -> dict[str, Any]:
    """Return the verdict on one limit."""
    return {
        "metric": verdict.metric,
        "bound": verdict.bound,
        "status": verdict.status.value,
        "blocking": verdict.blocking,
        "limit": verdict.limit,
        "limit_text": verdict.limit_text,
        "value": verdict.value,
        "baseline": verdict.baseline,
        "message": verdict.message,
        "layers": [{"name": share.name, "value": share.value, "baseline": share.baseline} for share in verdict.layers],
        "setting": _place(verdict.setting),
    }


def _change(change: LayerChange) -> dict[str, Any]:
    """Return a layer that differs from the baseline."""
    return {"name": change.name, "op": change.op, "before": _figures(change.before), "after": _figures(change.after)}


def _figures(figures: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return figures by metric."""
    return None if figures is None else dict(figures)


def _place(place: Place | None) -> dict[str, Any] | None:
    """Return a place."""
    return None if place is None else {"file": place.file, "line": place.line, "column": place.column}
