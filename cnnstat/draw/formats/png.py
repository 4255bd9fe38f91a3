"""PNG: a drawing in pixels, two for one of the SVG."""

from __future__ import annotations

from cnnstat.draw.drawing import Drawing
from cnnstat.draw.formats import optional_package
from cnnstat.errors import CnnstatError

ZOOM = 2.0
MOST_PIXELS = 16_000
"""Most pixels of a side that viewers open."""


def render(drawing: Drawing) -> bytes:
    """Return the picture; raises CnnstatError where resvg is missing, or the picture is too large."""
    resvg = optional_package("resvg_py", "resvg-py", "png")
    longest = max(drawing.size)
    if longest > MOST_PIXELS:
        raise CnnstatError(f".png: the drawing is {longest:,.0f} pixels long, too many for one; write .svg or .pdf")
    zoom = min(ZOOM, MOST_PIXELS / longest)
    return bytes(resvg.svg_to_bytes(svg_string=str(drawing), zoom=zoom))
