"""JSON: the `cnnstat-check/1` contract; integers raw, sizes in bytes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from cnnstat.check.result import CheckResult, LayerChange, ModelResult, Place, Status, Verdict

SCHEMA = "cnnstat-check/1"
"""Name and version of the contract."""


def render(result: CheckResult) -> str:
    """Return the document as text, in ASCII throughout and the same from run to run."""
    return json.dumps(document(result), indent=2, allow_nan=False) + "\n"


def document(result: CheckResult) -> dict[str, Any]:
    """Return the result as JSON-ready values."""
    numbers = Counter(verdict.status for verdict in result.verdicts)
    return {
        "schema": SCHEMA,
        "exit_code": result.exit_code,
        "verdicts": {status.value: numbers[status] for status in Status},
        "configuration": result.configuration,
        "baseline": result.baseline,
        "convention": result.convention,
        "notes": list(result.notes),
        "models": [_model(model) for model in result.models],
    }


def _model(model: ModelResult) -> dict[str, Any]:
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
    return {"name": change.name, "op": change.op, "before": _figures(change.before), "after": _figures(change.after)}


def _figures(figures: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if figures is None else dict(figures)


def _place(place: Place | None) -> dict[str, Any] | None:
    return None if place is None else {"file": place.file, "line": place.line, "column": place.column}
