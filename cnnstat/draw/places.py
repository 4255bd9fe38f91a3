"""Places: where boxes, frames and routes stand in rows, and a drawing in pixels, before any format writes it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from cnnstat.draw.parts import Part
from cnnstat.draw.scene import Box

PORT = 26.0
"""Pixels between the middle of a box and where a route enters that must not meet the one from right above."""


class Way(Enum):
    """How a route goes: straight down, with one bend in the channel below its source or above its target, by a rail."""

    STRAIGHT = "straight"
    BELOW_SOURCE = "below source"
    ABOVE_TARGET = "above target"
    RAIL = "rail"


@dataclass(eq=False)
class Place:
    """Where a box stands: its row and the middle of it, its width and height in pixels."""

    box: Box
    width: float
    height: float
    row: int = 0
    x: float = 0.0

    @property
    def left(self) -> float:
        """Its left edge."""
        return self.x - self.width / 2

    @property
    def right(self) -> float:
        """Its right edge."""
        return self.x + self.width / 2


@dataclass(eq=False)
class Route:
    """The way of a link; x: where a straight one runs, or the rail. leaves, enters: whether at the side of its box."""

    source: Place
    target: Place
    way: Way
    value: int
    x: float = 0.0
    leaves_side: bool = False
    enters_side: bool = False


@dataclass(eq=False)
class FramePlace:
    """Where a frame stands: its rows, the last one included, its sides, and the frame around it."""

    part: Part
    first: int
    last: int
    left: float
    right: float
    around: FramePlace | None = None


@dataclass(eq=False)
class Block:
    """What stands in a frame, or one box: so many rows, from `left` to `right`."""

    rows: int
    left: float
    right: float
    places: list[Place] = field(default_factory=list)
    routes: list[Route] = field(default_factory=list)
    frames: list[FramePlace] = field(default_factory=list)
    row: int = 0

    def shift(self, row: int, x: float) -> None:
        """Move everything down by rows and to the right by pixels."""
        self.row += row
        self.left += x
        self.right += x
        for place in self.places:
            place.row += row
            place.x += x
        for route in self.routes:
            route.x += x
        for frame in self.frames:
            frame.first += row
            frame.last += row
            frame.left += x
            frame.right += x


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
