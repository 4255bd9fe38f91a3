"""Areas: a drawing in pixels, box by box and line by line, before it is written in any format."""

from __future__ import annotations

from dataclasses import dataclass

from cnnstat.draw.parts import Part
from cnnstat.draw.scene import Box

Point = tuple[float, float]


@dataclass(frozen=True)
class Rectangle:
    """A rectangle in pixels."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Line:
    """A route as corner points, its arrow at the last; value: the tensor that runs along it."""

    source: int
    target: int
    value: int
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Label:
    """Where the size of a box's output stands: the left end of its base line, its room, and the bottom of the box."""

    box: Box
    x: float
    y: float
    room: float
    bottom: float
    is_output: bool


@dataclass(frozen=True)
class FrameArea:
    """A frame, or the part of it that stands in one column; around: the path of the frame around it."""

    part: Part
    around: str
    place: Rectangle
    is_continued: bool


@dataclass(frozen=True, eq=False)
class Layout:
    """A drawing in pixels; frames come from the outside to the inside."""

    width: float
    height: float
    boxes: tuple[tuple[Box, Rectangle], ...]
    frames: tuple[FrameArea, ...]
    lines: tuple[Line, ...]
    labels: tuple[Label, ...]
