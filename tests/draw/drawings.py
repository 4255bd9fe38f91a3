"""A drawing read back as geometry, by nothing that drew it: boxes, edges and texts of an SVG, and what is wrong."""

from __future__ import annotations

import re
import unicodedata
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote

import cnnstat

SVG = "{http://www.w3.org/2000/svg}"
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")

ARIAL = {
    " ": 278, "i": 222, "l": 222, "j": 222, "f": 278, "t": 278, "r": 333, "m": 833, "w": 722, "M": 833, "W": 944,
    "…": 1000, "×": 584, ".": 278, ",": 278, "%": 889, "@": 1015,
}  # fmt: skip
"""Thousandths of an em of letters in Arial as published by Adobe for Helvetica; the others have at most 778."""


@dataclass(frozen=True)
class Area:
    """A rectangle by its edges."""

    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: Area) -> bool:
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )

    def is_crossed(self, start: tuple[float, float], end: tuple[float, float]) -> bool:
        """Whether a straight line enters its inside; a touch of the edge does not count (Liang & Barsky 1984)."""
        (x, y), dx, dy = start, end[0] - start[0], end[1] - start[1]
        first, last = 0.0, 1.0
        for step, room in (
            (-dx, x - self.left - 0.3), (dx, self.right - 0.3 - x),
            (-dy, y - self.top - 0.3), (dy, self.bottom - 0.3 - y),
        ):  # fmt: skip
            if step == 0:
                if room <= 0:
                    return False
                continue
            share = room / step
            first, last = (max(first, share), last) if step < 0 else (first, min(last, share))
        return first < last


class Drawing:
    """An SVG as its reader sees it."""

    def __init__(self, text: str) -> None:
        self.root = ET.fromstring(text)
        self.boxes = [each for each in self.root.iter(f"{SVG}g") if "box" in each.get("class", "").split()]
        self.areas = [_area(each) for each in self.boxes]

    @property
    def layers(self) -> Counter[str]:
        """How often each layer is named."""
        return Counter(unquote(word) for box in self.boxes for word in box.get("data-layers", "").split(" ") if word)

    def faults(self) -> Iterator[str]:
        """Yield what is wrong with its geometry."""
        if any(each.get("transform") for each in self.root.iter()):
            yield "a transform"
        yield from self._overlaps()
        yield from self._crossings()
        for box, area in zip(self.boxes, self.areas):
            for text in box.iter(f"{SVG}text"):
                if not _holds(area, _text_area(text)):
                    yield f"text leaves its box: {text.text}"
        width, height = float(self.root.get("width", "")), float(self.root.get("height", ""))
        page = Area(0, 0, width, height)
        yield from ("a box leaves the page" for area in self.areas if not _holds(page, area))
        for text in self.root.iter(f"{SVG}text"):
            if not _holds(page, _text_area(text)):
                yield f"text leaves the page: {text.text}"

    def _overlaps(self) -> Iterator[str]:
        by_top = sorted(self.areas, key=lambda area: area.top)
        for index, one in enumerate(by_top):
            for other in by_top[index + 1 :]:
                if other.top >= one.bottom:
                    break
                if one.overlaps(other):
                    yield f"two boxes overlap: {one} {other}"

    def _crossings(self) -> Iterator[str]:
        for path in self.edges():
            for start, end in zip(path, path[1:]):
                around = Area(
                    min(start[0], end[0]), min(start[1], end[1]), max(start[0], end[0]), max(start[1], end[1])
                )
                for area in self.areas:
                    if (
                        around.left <= area.right
                        and area.left <= around.right
                        and around.top <= area.bottom
                        and area.top <= around.bottom
                        and area.is_crossed(start, end)
                    ):
                        yield f"an edge runs through a box: {start} {end} {area}"

    def edges(self) -> list[list[tuple[float, float]]]:
        """Return the corner points of each edge."""
        found = []
        for path in self.root.iter(f"{SVG}path"):
            if path.get("class") == "edge":
                numbers = [float(each) for each in NUMBER.findall(path.get("d", ""))]
                found.append(list(zip(numbers[::2], numbers[1::2])))
        return found


def _area(box: ET.Element) -> Area:
    rectangle = box.find(f"{SVG}rect")
    assert rectangle is not None
    x, y, width, height = (float(rectangle.get(name, "")) for name in ("x", "y", "width", "height"))
    return Area(x, y, x + width, y + height)


def _text_area(text: ET.Element) -> Area:
    size, x, y = (float(text.get(name, "")) for name in ("font-size", "x", "y"))
    content = text.text or ""
    ems = sum(ARIAL.get(c, 1000 if unicodedata.east_asian_width(c) in "WF" else 640) for c in content) / 1000
    width = size * ems * (1.06 if text.get("font-weight") else 1)
    left = {"end": x - width, "middle": x - width / 2}.get(text.get("text-anchor", ""), x)
    return Area(left, y - 0.75 * size, left + width, y + 0.22 * size)


def _holds(outer: Area, inner: Area) -> bool:
    return (
        outer.left <= inner.left
        and outer.top <= inner.top
        and inner.right <= outer.right
        and inner.bottom <= outer.bottom
    )


def faults_of(text: str, graph: cnnstat.Graph) -> list[str]:
    """Return what is wrong with a drawing of a graph; empty where nothing is."""
    drawing = Drawing(text)
    faults = list(drawing.faults())
    expected = Counter(node.name for node in graph.nodes)
    if drawing.layers != expected:
        faults.append(f"layers: {(expected - drawing.layers) | (drawing.layers - expected)}")
    if len(graph.nodes) > 1 and not drawing.edges() and len(drawing.boxes) > 1:
        faults.append("no edges")
    return faults
