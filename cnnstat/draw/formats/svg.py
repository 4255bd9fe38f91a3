"""SVG: a drawing as it is, on a page of its own, or in pixels."""

from __future__ import annotations

from html import escape

from cnnstat.draw.drawing import Drawing
from cnnstat.draw.formats import optional_package
from cnnstat.errors import CnnstatError

ZOOM = 2.0
"""Pixels of a PNG for one of the SVG."""
LEAST_ZOOM = 0.5
"""Below this nobody can read the text."""
MOST_PIXELS = 16_000
"""Most pixels of a side that viewers open."""
LARGEST = 100e6
"""Most pixels of a picture, which take 400 MB."""

_STYLE = (
    "body{margin:0;padding:1rem;background:#fff}svg{display:block;max-width:100%;height:auto;margin:0 auto}"
    "@media (prefers-color-scheme:dark){body{background:#0d1117}}"
)


def render(drawing: Drawing) -> str:
    """Return the text of the picture."""
    return str(drawing)


def html_page(drawing: Drawing) -> str:
    """Return a page that shows the picture as wide as there is room."""
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(drawing.name)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n{drawing}</main>\n</body>\n</html>\n"
    )


def png(drawing: Drawing) -> bytes:
    """Return the picture in pixels; raises CnnstatError where resvg is missing, or the picture is too large."""
    resvg = optional_package("resvg_py", "resvg-py", "png")
    width, height = drawing.size
    zoom = min(ZOOM, MOST_PIXELS / max(width, height), (LARGEST / (width * height)) ** 0.5)
    if zoom < LEAST_ZOOM:
        raise CnnstatError(f".png: {width:,.0f} × {height:,.0f} pixels are too many for one; write .svg or .pdf")
    return bytes(resvg.svg_to_bytes(svg_string=str(drawing), zoom=zoom))
