"""GitHub: one annotation a broken budget, as workflow commands on standard output.

Format and escaping are those of `packages/core/src/command.ts` in actions/toolkit.
"""

from __future__ import annotations

from collections.abc import Iterator

from cnnstat.check.check_result import CheckResult, ModelResult, Status, Verdict
from cnnstat.check.text import conclusion, location, title
from cnnstat.report.terminal_text import printable


def render(result: CheckResult) -> str:
    """Return errors, then warnings, then one notice if limits were skipped, then the conclusion as plain text.

    Errors come first because GitHub shows ten annotations of each kind for a step.
    """
    commands = [_annotation(model, verdict) for model, verdict in result.pairs if _kind(verdict)]
    lines = [*sorted(commands, key=lambda line: not line.startswith("::error")), *_skipped(result)]
    return "".join(f"{line}\n" for line in [*lines, f"cnnstat check: {conclusion(result)}"])


def command(name: str, properties: dict[str, str], message: str) -> str:
    """Return a workflow command."""
    pairs = ",".join(f"{key}={escaped_property(value)}" for key, value in properties.items() if value)
    return f"::{name}{' ' * bool(pairs)}{pairs}::{escaped_data(message)}"


def escaped_data(text: str) -> str:
    """Return a message in which nothing ends the command."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def escaped_property(text: str) -> str:
    """Return the value of a property in which nothing ends the value."""
    # in a property a colon or comma would begin the next one
    return escaped_data(text).replace(":", "%3A").replace(",", "%2C")


def _kind(verdict: Verdict) -> str:
    """Return the command for a verdict; empty if it needs none."""
    if verdict.status is Status.WARN:
        return "warning"
    if verdict.status in (Status.FAIL, Status.UNVERIFIED):
        return "error" if verdict.blocking else "warning"
    return ""


def _annotation(model: ModelResult, verdict: Verdict) -> str:
    properties = {"title": printable(f"cnnstat: {title(verdict.metric)} of {model.name}")}
    if place := location(model, verdict):
        file = printable(place.file.replace("\\", "/"))
        properties = {"file": file, "line": str(place.line), "col": str(place.column), **properties}
    return command(_kind(verdict), properties, printable(verdict.message))


def _skipped(result: CheckResult) -> Iterator[str]:
    """Yield a notice if limits were skipped, so that they do not read as kept."""
    skipped = [verdict for verdict in result.verdicts if verdict.status is Status.SKIPPED]
    if skipped:
        number = "1 limit" if len(skipped) == 1 else f"{len(skipped)} limits"
        yield command("notice", {"title": "cnnstat"}, f"{number} skipped: {printable(skipped[0].message)}")
