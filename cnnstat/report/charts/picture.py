"""Picture: vector graphics that take the colours of the page they stand on, and that stand alone as a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape, quoteattr

from cnnstat.draw.elements import FONT, element, number, text_element, title_element
from cnnstat.errors import printable

INK, PAPER, DARK_INK, DARK_PAPER = "#1b1f24", "#ffffff", "#e5e9ee", "#11151a"

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#b0598f", "#8c6d1f", "#6a6fc4", "#c2384c", "#52808c")
"""After Okabe & Ito 2008: told apart by colour-blind people, and with a contrast of 3 to light and dark paper."""

STYLE = f"svg{{color:{INK}}}@media (prefers-color-scheme:dark){{svg{{color:{DARK_INK}}}.paper{{fill:{DARK_PAPER}}}}}"
"""What gives a picture that stands alone the colours of the reader's system."""

FAINT, PALE = "0.15", "0.75"
"""Opacity of grids, and of text of less weight."""


def label(text: str, x: float, y: float, size: float = 11, **attributes: object) -> str:
    """Return a line of text; x, y: where it begins, or what `text_anchor` says, on its base line."""
    return text_element(printable(text), x, y, size, fill="currentColor", **attributes)


def hint(text: str) -> str:
    """Return what a reader sees over an element, and a screen reader says."""
    return title_element(printable(text))


EDGE = 12.0
"""Pixels of paper around a picture that stands alone."""


class Picture(NamedTuple):
    """One chart as vector graphics.

    title, description: what it shows, in words. width, height: in pixels. content: SVG elements, in whose texts nothing
    of a model is markup; `currentColor` is the ink.
    """

    title: str
    description: str
    width: float
    height: float
    content: str

    def inline(self) -> str:
        """Return an element for a page, whose ink it takes."""
        return self._element(self.content, "")

    def standalone(self) -> str:
        """Return the text of a file, light or dark as the reader's system is."""
        width, height = self.width + 2 * EDGE, self.height + 2 * EDGE
        paper = element("rect", class_="paper", x=-EDGE, y=-EDGE, width=width, height=height, fill=PAPER)
        ink = f' color="{INK}"'
        return f"{self._element(f'<style>{STYLE}</style>{paper}{self.content}', ink, EDGE)}\n"

    def _element(self, content: str, ink: str, edge: float = 0) -> str:
        start, width, height = (number(each) for each in (-edge, self.width + 2 * edge, self.height + 2 * edge))
        words = hint(self.title) + element("desc", escape(printable(self.description)))
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label={quoteattr(printable(self.title))} '
            f'width="{width}" height="{height}" viewBox="{start} {start} {width} {height}"{ink} '
            f'font-family="{FONT}">'
            f"{words}{content}</svg>"
        )

    def save(self, path: str | Path) -> None:
        """Write a file that ends in .svg, .png or .pdf; the last two need the extra `draw`. Raises CnnstatError."""
        from cnnstat.picture_file import write_picture  # here, as pages do without

        write_picture(Path(path), self.standalone(), "the chart")

    def __repr__(self) -> str:
        """Return what it shows and its size."""
        return f"<Picture {printable(self.title)}, {number(self.width)} × {number(self.height)} pixels>"

    def _repr_svg_(self) -> str:
        """Return what viewers of notebooks show that take no HTML."""
        return self.standalone()

    def _repr_html_(self) -> str:
        """Return what notebooks show, in their own colours."""
        return f'<div style="overflow-x:auto">{self.inline()}</div>'


GAP = 24.0
"""Pixels between pictures that are stacked."""


def stacked(pictures: Sequence[Picture]) -> Picture:
    """Return several pictures, one below the other, as one."""
    if len(pictures) == 1:
        return pictures[0]
    parts, y = [], 0.0
    for picture in pictures:
        parts.append(element("g", picture.content, transform=f"translate(0 {number(y)})"))
        y += picture.height + GAP
    titles = "; ".join(picture.title for picture in pictures)
    descriptions = " ".join(picture.description for picture in pictures)
    return Picture(titles, descriptions, max(each.width for each in pictures), y - GAP, "".join(parts))
