"""Facts: labelled statements under a table, wrapped to a width."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from cnnstat.report.glyphs import cut_end, width_of
from cnnstat.report.page import Line, Page

WIDEST = 110
"""Lines of running text longer than this are hard to read, however wide the terminal is."""


class Fact(NamedTuple):
    """A label and what is to be said; an empty label continues the fact above. Text keeps no-break spaces whole."""

    label: str
    text: str
    style: str = ""


def glued(text: str) -> str:
    """Return text that is never wrapped inside."""
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def facts_page(facts: Iterable[Fact], width: int) -> Page:
    """Return the facts below each other: labels in one column, texts wrapped beside them."""
    facts = tuple(facts)
    indent = max((width_of(fact.label) for fact in facts), default=0) + 2
    lines: list[Line] = []
    for fact in facts:
        label = fact.label
        for text in wrapped(fact.text, max(20, min(width, WIDEST) - indent)):
            lines.append(((label + " " * (indent - width_of(label)), "bold"), (text, fact.style)))
            label = ""
    return Page(lines)


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
