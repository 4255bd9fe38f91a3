"""Listing: things of one kind (networks, ops, published figures) as a table in every format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from cnnstat.report.formats.csv import csv_text
from cnnstat.report.formats.html import html_table
from cnnstat.report.formats.markdown import code, escaped, markdown_table
from cnnstat.report.grid import Track, grid
from cnnstat.report.terminal_text import Page, cut_end, printable

Item = TypeVar("Item")


class Field(NamedTuple):
    """One column of a listing.

    value: the raw value of an item; shown: its text, the value itself if None.
    least: narrowest width its text may be cut to; None for text that stays whole.
    is_code: whether Markdown sets it as code.
    """

    key: str
    title: str
    value: Callable[[Any], Any]
    shown: Callable[[Any], str] | None = None
    align: str = "left"
    least: int | None = None
    cut: Callable[[str, int], str] = cut_end
    is_code: bool = False

    def text(self, item: Any) -> str:
        """Return the text of an item, printable whatever it holds."""
        return printable(str(self.value(item)) if self.shown is None else self.shown(item))


class Listing(Generic[Item]):
    """Items under the same fields."""

    def __init__(self, fields: Sequence[Field], items: Sequence[Item]) -> None:
        self.fields = fields
        self.items = items

    def page(self, width: int) -> Page:
        """Return a table that fits a width; columns that say nothing are left out."""
        fields = [f for f in self.fields if any(map(f.text, self.items)) or not self.items]
        tracks = [Track(title=f.title, align=f.align, least=f.least, cut=f.cut) for f in fields]
        return grid(tracks, ([f.text(item) for f in fields] for item in self.items), width)

    def csv(self) -> str:
        """Return CSV text of the raw values."""
        return csv_text([f.key for f in self.fields], ([f.value(item) for f in self.fields] for item in self.items))

    def markdown(self) -> str:
        """Return a GitHub table."""
        rows = ([(code if f.is_code else escaped)(f.text(item)) for f in self.fields] for item in self.items)
        return markdown_table([f.title for f in self.fields], [f.align for f in self.fields], rows)

    def html(self) -> str:
        """Return an HTML table."""
        rows = ([f.text(item) for f in self.fields] for item in self.items)
        return html_table([f.title for f in self.fields], [f.align for f in self.fields], rows)

    def objects(self) -> list[dict[str, Any]]:
        """Return the raw values of each item by key."""
        return [{f.key: f.value(item) for f in self.fields} for item in self.items]
