"""Reports: results in words and numbers, one file a format or subject; no figure is computed here.

Every function takes the name of a format and a console, and raises CnnstatError if there is no such format.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

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
    """Print a document; a table is as wide as the console."""
    renderer = import_module(_known(format, FORMATS))
    content = renderer.page(document, console.width) if format == "table" else Verbatim(renderer.render(document))
    show(content, console)


def write_ops(name: str | None, format: str, console: Console) -> None:
    """Print every op, or the page of one; raises OpError if there is no such op."""
    from cnnstat.report.subjects import ops

    if name is None:
        write(ops.document(), format, console)
    else:
        _known(format, ops.PAGE_FORMATS)(name, console)


def _known(format: str, formats: Any) -> Any:
    """Return the entry of a format; raises CnnstatError with the nearest name and the list if there is none."""
    if format not in formats:
        hint = did_you_mean(format, formats)
        raise CnnstatError(f"there is no format {format[:40]} here{hint}; known: {', '.join(formats)}")
    return formats[format]
