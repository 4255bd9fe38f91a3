"""Formats of `cnnstat check`: one file a format; each turns a report into text and computes no figure."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, cast

from cnnstat.check.report import CheckReport
from cnnstat.errors import CnnstatError, did_you_mean

if TYPE_CHECKING:
    from rich.console import Console

FORMATS = {
    "table": "cnnstat.check.formats.table:render",
    "json": "cnnstat.check.formats.json:render",
    "markdown": "cnnstat.check.formats.markdown:render",
    "summary": "cnnstat.check.formats.markdown:render_summary",
    "github": "cnnstat.check.formats.github:render",
    "gitlab": "cnnstat.check.formats.gitlab:render",
    "junit": "cnnstat.check.formats.junit:render",
    "sarif": "cnnstat.check.formats.sarif:render",
}
"""What renders a report in each format, imported when it is asked for: a new format is one file and one line."""


def render(report: CheckReport, format: str) -> str:
    """Return a report as text, the same from run to run; raises CnnstatError if there is no such format."""
    if format not in FORMATS:
        hint = did_you_mean(format, FORMATS)
        raise CnnstatError(f"there is no format {format[:40]} here{hint}; known: {', '.join(FORMATS)}")
    module, _, function = FORMATS[format].partition(":")
    return cast("Callable[[CheckReport], str]", getattr(import_module(module), function))(report)


def write(report: CheckReport, format: str, console: Console) -> None:
    """Print a report: the table in colour and as wide as the console, any other format as it is."""
    from cnnstat.report.page import Verbatim, show

    if format == "table":
        from cnnstat.check.formats.table import page

        show(page(report, console.width), console)
    else:
        show(Verbatim(render(report, format)), console)
