"""Page: lines of styled text, laid out already, that a rich console prints as they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from cnnstat.report.glyphs import encodable, width_of

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

Span = tuple[str, str]
"""Text and its rich style, an empty string for none."""

Line = Sequence[Span]
"""One line of a page."""


class Page:
    """Lines of styled text; rich neither parses, wraps nor measures them, which is what makes reports fast."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self.lines = tuple(lines)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the lines in the console's encoding; no styles where it shows none."""
        from rich.segment import Segment
        from rich.style import Style

        if console.color_system is None:
            yield Segment(encodable(str(self), options.encoding))
            return
        for line in self.lines:
            for text, style in line:
                yield Segment(encodable(text, options.encoding), Style.parse(style) if style else None)
            yield Segment.line()

    def __str__(self) -> str:
        """Return the text without styles, each line without spaces at its end."""
        return "".join("".join(text for text, _ in line).rstrip() + "\n" for line in self.lines)

    @property
    def width(self) -> int:
        """Columns of the longest line."""
        return max((sum(width_of(text) for text, _ in line) for line in self.lines), default=0)

    def __add__(self, other: Page) -> Page:
        """Return the lines of both, one page after the other."""
        return Page((*self.lines, *other.lines))


class Verbatim:
    """Text for programs (JSON, CSV) that is written as it is."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the text as one segment, in the encoding of the console."""
        from rich.segment import Segment

        yield Segment(encodable(self.text, options.encoding))


def show(content: Page | Verbatim, console: Console) -> None:
    """Print a page or a text; a line longer than the console is wide runs over and is never cut."""
    console.print(content, crop=False, end="")


BLANK: Line = ()


def plain(text: str, style: str = "") -> Line:
    """Return a line of one span."""
    return ((text, style),)
