"""Shapes: the elements of a drawing read back from its SVG, for formats that set them by themselves."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from base64 import b64decode
from collections.abc import Iterator
from typing import NamedTuple

from cnnstat.draw.places import Point

_COMMAND = re.compile(r"([MLHVZ])|(-?\d+(?:\.\d+)?)")


class Paint(NamedTuple):
    """How a shape is painted; empty colours for nothing. opacity: of its inside."""

    fill: str = ""
    stroke: str = ""
    width: float = 1.0
    is_dashed: bool = False
    opacity: float = 1.0


class Polygon(NamedTuple):
    """A line through points, closed or open; radius: of the corners of a rectangle."""

    points: tuple[Point, ...]
    is_closed: bool
    paint: Paint
    radius: float = 0.0


class Text(NamedTuple):
    """A line of text; anchor: `start`, `middle` or `end` of it stands at x, its base line at y."""

    content: str
    x: float
    y: float
    size: float
    anchor: str
    is_bold: bool
    colour: str


class Picture(NamedTuple):
    """A PNG or JPEG in a rectangle."""

    content: bytes
    x: float
    y: float
    width: float
    height: float


Shape = Polygon | Text | Picture


def shapes_of(svg: str) -> Iterator[Shape]:
    """Yield the shapes of a drawing from the back to the front."""
    for each in ET.fromstring(svg).iter():
        kind = each.tag.rpartition("}")[2]
        if kind == "rect":
            yield _rectangle(each)
        elif kind == "path":
            yield from _path(each)
        elif kind == "image":
            data = each.get("href", "").partition(",")[2]
            x, y, width, height = _numbers(each, "x", "y", "width", "height")
            yield Picture(b64decode(data), x, y, width, height)
        elif kind == "text":
            x, y, size = _numbers(each, "x", "y", "font-size")
            weight = each.get("font-weight", "400")
            anchor = each.get("text-anchor", "start")
            yield Text(each.text or "", x, y, size, anchor, int(weight) >= 600, each.get("fill", "#000000"))


def _numbers(element: ET.Element, *names: str) -> list[float]:
    return [float(element.get(name, "0")) for name in names]


def _paint(element: ET.Element) -> Paint:
    fill, stroke = (
        ("" if value == "none" else value) for value in (element.get("fill", ""), element.get("stroke", ""))
    )
    width = float(element.get("stroke-width", "1"))
    is_dashed = element.get("stroke-dasharray", "none") != "none"
    return Paint(fill, stroke, width, is_dashed, float(element.get("fill-opacity", "1")))


def _rectangle(element: ET.Element) -> Polygon:
    x, y, width, height, radius = _numbers(element, "x", "y", "width", "height", "rx")
    corners = ((x, y), (x + width, y), (x + width, y + height), (x, y + height))
    return Polygon(corners, True, _paint(element), radius)


def _path(element: ET.Element) -> Iterator[Polygon]:
    """Yield the lines of a path, of which each begins with M."""
    paint = _paint(element)
    points: list[Point] = []
    command, numbers = "", []
    for letter, digits in _COMMAND.findall(element.get("d", "")):
        if letter == "M" and points:
            yield Polygon(tuple(points), False, paint)
            points = []
        if letter == "Z":
            yield Polygon(tuple(points), True, paint)
            points = []
        if letter:
            command = letter
            continue
        numbers.append(float(digits))
        if command in "HV":
            x, y = points[-1]
            points.append((numbers[0], y) if command == "H" else (x, numbers[0]))
            numbers = []
        elif len(numbers) == 2:
            points.append((numbers[0], numbers[1]))
            numbers = []
    if points:
        yield Polygon(tuple(points), False, paint)
