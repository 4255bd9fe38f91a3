"""Solids: one tensor as a stack of planes or as a box in oblique view, with the window of the kernel that reads it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cnnstat.draw.captions import Caption
from cnnstat.draw.colours import Colour
from cnnstat.draw.elements import element
from cnnstat.draw.places import Point
from cnnstat.draw.scene import Box
from cnnstat.draw.sheet import path_of
from cnnstat.ir.op import Shape

SIDE, DEPTH, THICKNESS = 10.0, 4.5, 4.0
"""Pixels of a doubling of height, of width, which runs to the back, and of channels."""
SLANT = 0.6
"""How far a line to the back goes up by one pixel to the right."""
PLANE = 4.0
"""Pixels between planes that stand one behind the other."""
MOST_PLANES = 6
LEAST_WINDOW = 0.14
"""Smallest share of a side that a kernel's window is drawn with."""


@dataclass(frozen=True)
class Volume:
    """One tensor: its sizes, in how many towers, how it is drawn and the window of what reads it."""

    box: Box
    text: Caption
    shape: Shape
    towers: int = 1
    is_planes: bool = False
    window: tuple[int, int] | None = None

    @property
    def channels(self) -> int:
        """Channels of one tower."""
        return (self.shape[0] if self.shape else 1) // self.towers

    @property
    def is_vector(self) -> bool:
        """Whether it has no spatial axes, or is a map of one pixel."""
        return all(size == 1 for size in self.shape[1:])

    @property
    def height(self) -> int:
        """Pixels of the map along its last axis but one, or all numbers of a vector."""
        return self.channels if self.is_vector else self.shape[-2] if len(self.shape) > 2 else self.shape[-1]

    @property
    def width(self) -> int:
        """Pixels of the map along its last axis."""
        return self.shape[-1] if len(self.shape) > 2 and not self.is_vector else 1

    @property
    def front(self) -> tuple[float, float]:
        """Width and height of its front, drawn."""
        if self.is_planes and not self.is_vector:
            return _length(self.width, SIDE), _length(self.height, SIDE)
        return (9.0 if self.is_vector else 2 + _length(self.channels, THICKNESS)), _length(self.height, SIDE)

    @property
    def back(self) -> tuple[float, float]:
        """How far it reaches to the right and up behind its front."""
        if self.is_planes and not self.is_vector:
            planes = PLANE * (min(self.channels, MOST_PLANES) - 1)
            return planes, planes
        depth = 4.0 if self.is_vector else _length(self.width, DEPTH)
        return depth, SLANT * depth

    @property
    def size(self) -> tuple[float, float]:
        """Width and height of one tower, drawn."""
        return self.front[0] + self.back[0], self.front[1] + self.back[1]


def _length(size: int, doubling: float) -> float:
    return doubling * math.log2(size + 1)


def solid(volume: Volume, middle: float, centre: float, colour: Colour, right: float) -> Iterator[str]:
    """Yield the faces of one tower around a point, and the window of what reads it with lines to the `right`."""
    width, height = volume.size
    left, bottom = middle - width / 2, centre + height / 2
    front, back = volume.front, volume.back
    if volume.is_planes and not volume.is_vector:
        planes = min(volume.channels, MOST_PLANES)
        for index in range(planes - 1, -1, -1):
            yield _face(_parallelogram(left + index * PLANE, bottom - index * PLANE, front, (0, 0)), colour)
        side: tuple[Point, ...] = _parallelogram(left, bottom, front, (0, 0))
    else:
        top = bottom - front[1]
        side = _parallelogram(left + front[0], bottom, (back[0], front[1]), (0, back[1]))
        roof = (
            (left, top),
            (left + back[0], top - back[1]),
            (left + front[0] + back[0], top - back[1]),
            (left + front[0], top),
        )
        yield _face(_parallelogram(left, bottom, front, (0, 0)), colour)
        yield _face(roof, colour)
        yield _face(side, colour)
    if volume.window is not None and not volume.is_vector:
        yield from _window(volume, side, colour, (right, centre))


def _parallelogram(
    left: float, bottom: float, size: tuple[float, float], lift: tuple[float, float]
) -> tuple[Point, ...]:
    """Return the corners of an upright face from its lower left one on; lift: how much its right side stands higher."""
    width, height = size
    return (
        (left, bottom),
        (left + width, bottom - lift[1]),
        (left + width, bottom - lift[1] - height),
        (left, bottom - height),
    )


def _face(corners: Sequence[Point], colour: Colour) -> str:
    return element(
        "path", class_="face", d=f"{path_of(corners)}Z", fill=colour.fill, stroke=colour.stroke, stroke_width=1
    )


def _window(volume: Volume, side: Sequence[Point], colour: Colour, end: Point) -> Iterator[str]:
    """Yield a kernel's window on a face, and the lines from it to where the next layer's route begins."""
    assert volume.window is not None
    high = min(1.0, max(LEAST_WINDOW, volume.window[0] / volume.height))
    wide = min(1.0, max(LEAST_WINDOW, volume.window[1] / volume.width))
    (x, y), (right, lower), _, (_, top) = side
    across, rise, tall = right - x, lower - y, top - y

    def at(u: float, v: float) -> Point:
        return x + u * across, y + u * rise + v * tall

    u, v = (1 - wide) / 2, (1 - high) / 2
    corners = [at(u, v), at(u + wide, v), at(u + wide, v + high), at(u, v + high)]
    yield element(
        "path", class_="window", d=f"{path_of(corners)}Z", fill="none", stroke=colour.stroke, stroke_width=1.4
    )
    for corner in corners[1:3]:
        yield element(
            "path", class_="window", d=path_of([corner, end]), fill="none", stroke=colour.stroke, stroke_width=0.6
        )
