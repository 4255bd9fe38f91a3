r"""LaTeX layout: the font and the columns with which a table is no wider than the text of an article.

LaTeX knows no width before it runs, so that widths are added up from those of the letters of Computer Modern.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import NamedTuple

TEXT_WIDTH = 344.0
r"""Points of `\textwidth` in an article at 10 points, less one for rounding."""


class Font(NamedTuple):
    """A size of the font: its command, points of an em by the widths of 10 points, and of `tabcolsep`."""

    command: str
    em: float
    gap: float


NARROW = Font(r"\scriptsize\setlength{\tabcolsep}{3pt}", 8.15, 3)
TINY = Font(r"\tiny\setlength{\tabcolsep}{2pt}", 7.25, 2)
FONTS = (Font("", 10, 6), Font(r"\small", 9.25, 6), Font(r"\footnotesize", 8.5, 6), NARROW)
"""What a table is set in unless its texts have to be wrapped."""

LETTERS = {
    278: "il.,:;!'|[]·I", 306: "fj", 333: "- ", 395: "rst()", 444: "cez", 514: "aogJ0123456789/_*?$^`", 528: "kqvxy",
    556: "bdhnpuS\"", 625: "ZFL", 736: "EPBCRTw", 778: "ADGHKNOQUVXY+=<>×−~±≤≥→–", 833: "m%&#", 917: "M", 1028: "W@",
}  # fmt: skip
"""Characters by how wide they are at most, in thousandths of an em (cmr10)."""

_WIDTHS = {letter: width / 1000 for width, letters in LETTERS.items() for letter in letters}

LEAST = 40.0
"""Points below which no column is wrapped."""

_BREAKS = re.compile(r"(?:\d+(?:[,.]\d+)+|[^\s.,(/_×=+:-]){0,20}[\s.,(/_×=+:-]*")
"""A piece of text that is not broken, with the signs behind which a line may end."""


class Fit(NamedTuple):
    """How a table fits: the font's command, the columns' widths in points where texts are wrapped, and more.

    is_stacked: whether titles are set in several lines; is_resized: whether it is too wide whatever is done.
    lines: how many lines its rows take.
    """

    font: str
    wrapped: tuple[float | None, ...]
    is_stacked: bool = False
    is_resized: bool = False
    lines: int = 0


def width_of(text: str) -> float:
    """Return how wide a text is at most, in ems of 10 points."""
    return sum(_WIDTHS.get(letter) or _width_of_other(letter) for letter in text)


def _width_of_other(letter: str) -> float:
    base = unicodedata.normalize("NFKD", letter)[0]
    if base in _WIDTHS:
        return _WIDTHS[base]
    return 4.2 if ord(letter) > 0x2FFF else 1.2  # written as its number, or a sign of mathematics


def pieces(text: str) -> Iterator[str]:
    """Yield the parts of a text between which a line may end."""
    yield from filter(None, _BREAKS.findall(text))


def stacked(title: str, room: float) -> list[str]:
    """Return the lines of a title that is to be as narrow as its column, or as its longest word."""
    lines: list[str] = []
    words = title.split(" ")
    room = max(room, *map(width_of, words))
    for word in words:
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and width_of(longer) <= room:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def fitted(titles: Sequence[str], cells: Sequence[Sequence[str]], may_wrap: Sequence[bool]) -> Fit:
    """Return how a table fits; cells: the texts of each column; may_wrap: which columns' texts may be wrapped."""
    inner = [max(map(width_of, column), default=0.0) for column in cells]
    natural = [max(width, width_of(title)) for width, title in zip(inner, titles)]
    narrow = [max(width, *map(width_of, stacked(title, width))) for width, title in zip(inner, titles)]
    rows = max(map(len, cells), default=0)
    none = (None,) * len(titles)
    for font in FONTS:
        for widths in (natural, narrow):
            if _total(widths, font) <= TEXT_WIDTH:
                return Fit(font.command, none, widths is narrow, lines=rows)
    everything = [True] * len(titles)
    for font, may in ((NARROW, may_wrap), (NARROW, everything), (TINY, may_wrap), (TINY, everything)):
        least = [_least(title, column, font) for title, column in zip(titles, cells)]
        widths = list(narrow)
        while (over := _total(widths, font) - TEXT_WIDTH) > 0:
            rest = {i: widths[i] - least[i] for i in range(len(widths)) if may[i] and widths[i] > least[i]}
            if not rest:
                break
            widest = max(rest, key=widths.__getitem__)
            widths[widest] -= min(rest[widest], max(over / font.em / 2, 0.2))
        wrapped = tuple(None if new == old else new * font.em for new, old in zip(widths, narrow))
        fit = Fit(font.command, wrapped, True, lines=_lines(cells, widths))
        if over <= 0:
            return fit
    return Fit("", none, True, True, rows)


def _total(widths: Sequence[float], font: Font) -> float:
    return sum(widths) * font.em + 2 * font.gap * len(widths)


def _least(title: str, column: Sequence[str], font: Font) -> float:
    """Return the ems that a column needs at least: those of its longest piece, and some words to a line."""
    longest = max(
        (width_of(piece.strip()) for text in (*title.split(" "), *column) for piece in pieces(text)), default=0.0
    )
    return max(longest + 0.1, LEAST / font.em)


def _lines(cells: Sequence[Sequence[str]], widths: Sequence[float]) -> int:
    """Return about how many lines all rows take."""
    return sum(
        max(
            int(width_of(text) * 1.15 / max(width, 0.1)) + (width_of(text) > width) or 1
            for text, width in zip(row, widths)
        )
        for row in zip(*cells)
    )
