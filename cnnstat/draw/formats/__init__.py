"""Formats of drawings: each renders a drawing as text or bytes, imported when it is asked for."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any

from cnnstat.errors import CnnstatError

EXTRA = "cnnstat[draw]"

FORMATS = {
    "svg": "svg:render",
    "png": "svg:png",
    "pdf": "pdf:render",
    "html": "svg:html_page",
    "dot": "dot:render",
    "mmd": "mermaid:render",
    "tex": "tikz:render",
    "json": "model_explorer:render",
}
"""The file here and the function that render a drawing in each format: a new one is one file and one line."""


def render(drawing: Any, format: str) -> str | bytes:
    """Return a drawing in a format, which is one of FORMATS; raises CnnstatError where its package is missing."""
    file, function = FORMATS[format].split(":")
    rendered: str | bytes = getattr(import_module(f"{__name__}.{file}"), function)(drawing)
    return rendered


def optional_package(name: str, package: str, format: str) -> ModuleType:
    """Return a package that only one format needs; raises CnnstatError where it is missing."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise CnnstatError(
            f".{format} needs {package}, which is not installed; pip install '{EXTRA}', or end the file in .svg"
        ) from None
