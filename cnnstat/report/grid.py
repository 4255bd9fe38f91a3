"""Grid: rows of text set in aligned columns that fit a width."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from cnnstat.report.terminal_text import Line, Page, Span, cut_end, padded, widest

GAP = 2
"""Spaces between two columns."""


NOTHING = ("0", "0 B", "–")
"""Cells that say nothing; they are dim."""


class Track(NamedTuple):
    """One column of a grid.

    align: `left` or `right`.
    least: narrowest width its text may be cut to; None for text that must stay whole, such as numbers.
    cut: shortens a text to a width.
    style: rich style of its cells.
    """

    title: str
    align: str = "left"
    least: int | None = None
    cut: Callable[[str, int], str] = cut_end
    style: str = ""


def grid(tracks: Sequence[Track], rows: Iterable[Sequence[str]], width: int, totals: Sequence[str] = ()) -> Page:
    """Return a page with a head, a rule and one line for each row; `totals` follow under a second rule.

    Columns that may be cut are, widest first, until the grid fits `width`; where even that is not enough it is wider.
    """
    body = [tuple(row) for row in rows]
    cells = [*body, tuple(totals)] if totals else body
    widths = _fitted(tracks, _natural(tracks, cells), width)
    head = [_row([track.title for track in tracks], tracks, widths, "bold"), _rule(widths)]
    lines = [_row(row, tracks, widths) for row in body]
    foot = [_rule(widths), _row(totals, tracks, widths, "bold")] if totals else []
    return Page([*head, *lines, *foot])


def _natural(tracks: Sequence[Track], cells: Sequence[Sequence[str]]) -> list[int]:
    """Return the width of the widest text of each column."""
    columns = zip(*cells) if cells else [()] * len(tracks)
    return [widest((track.title, *column)) for track, column in zip(tracks, columns)]


def span_of(widths: Sequence[int]) -> int:
    """Return the width of a grid whose columns have these widths."""
    return sum(widths) + GAP * (len(widths) - 1)


def _fitted(tracks: Sequence[Track], natural: Sequence[int], width: int) -> list[int]:
    """Return the widths after cutting the widest of the columns that may be cut, one step at a time."""
    # No column gets more than the whole width, so that a name of a million characters is not cut step by step.
    widths = [n if track.least is None else max(track.least, min(n, width)) for n, track in zip(natural, tracks)]
    excess = span_of(widths) - width
    while excess > 0:
        able = [i for i, track in enumerate(tracks) if track.least is not None and widths[i] > track.least]
        if not able:
            break
        widths[max(able, key=lambda i: widths[i])] -= 1
        excess -= 1
    return widths


def _rule(widths: Sequence[int]) -> Line:
    """Return a horizontal line."""
    return (("─" * span_of(widths), "dim"),)


def _row(texts: Sequence[str], tracks: Sequence[Track], widths: Sequence[int], style: str = "") -> Line:
    """Return one line; cells that say nothing are dim."""
    spans: list[Span] = []
    for index, (text, track, width) in enumerate(zip(texts, tracks, widths)):
        if index:
            spans.append((" " * GAP, ""))
        shown = text if track.least is None else track.cut(text, width)
        spans.append((padded(shown, width, track.align), style or ("dim" if text in NOTHING else track.style)))
    return tuple(spans)
