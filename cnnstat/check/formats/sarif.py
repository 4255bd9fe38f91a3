"""SARIF 2.1.0 (OASIS): a rule for each metric, a result for each limit that does not hold; for code scanning."""

from __future__ import annotations

import json
import re
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any
from urllib.parse import quote

from cnnstat import __version__
from cnnstat.check.check_result import CheckResult, ModelResult, Place, Status, Verdict
from cnnstat.check.limits import METRICS
from cnnstat.check.text import fingerprints, location, title
from cnnstat.report.terminal_text import printable

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"

LEVELS = {Status.FAIL: "error", Status.UNVERIFIED: "error", Status.WARN: "warning", Status.SKIPPED: "note"}
"""The level of each status; a limit that holds is no result."""


def render(result: CheckResult) -> str:
    """Return the log as text."""
    return json.dumps(document(result), indent=2) + "\n"


def document(result: CheckResult) -> dict[str, Any]:
    """Return the log as JSON-ready values."""
    metrics = list(dict.fromkeys(verdict.metric for verdict in result.verdicts))
    driver = {"name": "cnnstat", "version": __version__, "rules": [_rule(metric) for metric in metrics]}
    run = {
        "tool": {"driver": driver},
        "invocations": [{"executionSuccessful": True, "exitCode": result.exit_code}],
        "columnKind": "unicodeCodePoints",
        "results": _results(result, metrics),
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(metric: str) -> dict[str, Any]:
    return {
        "id": printable(f"cnnstat/{metric}"),
        "name": printable(metric),
        "shortDescription": {"text": f"Budget of {title(metric)}"},
        "fullDescription": {"text": _description(metric)},
        "help": {"text": f"Shrink the model, or change budgets.{printable(metric)} where the limit is written."},
        "defaultConfiguration": {"level": "error"},
    }


def _description(metric: str) -> str:
    if metric not in METRICS:
        return title(metric)
    return METRICS[metric].description or METRICS[metric].sentence


def _results(result: CheckResult, metrics: list[str]) -> list[dict[str, Any]]:
    hashes = fingerprints(result)
    return [
        _result(model, verdict, metrics.index(verdict.metric), hashes[position])
        for position, (model, verdict) in enumerate(result.pairs)
        if verdict.status in LEVELS
    ]


def _result(model: ModelResult, verdict: Verdict, rule_index: int, fingerprint: str) -> dict[str, Any]:
    return {
        "ruleId": printable(f"cnnstat/{verdict.metric}"),
        "ruleIndex": rule_index,
        "level": LEVELS[verdict.status] if verdict.blocking or verdict.status is Status.SKIPPED else "warning",
        "message": {"text": printable(f"{model.name}: {verdict.message}")},
        "locations": [_location(model, verdict)],
        "partialFingerprints": {"cnnstatBudget/v1": fingerprint},
    }


def _location(model: ModelResult, verdict: Verdict) -> dict[str, Any]:
    """Return the place, and the layers that weigh or grew most as logical locations in it."""
    names = [model.name, *(f"{model.name}.{share.name}" for share in verdict.layers)]
    logical = [{"fullyQualifiedName": printable(name)} for name in names]
    place = location(model, verdict)
    return {**({"physicalLocation": _physical(place)} if place else {}), "logicalLocations": logical}


def _physical(place: Place) -> dict[str, Any]:
    return {
        "artifactLocation": artifact_location(place.file),
        "region": {"startLine": place.line, "startColumn": place.column},
    }


def artifact_location(file: str) -> dict[str, str]:
    """Return a path as a URI reference: relative to the root of the sources, or absolute as `file:`."""
    is_windows = re.match(r"[A-Za-z]:[\\/]|\\\\", file) is not None
    path = PureWindowsPath(file) if is_windows else PurePosixPath(file)
    if path.is_absolute():
        return {"uri": path.as_uri()}
    relative = file.replace("\\", "/").removeprefix("./")
    return {"uri": quote(relative, safe="/", errors="surrogatepass"), "uriBaseId": "%SRCROOT%"}
