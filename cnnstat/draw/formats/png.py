"""PNG: a drawing in pixels, two for one of the SVG."""

from __future__ import annotations

from cnnstat.draw.drawing import Drawing
from cnnstat.draw.formats import optional_package
from cnnstat.errors import CnnstatError

ZOOM = 2.0
LEAST_ZOOM = 0.5
"""Below this nobody can read the text."""
MOST_PIXELS = 16_000
"""Most pixels of a side that viewers open."""
LARGEST = 100e6
"""Most pixels of a picture, which take 400 MB."""


def render(drawing: Drawing) -> bytes:
    """Return the picture; raises CnnstatError where resvg is missing, or the picture is too large."""
    resvg = optional_package("resvg_py", "resvg-py", "png")
    width, height = drawing.size
    zoom = min(ZOOM, MOST_PIXELS / max(width, height), (LARGEST / (width * height)) ** 0.5)
    if zoom < LEAST_ZOOM:
        raise CnnstatError(f".png: {width:,.0f} × {height:,.0f} pixels are too many for one; write .svg or .pdf")
    return bytes(resvg.svg_to_bytes(svg_string=str(drawing), zoom=zoom))
