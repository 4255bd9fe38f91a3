"""PDF: a drawing as vectors on one page of its own size, with text that can be searched."""

from __future__ import annotations

import io
from datetime import datetime, timezone
from typing import Any

from cnnstat.draw.drawing import Drawing
from cnnstat.draw.formats import optional_package
from cnnstat.draw.svg_shapes import Picture, Polygon, Shape, Text, shapes_of
from cnnstat.errors import CnnstatError

LONGEST = 14_400
"""Points that a side of a page has at most, as the format says."""


def render(drawing: Drawing) -> bytes:
    """Return the document; raises CnnstatError where fpdf2 is missing, or the page is too large."""
    fpdf = optional_package("fpdf", "fpdf2", "pdf")
    width, height = drawing.size
    if max(width, height) > LONGEST:
        raise CnnstatError(
            f".pdf: the drawing is {max(width, height):,.0f} points long, too many for a page; write .svg"
        )
    document = fpdf.FPDF(unit="pt", format=(width, height))
    document.core_fonts_encoding = "windows-1252"
    document.set_creation_date(datetime(2000, 1, 1, tzinfo=timezone.utc))  # the same bytes whenever it is drawn
    document.set_title(drawing.name)
    document.set_auto_page_break(False)
    document.add_page()
    document.set_line_width(1)
    for shape in shapes_of(str(drawing)):
        _draw(document, shape)
    return bytes(document.output())


def _draw(document: Any, shape: Shape) -> None:
    if isinstance(shape, Text):
        _write(document, shape)
    elif isinstance(shape, Picture):
        document.image(io.BytesIO(shape.content), shape.x, shape.y, shape.width, shape.height)
    else:
        _paint(document, shape)


def _write(document: Any, text: Text) -> None:
    content = text.content.replace("−", "-").encode("windows-1252", "replace").decode("windows-1252")
    document.set_font("helvetica", "B" if text.is_bold else "", text.size)
    document.set_text_color(text.colour)
    width = document.get_string_width(content)
    x = text.x - {"middle": width / 2, "end": width}.get(text.anchor, 0.0)
    document.text(x, text.y, content)


def _paint(document: Any, shape: Polygon) -> None:
    paint = shape.paint
    style = ("D" if paint.stroke else "") + ("F" if paint.fill else "")
    if not style:
        return
    if paint.stroke:
        document.set_draw_color(paint.stroke)
        document.set_line_width(paint.width)
        document.set_dash_pattern(*((4, 3) if paint.is_dashed else ()))
    if paint.fill:
        document.set_fill_color(paint.fill)
    with document.local_context(fill_opacity=paint.opacity):
        if shape.radius:
            (left, top), _, (right, bottom), _ = shape.points
            document.rect(left, top, right - left, bottom - top, style, round_corners=True, corner_radius=shape.radius)
        elif shape.is_closed:
            document.polygon(shape.points, style=style)
        else:
            document.polyline(shape.points, style="D")
