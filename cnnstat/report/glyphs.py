"""Text that any terminal can show: untrusted names made printable, symbols an encoding lacks replaced, widths."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

STAND_INS = {
    "×": "x",
    "−": "-",
    "–": "-",
    "·": "*",
    "…": "~",
    "─": "-",
    "│": "|",
    "┼": "+",
    "≥": ">",
    "≤": "<",
    "→": ">",
    "⌊": "[",
    "⌋": "]",
    "⌈": "[",
    "⌉": "]",
    **dict.fromkeys("█▉▊▋▌", "#"),
    **dict.fromkeys("▍▎▏", "."),
    **dict.fromkeys(map(chr, range(0x2801, 0x2900)), "*"),
    "\u2800": " ",
    "′": "'",
    "√": "V",
    "∂": "d",
    "α": "a",
    "β": "b",
    "λ": "l",
    "σ": "s",
    "Φ": "P",
    "φ": "p",
    "Π": "P",
    "Σ": "S",
    "±": "~",
    "µ": "u",
}
"""What stands for a symbol where the encoding lacks it; one column each, so that tables stay aligned."""


FIRST_COMBINING = "\u0300"
"""Up to here every printable character takes one column."""


def printable(text: str) -> str:
    """Return `text` with control characters, line ends and direction marks written as escapes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def encodable(text: str, encoding: str) -> str:
    """Return `text` in characters of `encoding`, at the same width: `×` becomes `x`, what has no stand-in `?`."""
    if text.isascii() or _fits(text, encoding):
        return text
    return "".join(c if _fits(c, encoding) else _stand_in(c) for c in text)


def _stand_in(character: str) -> str:
    """Return ASCII of the same width: from the list, a plain form of the same letter (`₀`, `ˣ`), or `?`."""
    plain = STAND_INS.get(character) or unicodedata.normalize("NFKD", character)[:1]
    return plain if plain.isascii() and width_of(character) == 1 else "?" * width_of(character)


def _fits(text: str, encoding: str) -> bool:
    """Return whether `encoding` has every character of `text`."""
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
    found = tuple(texts)
    together = "".join(found)
    if together.isascii() or max(together) < FIRST_COMBINING:
        return max(map(len, found), default=0)
    return max(map(width_of, found))


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
    kept = text[: max(0, width - 1)]
    while kept and width_of(kept) > width - 1:
        kept = kept[:-1]
    return kept + "…" * (width > 0)


def cut_start(text: str, width: int) -> str:
    """Return `text` cut to `width` columns, with … where its start is missing: the end tells layer names apart."""
    if width_of(text) <= width:
        return text
    kept = text[len(text) - max(0, width - 1) :]
    while kept and width_of(kept) > width - 1:
        kept = kept[1:]
    return "…" * (width > 0) + kept.lstrip(".")


def cut_call(text: str, width: int) -> str:
    """Return a call cut to `width` columns between two arguments: `Conv2d(64, 3, …)`, `ReLU(…)`."""
    if width_of(text) <= width:
        return text
    end = text.rfind(", ", 0, max(0, width - 2))
    if end > 0 and width_of(text[:end]) <= width - 4:
        return f"{text[:end]}, …)"
    kind, parenthesis, _ = text.partition("(")
    return f"{kind}(…)" if parenthesis and width_of(kind) <= width - 3 else cut_end(text, width)
