"""Reports: results in words and numbers, one file a format or subject; no figure is computed here."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from cnnstat.errors import CnnstatError, did_you_mean
from cnnstat.report.document import Document
from cnnstat.report.terminal_text import Verbatim, show

if TYPE_CHECKING:
    from rich.console import Console


FORMATS = {
    "table": "cnnstat.report.formats.terminal",
    "json": "cnnstat.report.formats.json",
    "csv": "cnnstat.report.formats.csv",
    "markdown": "cnnstat.report.formats.markdown",
    "html": "cnnstat.report.formats.html",
    "latex": "cnnstat.report.formats.latex",
}
"""What renders a document in each format, imported when it is asked for: a new format is one file and one line."""


def write(document: Document, format: str, console: Console) -> None:
    """Print a document; a table is as wide as the console. Raises CnnstatError if there is no such format."""
    if format not in FORMATS:
        hint = did_you_mean(format, FORMATS)
        raise CnnstatError(f"there is no format {format[:40]} here{hint}; known: {', '.join(FORMATS)}")
    renderer = import_module(FORMATS[format])
    content = renderer.page(document, console.width) if format == "table" else Verbatim(renderer.render(document))
    show(content, console)
