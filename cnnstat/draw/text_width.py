"""Text widths: how much room a line takes at most in a reader's own sans-serif font, and lines cut to fit."""

from __future__ import annotations

from unicodedata import category, east_asian_width

_WIDTHS = {
    0.38: "ijl|'IJ .,:/;\\·",
    0.46: "!f()[]-",
    0.54: 'rt"_`*–²³',
    0.67: "cszkvxy?L",
    0.74: "0123456789abdeghnopquCEFPSTYZ${}µ",
    0.88: "→ABDGHKNOQRUVX&#+<=>~^×−",
    1.05: "wmM%@…",
}
_WIDTH_OF = {letter: width for width, letters in _WIDTHS.items() for letter in letters}
"""Em of letters in the bold face of DejaVu Sans, the widest of the usual fonts, rounded up."""

_UNKNOWN, _WIDE, _WIDEST = 1.25, 1.2, 1.12
"""Em of other letters, of East Asian ones and signs, and of W."""


def text_width(text: str, size: float) -> float:
    """Return the most that a line in a font of a size is wide, in the unit of the size."""
    return size * sum(_WIDTH_OF.get(letter) or _other(letter) for letter in text)


def _other(letter: str) -> float:
    if letter == "W":
        return _WIDEST
    if east_asian_width(letter) in "WF":
        return _WIDE
    return 0.3 if category(letter) == "Mn" else _UNKNOWN


def fitted(text: str, size: float, width: float) -> str:
    """Return a line cut at its end, with `…`, to a width; nothing where not even that fits."""
    if text_width(text, size) <= width:
        return text
    room = width - text_width("…", size)
    letters = 0
    for letter in text:
        room -= text_width(letter, size)
        if room < 0:
            break
        letters += 1
    return f"{text[:letters].rstrip()}…" if room > 0 or letters else ""
