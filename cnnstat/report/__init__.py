"""Reports: an analysis in words and numbers, one file a format; nothing is computed here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING

from cnnstat.errors import CnnstatError, did_you_mean

if TYPE_CHECKING:
    from rich.console import Console

    from cnnstat.passes.analysis import Analysis
    from cnnstat.report.sheet import View

FORMATS = {
    "table": "cnnstat.report.table:print_table",
    "json": "cnnstat.report.json:print_json",
    "csv": "cnnstat.report.csv:print_csv",
    "markdown": "cnnstat.report.markdown:print_markdown",
    "html": "cnnstat.report.html:print_html",
}
"""The function of each format, imported when it is asked for: a new format is one file and one line."""


def writer(name: str, formats: Mapping[str, str] = FORMATS) -> Callable[[Analysis, View, Console], None]:
    """Return the function that prints an analysis in a format; raises CnnstatError if there is no such format."""
    if name not in formats:
        hint = did_you_mean(name, formats)
        raise CnnstatError(f"there is no format {name[:40]}{hint}; known: {', '.join(formats)}")
    module, _, function = formats[name].partition(":")
    found: Callable[[Analysis, View, Console], None] = getattr(import_module(module), function)
    return found
