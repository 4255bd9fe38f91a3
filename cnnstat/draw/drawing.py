"""Drawings: a picture of a network, which shows itself in notebooks and is written in any format."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cnnstat.draw.formats import FORMATS, render
from cnnstat.errors import CnnstatError, did_you_mean
from cnnstat.files import write_output

if TYPE_CHECKING:
    from cnnstat.draw.scene import Scene
    from cnnstat.draw.shares import Shares


@dataclass(frozen=True)
class Picture:
    """What a style gives: the SVG, its title, width and height in pixels; if it is a graph, that and its bars."""

    svg: str
    title: str
    size: tuple[float, float]
    scene: Scene | None = None
    shares: Shares | None = None


class Drawing(str):
    """The text of an SVG; shown in a notebook, it is the picture.

    Every box is `<g class="box" data-layers="conv1 bn1">`, and together they name every layer once; blanks and `%` in a
    name are percent-encoded there.
    """

    picture: Picture

    @classmethod
    def of(cls, picture: Picture) -> Drawing:
        """Return a picture as a drawing."""
        drawing = cls(picture.svg)
        drawing.picture = picture
        return drawing

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in pixels."""
        return self.picture.size

    @property
    def name(self) -> str:
        """What the drawing is of, in words."""
        return self.picture.title

    def scene(self) -> Scene:
        """Return what is drawn as a graph; raises CnnstatError where it is none."""
        if self.picture.scene is None:
            raise CnnstatError("a field is no graph; write .svg, .png, .pdf, .html or .tex, or leave --field out")
        return self.picture.scene

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the drawing to a file in the format that its ending names; raises CnnstatError."""
        where = Path(path)
        write_output(where, render(self, format_of(where)))

    def __repr__(self) -> str:
        """Say what it is; the text of the SVG would fill the screen."""
        width, height = self.size
        return f"<Drawing of {self.name}: {width:.0f} × {height:.0f} pixels>"

    def _repr_svg_(self) -> str:
        """Return what notebooks show."""
        return str(self)


def format_of(path: Path) -> str:
    """Return the format that the ending of a file names; raises CnnstatError where there is none."""
    ending = path.suffix.lower().removeprefix(".")
    if ending not in FORMATS:
        hint = did_you_mean(ending, FORMATS) if ending else ""
        known = ", ".join(f".{each}" for each in FORMATS)
        raise CnnstatError(
            f"--output {path}: {f'.{ending} is not drawn' if ending else 'has no ending'}{hint}; end it in {known}"
        )
    return ending
