"""Columns: every column a table of layers may have, declared once for all formats."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from cnnstat.report.terminal_text import cut_end

MAIN = 7
"""Columns up to this importance are shown at 80 characters."""

ON_REQUEST = 99
"""Importance of a column that is shown only if asked for."""


class Column(NamedTuple):
    """One column of a table of layers; its functions take a row, which another report may make differently.

    value: the raw value (integer, share, text, sizes of the axes, or None), for programs and for sorting.
    shown: the text that people read; short is the same for narrow terminals.
    importance: 1 for the column that a narrow terminal keeps longest.
    additive: whether its sum over all rows is the figure of the whole network.
    least, cut: narrowest width the text may be cut to, and what cuts it; None for text that stays whole.
    informs: whether a row's value says more than other columns do; a column in which none does is left out.
    """

    key: str
    title: str
    doc: str
    value: Callable[[Any], Any]
    shown: Callable[[Any], str]
    short: Callable[[Any], str]
    importance: int
    informs: Callable[[Any], Any]
    align: str = "left"
    additive: bool = False
    least: int | None = None
    cut: Callable[[str, int], str] = cut_end
