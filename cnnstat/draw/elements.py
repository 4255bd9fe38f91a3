"""SVG: elements as text, in which nothing of a model is markup, their style sheet, and how wide texts are at most."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from unicodedata import category, east_asian_width
from xml.sax.saxutils import escape, quoteattr

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif"
"""Fonts of the reader's own; nothing is loaded."""


def number(value: float) -> str:
    """Return a length with one decimal at most."""
    return f"{round(value, 1):.1f}".removesuffix(".0")


def element(name: str, content: str = "", **attributes: object) -> str:
    """Return an element; content is markup, attributes are escaped: `class_`, `font_size` lose or change their `_`."""
    written = "".join(
        f" {key.rstrip('_').replace('_', '-')}={quoteattr(_value(value))}"
        for key, value in attributes.items()
        if value is not None
    )
    return f"<{name}{written}>{content}</{name}>" if content else f"<{name}{written}/>"


def _value(value: object) -> str:
    return number(value) if isinstance(value, (int, float)) else str(value)


def text_element(content: str, x: float, y: float, size: float, **attributes: object) -> str:
    """Return a line of text; x, y: where it begins, or what `text_anchor` says, on its base line."""
    return element("text", escape(content), x=x, y=y, font_size=size, **attributes)


def title_element(content: str) -> str:
    """Return what a reader sees over an element, and a screen reader says."""
    return element("title", escape(content))


def document(width: float, height: float, title: str, description: str, style: str, content: Iterable[str]) -> str:
    """Return a whole drawing; title and description: what a screen reader says of it."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="cnnstat-drawing" role="img" aria-label={quoteattr(title)} '
        f'width="{number(width)}" height="{number(height)}" viewBox="0 0 {number(width)} {number(height)}" '
        f'font-family="{FONT}">'
    )
    parts = [head, title_element(title), element("desc", escape(description)), f"<style>{style}</style>", *content]
    return "\n".join([*parts, "</svg>", ""])


def dark_style(rules: Mapping[str, Mapping[str, str]]) -> str:
    """Return a style sheet that gives elements other colours where the reader's page is dark.

    Light colours are attributes of the elements, which every renderer knows.
    """
    written = "".join(
        f".cnnstat-drawing {selector}{{{';'.join(f'{name}:{value}' for name, value in values.items())}}}"
        for selector, values in rules.items()
    )
    return f"@media (prefers-color-scheme:dark){{{written}}}"


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
