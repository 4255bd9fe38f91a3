"""GitLab: a Code Quality report, one issue a broken budget."""

from __future__ import annotations

import json
from typing import Any

from cnnstat.check.check_result import CheckResult, ModelResult, Status, Verdict
from cnnstat.check.text import fingerprints, location
from cnnstat.report.terminal_text import printable

REPORTED = (Status.FAIL, Status.WARN, Status.UNVERIFIED)
"""Statuses that become an issue; a skipped limit would show up as new in every merge request."""


def render(result: CheckResult) -> str:
    """Return the issues as a JSON array, empty if every budget is kept."""
    hashes = fingerprints(result)
    issues = [_issue(*pair, hashes[i]) for i, pair in enumerate(result.pairs) if pair[1].status in REPORTED]
    return json.dumps(issues, indent=2) + "\n"


def _issue(model: ModelResult, verdict: Verdict, fingerprint: str) -> dict[str, Any]:
    place = location(model, verdict)
    is_minor = verdict.status is Status.WARN or not verdict.blocking
    return {
        "description": printable(f"{model.name}: {verdict.message}"),
        "check_name": printable(f"cnnstat/{verdict.metric}"),
        "fingerprint": fingerprint,
        "severity": "minor" if is_minor else "major",
        "location": {
            # GitLab requires a path; a model of a library has none
            "path": _relative(place.file if place else model.source),
            "lines": {"begin": place.line if place else 1},
        },
    }


def _relative(file: str) -> str:
    """Return a path as GitLab matches it: with forward slashes, without `./`."""
    return printable(file.replace("\\", "/").removeprefix("./"))
