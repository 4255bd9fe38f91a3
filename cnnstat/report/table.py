"""Table: rows under columns, which every format sets in its own way; folding, sorting, cutting and sums are here.

A listing is a table whose rows are any objects:

    columns = [
        Column("name", "network", attrgetter("graph.name"), least=12, is_code=True),
        Column("params", "params", attrgetter("totals.params"), lambda a: count(a.totals.params), "right"),
    ]
    Table(columns, analyses)

A table of layers has a Group of layers in each row: one layer, the layers of a folded block, or the rest that a view
leaves out. Columns say what a group has, mostly with `summed`, and `layered` makes the rows as a View wants them:

    columns = [
        Column("name", "layer", attrgetter("name")),
        Column("params", "params", summed(attrgetter("params")), align="right"),
    ]
    layered(columns, analysis.layers, View(depth=1, sort="params", top=5))
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from itertools import groupby
from types import MappingProxyType
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from cnnstat.errors import CnnstatError, did_you_mean
from cnnstat.report.terminal_text import Line, cut_end, printable

Item = TypeVar("Item")

ALWAYS = 2
"""Columns up to this importance are shown in a terminal of any width."""

MAIN = 7
"""Columns up to this importance are shown at 80 characters, and on pages such as Markdown."""

ON_REQUEST = 99
"""Importance of a column that is shown only if asked for."""


class Column(NamedTuple):
    """One column of a table; its functions take a row.

    key, value: its name and the raw value of a row, for programs and for sorting.
    title, text: its head, and the text that people read; without `text`, the value as it is.
    least, cut: narrowest width that a terminal may cut its text to, and what cuts it; None for text that stays whole.
    is_code: whether pages set it as code.
    brief: a shorter text for narrow terminals.
    importance: 1 for the column that a narrow terminal keeps longest. Beyond MAIN only wide ones show it, and only if
        it `informs`, that is, says of any row what other columns do not.
    on_pages: whether Markdown, HTML and LaTeX show it; None if they do when it is one of the main columns.
    is_footnote: whether a terminal shows a number instead, and the texts below everything else.
    panel: columns of one number stay together where a table is too wide for a terminal; those of panel 0 are repeated
        with each.
    style, styles: rich style of all cells, and of those with a certain text.
    terminal_title: its head in a terminal if that is another.
    legend: says, below the table, what abbreviations in its brief texts mean; empty for nothing.
    share: how much of the total a row has, 0 to 1, which pages show as a bar.
    """

    key: str
    title: str
    value: Callable[[Any], Any]
    text: Callable[[Any], str] | None = None
    align: str = "left"
    least: int | None = None
    cut: Callable[[str, int], str] = cut_end
    is_code: bool = False
    brief: Callable[[Any], str] | None = None
    importance: int = ALWAYS
    informs: Callable[[Any], Any] | None = None
    on_pages: bool | None = None
    is_footnote: bool = False
    panel: int = 0
    style: str = ""
    styles: Mapping[str, str] = MappingProxyType({})
    terminal_title: str | None = None
    legend: Callable[[Sequence[str]], str] | None = None
    doc: str = ""
    share: Callable[[Any], float | None] | None = None

    def cell(self, row: Any) -> str:
        """Return the text of a row, printable whatever it holds."""
        return printable((self.text or self._plain)(row))

    def cells(self, rows: Iterable[Any]) -> tuple[str, ...]:
        """Return the texts of rows."""
        return tuple(map(printable, map(self.text or self._plain, rows)))

    def brief_cells(self, rows: Iterable[Any]) -> tuple[str, ...]:
        """Return the texts for narrow terminals."""
        return tuple(map(printable, map(self.brief or self.text or self._plain, rows)))

    def _plain(self, row: Any) -> str:
        value = self.value(row)
        return "" if value is None else str(value)


@dataclass(frozen=True, kw_only=True)
class View:
    """What a user wants to see of a table of layers; the totals are those of everything whatever it says.

    depth: components of layer names that are kept; layers inside the same block become one row.
    columns: keys of the columns to show; None leaves the choice to the format.
    sort: key of the column to sort by, numbers descending, text ascending; None keeps execution order.
    top: number of rows to show; the rest is summed up in one.
    Raises CnnstatError if a key is unknown or a number less than 1.
    """

    depth: int | None = None
    columns: tuple[str, ...] | None = None
    sort: str | None = None
    top: int | None = None

    keys: ClassVar[tuple[str, ...]] = ()
    """The columns that the table has; each subject has a class of its own."""

    def __post_init__(self) -> None:
        """Check keys and numbers."""
        for name, number in (("depth", self.depth), ("top", self.top)):
            if number is not None and number < 1:
                raise CnnstatError(f"--{name} {number} must be at least 1")
        if self.columns is not None and not self.columns:
            raise CnnstatError(f"--columns is empty; choose from {', '.join(self.keys)}")
        for key in (*(self.columns or ()), *((self.sort,) if self.sort else ())):
            check_column(key, self.keys)


def check_column(key: str, known: Collection[str]) -> None:
    """Raise CnnstatError with the nearest key and the list if there is no such column."""
    if key not in known:
        raise CnnstatError(f"there is no column {key[:40]}{did_you_mean(key, known)}; known: {', '.join(known)}")


class Layout(NamedTuple):
    """How a terminal sets a table.

    steps: what width is spent on, in this order: a text column gets up to so many characters, a number is written in
        full (None). Without steps every column gets its natural width and the widest ones are cut to fit.
    draw: sets the table as something else than a grid, for a width.
    indent: columns by which the table stands to the right, directly below the block that it belongs to.
    """

    steps: Sequence[tuple[str, int | None]] = ()
    draw: Callable[[int], Sequence[Line]] | None = None
    indent: int = 0


GRID = Layout()


class Table(NamedTuple):
    """Rows under columns.

    rest, total: rows that sum up what is not shown, and everything; None for none.
    is_chosen: whether the user chose the columns, so that all are shown.
    title: what stands above it, if anything; caption: what pages call it where it has no title.
    hint: what a terminal says below it about other ways to see it.
    has_plain_numbers: whether numbers are plain decimals in the units of the heads, which a paper aligns at the point.
    blocks: makes the rows folded to few, which pages set above those that each stands for; none unless there are many.
    """

    columns: Sequence[Column]
    rows: Sequence[Any]
    rest: Any = None
    total: Any = None
    is_chosen: bool = False
    title: str = ""
    caption: str = ""
    layout: Layout = GRID
    hint: str = ""
    has_plain_numbers: bool = False
    blocks: Callable[[], Sequence[Group[Any]]] = tuple

    @property
    def all_rows(self) -> tuple[Any, ...]:
        """The rows and the rest: their sums are the totals."""
        return tuple(self.rows) if self.rest is None else (*self.rows, self.rest)

    @property
    def rows_with_sums(self) -> tuple[Any, ...]:
        """The rows, the rest and the total."""
        return self.all_rows if self.total is None else (*self.all_rows, self.total)

    @property
    def page_columns(self) -> tuple[Column, ...]:
        """The columns that Markdown, HTML and LaTeX show."""
        if self.is_chosen:
            return tuple(self.columns)
        return tuple(c for c in self.columns if (c.importance <= MAIN if c.on_pages is None else c.on_pages))

    def objects(self) -> list[dict[str, Any]]:
        """Return the raw values of each row by key, for JSON."""
        return [{column.key: column.value(row) for column in self.columns} for row in self.rows]


# Layers in rows -------------------------------------------------------------------------------------------------------


class Kind(Enum):
    """What a row of a table of layers stands for."""

    LAYER = "layer"
    BLOCK = "block"
    REST = "rest"
    TOTAL = "total"


_SUMS = (Kind.REST, Kind.TOTAL)


class Group(Generic[Item]):
    """The layers of one row: one, those of a folded block, or a sum of layers that have nothing in common."""

    __slots__ = ("items", "kind", "name")

    def __init__(self, name: str, items: tuple[Item, ...], kind: Kind = Kind.LAYER) -> None:
        self.name = name
        self.items = items
        self.kind = kind

    @property
    def is_sum(self) -> bool:
        """Whether its layers have nothing in common, so that it has no shape, receptive field or the like."""
        return self.kind in _SUMS


def summed(value: Callable[[Any], Any]) -> Callable[[Group[Any]], Any]:
    """Return the function that adds up a layer's value over a group; None where no layer has one."""

    def total(group: Group[Any]) -> Any:
        if len(group.items) == 1:
            return value(group.items[0])
        # Nothing measured is not the same as 0, so a missing value is left out rather than added as 0.
        values = [each for each in map(value, group.items) if each is not None]
        return sum(values) if values or not group.items else None

    return total


def last(value: Callable[[Any], Any]) -> Callable[[Group[Any]], Any]:
    """Return the function that takes a value from the last layer of a group, such as its output; None for a sum."""
    return lambda group: None if group.is_sum else value(group.items[-1])


def layered(
    columns: Sequence[Column], items: Sequence[Any], view: View, *, layout: Layout = GRID, total: str = "total"
) -> Table:
    """Return a table of layers as a view wants it; items have a dotted `name` each.

    total: what the row of sums is called.
    """
    by_key = {column.key: column for column in columns}
    rows = tuple(Group(item.name, (item,)) for item in items)
    is_whole = (view.depth, view.sort, view.top) == (None, None, None)
    every = rows
    if view.depth is not None:
        rows = tuple(_folded(rows, view.depth))
    if view.sort is not None:
        value = by_key[view.sort].value
        rows = tuple(sorted(rows, key=lambda row: _order(value(row))))
    # What is left out is summed in a row of its own, so that the rows still add up to the total.
    rest = None
    if view.top is not None and len(rows) > view.top:
        hidden = tuple(item for row in rows[view.top :] for item in row.items)
        rest = Group(f"… {len(rows) - view.top:,} more", hidden, Kind.REST)
    return Table(
        columns if view.columns is None else [by_key[key] for key in view.columns],
        rows[: view.top],
        rest,
        Group(total, tuple(items), Kind.TOTAL),
        view.columns is not None,
        layout=layout,
        blocks=(lambda: _overview(every)) if is_whole else tuple,
    )


FEW, OVERVIEW, MOST_IN_ONE = 4, 40, 0.6
"""Blocks between which a network is an overview of itself; share of all layers from which one block is the network."""


def _overview(rows: Sequence[Group[Item]]) -> tuple[Group[Item], ...]:
    """Return the rows folded at the first level of names that leaves a few of like size; nothing where none does."""
    blocks: tuple[Group[Item], ...] = ()
    for depth in (1, 2, 3, 4):
        folded = tuple(_folded(rows, depth))
        if FEW <= len(folded) < len(rows) and len(folded) <= max(OVERVIEW, len(rows) // 2):
            blocks = folded
            if max(len(block.items) for block in folded) <= MOST_IN_ONE * len(rows):
                break
    return blocks


def block_of(name: str, depth: int) -> tuple[str, bool]:
    """Return the first `depth` components of a name, and whether there are more."""
    # No name has more components than characters, and str.split takes no number of any size.
    parts = name.split(".", min(depth, len(name)))
    return ".".join(parts[:depth]), len(parts) > depth


def _folded(rows: Sequence[Group[Item]], depth: int) -> Iterator[Group[Item]]:
    """Yield the rows with consecutive ones inside the same block as one (`layer1.0.conv1`, … as `layer1`)."""
    # Only consecutive layers: a block that is entered twice gives two rows, in execution order.
    for (path, is_inside), inside in groupby(rows, lambda row: block_of(row.name, depth)):
        if is_inside:
            yield Group(path, tuple(item for row in inside for item in row.items), Kind.BLOCK)
        else:
            yield from inside


def _order(value: Any) -> tuple[int, Any]:
    """Return a key that sorts numbers and sizes descending, text ascending, and what is missing last.

    A receptive field that is the whole input comes before all sizes.
    """
    if isinstance(value, str):
        return (0, value.casefold())
    if isinstance(value, tuple):
        flat = _flat(value)
        return (2, 0) if not flat or None in flat else (1, -math.prod(flat))
    return (2, 0) if value is None else (1, -value)


def _flat(values: tuple[Any, ...]) -> list[Fraction | int]:
    return [n for value in values for n in (_flat(value) if isinstance(value, tuple) else [value])]
