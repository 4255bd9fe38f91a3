"""GitLab: a Code Quality report, one issue a broken budget."""

from __future__ import annotations

import json
from typing import Any

from cnnstat.check.formats.words import fingerprints, location
from cnnstat.check.report import CheckReport, ModelReport, Status, Verdict
from cnnstat.report.glyphs import printable

REPORTED = (Status.FAIL, Status.WARN, Status.UNVERIFIED)
"""What becomes an issue; a skipped limit is none, it would show up as new in every merge request."""


def render(report: CheckReport) -> str:
    """Return the issues as a JSON array, empty if every budget is kept."""
    marks = fingerprints(report)
    found = [(model, verdict) for model in report.models for verdict in model.verdicts]
    issues = [_issue(*pair, marks[i]) for i, pair in enumerate(found) if pair[1].status in REPORTED]
    return json.dumps(issues, indent=2) + "\n"


def _issue(model: ModelReport, verdict: Verdict, fingerprint: str) -> dict[str, Any]:
    """Return one issue."""
    place = location(model, verdict)
    is_minor = verdict.status is Status.WARN or not verdict.blocking
    return {
        "description": printable(f"{model.name}: {verdict.message}"),
        "check_name": printable(f"cnnstat/{verdict.metric}"),
        "fingerprint": fingerprint,
        "severity": "minor" if is_minor else "major",
        "location": {
            "path": _relative(place.file if place else model.source),
            "lines": {"begin": place.line if place else 1},
        },
    }


def _relative(file: str) -> str:
    """Return a path as GitLab matches it: with forward slashes, without `./`."""
    return printable(file.replace("\\", "/").removeprefix("./"))
