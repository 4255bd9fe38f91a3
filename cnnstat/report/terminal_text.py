"""Text that any terminal can show: untrusted names made printable, missing symbols replaced, widths, styled lines."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from cnnstat.errors import inert_line
from cnnstat.errors import printable as printable  # reports take it from here

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

REPLACEMENTS = {
    **dict(zip("×−–·…─│┼≥≤→⌊⌋⌈⌉′√∂αβλσΦφΠΣ±µ",
               "x--*~-|+><>[][]'VdablsPpPS~u")),
    **dict.fromkeys("█▉▊▋▌", "#"), **dict.fromkeys("▍▎▏", "."), **dict(zip("●○▲△■□◆◇", "*o^v#+@%")),
    **dict.fromkeys(map(chr, range(0x2801, 0x2900)), "*"), "\u2800": " ",
}  # fmt: skip
"""What stands for a symbol where the encoding lacks it; one column each, so that tables stay aligned."""


FIRST_COMBINING = "\u0300"
"""Up to here every printable character takes one column."""


def encodable(text: str, encoding: str) -> str:
    """Return `text` in characters of `encoding`, at the same width: `×` becomes `x`, what has no replacement `?`."""
    if text.isascii() or _fits(text, encoding):
        return text
    return "".join(_encodable_line(line, encoding) for line in text.splitlines(keepends=True))


def _encodable_line(line: str, encoding: str) -> str:
    """Return the same of one line."""
    shown = "".join(c if _fits(c, encoding) else _replacement(c, width_of(c)) for c in line)
    if width_of(shown) == width_of(line):
        return shown
    # Signs that follow make a character wider or narrower (`0️`, an emoji of several).
    shown = ""
    for end, character in enumerate(line, 1):
        missing = width_of(line[:end]) - width_of(shown)
        shown = shown[:missing] if missing < 0 else shown
        shown += character if _fits(character, encoding) else _replacement(character, max(0, missing))
    return shown


def _replacement(character: str, width: int) -> str:
    """Return ASCII of a width: from the list, a plain form of the same letter (`₀`, `ˣ`), or `?`."""
    plain = REPLACEMENTS.get(character) or unicodedata.normalize("NFKD", character)[:1]
    return plain if plain.isascii() and width == 1 else "?" * width


def _fits(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def width_of(text: str) -> int:
    """Return the columns that `text` takes in a terminal."""
    if text.isascii() or max(text) < FIRST_COMBINING:
        return len(text)
    from rich.cells import cell_len  # here, so that JSON needs no rich

    return cell_len(text)


def widest(texts: Iterable[str]) -> int:
    """Return the columns that the widest text takes; 0 if there is none."""
    texts = tuple(texts)
    # One test for all texts spares the lookup of widths for each cell.
    together = "".join(texts)
    if together.isascii() or max(together) < FIRST_COMBINING:
        return max(map(len, texts), default=0)
    return max(map(width_of, texts))


def padded(text: str, width: int, align: str) -> str:
    """Return `text` filled up with spaces to `width` columns; align is `left` or `right`."""
    if text.isascii():
        return text.ljust(width) if align == "left" else text.rjust(width)
    spaces = " " * (width - width_of(text))
    return text + spaces if align == "left" else spaces + text


def cut_end(text: str, width: int) -> str:
    """Return `text` cut to `width` columns, with … where its end is missing."""
    if width_of(text) <= width:
        return text
    start = text[: max(0, width - 1)]
    while start and width_of(start) > width - 1:
        start = start[:-1]
    return start + "…" * (width > 0)


def cut_start(text: str, width: int) -> str:
    """Return `text` cut to `width` columns, with … where its start is missing: the end tells layer names apart."""
    if width_of(text) <= width:
        return text
    end = text[len(text) - max(0, width - 1) :]
    while end and width_of(end) > width - 1:
        end = end[1:]
    return "…" * (width > 0) + end.lstrip(".")


def cut_call(text: str, width: int) -> str:
    """Return a call cut to `width` columns between two arguments: `Conv2d(64, 3, …)`, `ReLU(…)`."""
    if width_of(text) <= width:
        return text
    end = text.rfind(", ", 0, max(0, width - 2))
    if end > 0 and width_of(text[:end]) <= width - 4:
        return f"{text[:end]}, …)"
    kind, parenthesis, _ = text.partition("(")
    return f"{kind}(…)" if parenthesis and width_of(kind) <= width - 3 else cut_end(text, width)


WIDEST = 110
"""Lines of running text longer than this are hard to read, however wide the terminal is."""


def wrapped(text: str, width: int) -> list[str]:
    """Return text in lines of at most `width` columns, broken at spaces; a longer word is cut."""
    lines: list[str] = []
    line, used = "", 0
    for word in text.split(" "):
        word = cut_end(word.replace("\N{NO-BREAK SPACE}", " "), width)
        size = width_of(word)
        if line and used + 1 + size > width:
            lines.append(line)
            line, used = word, size
        else:
            line, used = (f"{line} {word}", used + 1 + size) if line else (word, size)
    return [*lines, line]


Span = tuple[str, str]
"""Text and its rich style, an empty string for none."""

Line = Sequence[Span]
"""One line of a page."""


def _may_command(line: Line) -> bool:
    return any("::" in text or "##" in text for text, _ in line)


def _inert(line: Line) -> Line:
    """Return a line that steers no CI job; its first span that is not blank may be no command."""
    first = next((number for number, (text, _) in enumerate(line) if text.strip()), 0)
    return tuple(
        (inert_line(text) if number == first else text.replace("##[", "# ["), style)
        for number, (text, style) in enumerate(line)
    )


class Page:
    """Lines of styled text; rich neither parses, wraps nor measures them, which is what makes reports fast."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self.lines = tuple(_inert(line) if _may_command(line) else line for line in lines)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the lines in the console's encoding; no styles where it shows none."""
        from rich.segment import Segment
        from rich.style import Style

        # Without colours one segment is enough, instead of one for each span.
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

    def __str__(self) -> str:
        return self.text

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
